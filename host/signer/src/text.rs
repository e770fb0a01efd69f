//! Makes text that a plugin wrote fit for a terminal and a log: no control characters, no escapes, a length limit.

use prokura_plugin::limits::ERROR_MESSAGE_BYTES_MAX;

use crate::limits::EXCERPT_CHARS_MAX;

const ESCAPE: char = '\u{1b}';
const BELL: char = '\u{7}';

/// Text of a plugin without terminal escapes (ECMA-48), control characters and invisible Unicode (bidirectional
/// overrides, zero width); each run of white space is one space; at most [`ERROR_MESSAGE_BYTES_MAX`] bytes.
pub fn cleaned(text: &str) -> String {
    let mut shown = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == ESCAPE {
            skip_escape(&mut characters);
        } else if character.is_whitespace() {
            if !shown.is_empty() && !shown.ends_with(' ') {
                shown.push(' ');
            }
        } else if !is_hidden(character) {
            shown.push(character);
        }
        if shown.len() >= ERROR_MESSAGE_BYTES_MAX {
            return cut(&shown, ERROR_MESSAGE_BYTES_MAX);
        }
    }
    shown.truncate(shown.trim_end().len());
    shown
}

/// Like [`cleaned`], for bytes that may be no UTF-8. Only as much is looked at as could be shown.
pub fn cleaned_bytes(bytes: &[u8]) -> String {
    let looked_at = bytes.get(..bytes.len().min(8 * ERROR_MESSAGE_BYTES_MAX)).unwrap_or_default();
    cleaned(&String::from_utf8_lossy(looked_at))
}

/// The first [`EXCERPT_CHARS_MAX`] characters of output that should have been something else.
pub fn excerpt(bytes: &[u8]) -> String {
    let text = cleaned_bytes(bytes);
    let mut shown: String = text.chars().take(EXCERPT_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn skip_escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match characters.next() {
        // Control sequence: parameters, then one final byte.
        Some('[') => while characters.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
        // Operating system command and other strings: until BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(character) = characters.next() {
                if character == BELL {
                    return;
                }
                if character == ESCAPE {
                    characters.next_if_eq(&'\\');
                    return;
                }
            }
        }
        // Character sets and the like: one more byte.
        Some(' '..='/') => {
            characters.next();
        }
        _ => {}
    }
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = bytes_max.saturating_sub('…'.len_utf8()).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_and_control_characters_vanish() {
        assert_eq!(cleaned("\u{1b}[2J\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}x\u{8}y"), "red xy");
        assert_eq!(cleaned("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\"), "link");
        assert_eq!(cleaned("one\r\n\ttwo  three\n"), "one two three");
        assert_eq!(cleaned("a\u{202e}b\u{200b}c\u{feff}\u{9b}31m"), "abc31m");
        assert_eq!(cleaned("\u{1b}(Bx\u{1b}cy"), "xy");
        assert_eq!(cleaned("\u{1b}[never ends"), "ever ends");
        assert_eq!(cleaned("\u{1b}]never ends"), "");
        assert_eq!(cleaned("Schlüssel 鍵"), "Schlüssel 鍵");
    }

    #[test]
    fn long_text_is_cut_at_the_limit_and_at_a_character() {
        for length in [ERROR_MESSAGE_BYTES_MAX - 1, ERROR_MESSAGE_BYTES_MAX, 10 * ERROR_MESSAGE_BYTES_MAX] {
            let shown = cleaned(&"é".repeat(length));
            assert!(shown.len() <= ERROR_MESSAGE_BYTES_MAX, "{}", shown.len());
        }
        assert_eq!(cleaned(&"x".repeat(ERROR_MESSAGE_BYTES_MAX - 1)).len(), ERROR_MESSAGE_BYTES_MAX - 1);
        assert!(cleaned(&"x".repeat(ERROR_MESSAGE_BYTES_MAX + 1)).ends_with('…'));
    }

    #[test]
    fn an_excerpt_has_eighty_characters() {
        assert_eq!(excerpt(&[b'x'; 81]).chars().count(), 81);
        assert!(excerpt(&[b'x'; 81]).ends_with('…'));
        assert_eq!(excerpt(&[b'x'; 80]), "x".repeat(80));
        assert_eq!(excerpt(&[0xff, b'a', 0]), "\u{fffd}a");
    }
}
