//! The text of policies: brackets counted before anything parses it, and a condition split into its parts.

/// Where a policy stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The file, as it was named at load.
    pub(super) file: String,
    /// Bytes from the start of the file.
    pub(super) offset: usize,
    /// Line from 1.
    pub(super) line: usize,
    /// The policy as it is written.
    pub(super) text: String,
}

/// Code of Cedar without texts and comments: every other byte with its offset.
fn code(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut bytes = text.bytes().enumerate().peekable();
    let mut in_text = false;
    std::iter::from_fn(move || {
        loop {
            let (at, byte) = bytes.next()?;
            match (in_text, byte) {
                (true, b'\\') => {
                    bytes.next();
                }
                (true, b'"') => in_text = false,
                (true, _) => {}
                (false, b'"') => in_text = true,
                (false, b'/') if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                    while bytes.next_if(|(_, byte)| *byte != b'\n').is_some() {}
                }
                (false, _) => return Some((at, byte)),
            }
        }
    })
}

/// The deepest nesting of brackets and `if`, and where it is. An `if` nests whatever follows it up to the end of the
/// policy: that is how parsers see a chain of `else if`.
pub(super) fn depth(text: &str) -> (usize, usize) {
    let (mut brackets, mut ifs, mut deepest, mut word) = (0_usize, 0, (0, 0), Vec::new());
    for (at, byte) in code(text) {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            word.push(byte);
            continue;
        }
        ifs += usize::from(word == b"if");
        word.clear();
        match byte {
            b'(' | b'[' | b'{' => brackets += 1,
            b')' | b']' | b'}' => brackets = brackets.saturating_sub(1),
            b';' => ifs = 0,
            _ => {}
        }
        deepest = deepest.max((brackets + ifs, at));
    }
    deepest
}

/// The most `&&`, `||` and arithmetic operators in one policy, and where it is: parsers recurse on chains of them.
pub(super) fn operators(text: &str) -> (usize, usize) {
    let (mut count, mut most) = (0, (0, 0));
    for (at, byte) in code(text) {
        match byte {
            b';' => count = 0,
            b'&' | b'|' | b'+' | b'-' | b'*' | b'!' | b'.' => count += 1,
            _ => {}
        }
        most = most.max((count, at));
    }
    most
}

/// One condition of a policy, or a part of it that must hold with the others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// Whether it must be false: the body of an `unless`.
    pub(super) negated: bool,
    /// The expression as it is written.
    pub(super) text: &'a str,
}

/// What a policy asks for behind its scope, in its order: each `when` split at `&&`, each `unless` as it is.
pub(super) fn parts(policy: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut depth, mut from, mut header) = (0_usize, 0, 0);
    for (at, byte) in code(policy) {
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                if (depth, byte) == (1, b'{') {
                    from = at + 1;
                }
            }
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if (depth, byte) == (0, b'}') {
                    let negated = policy.get(header..from).is_some_and(|header| header.contains("unless"));
                    let body = policy.get(from..at).unwrap_or_default();
                    let split = if negated { vec![body] } else { conjuncts(body) };
                    parts.extend(split.into_iter().map(|text| Part { negated, text: text.trim() }));
                }
                header = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// Splits at `&&` outside of brackets; not if `||` or `if` binds weaker there.
fn conjuncts(body: &str) -> Vec<&str> {
    let (mut depth, mut cuts, mut previous) = (0_usize, vec![], (0, 0));
    for (at, byte) in code(body) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'|' if depth == 0 => return vec![body],
            b'&' if depth == 0 && previous == (at.wrapping_sub(1), b'&') => cuts.push(at - 1),
            _ => {}
        }
        previous = (at, byte);
    }
    let weaker = code(body).map(|(_, byte)| char::from(byte)).collect::<String>();
    if weaker.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == "if") {
        return vec![body];
    }
    let starts = std::iter::once(0).chain(cuts.iter().map(|cut| cut + 2));
    let ends = cuts.iter().copied().chain([body.len()]);
    starts.zip(ends).filter_map(|(start, end)| body.get(start..end)).collect()
}

/// The left side of a comparison outside of brackets, if the expression is one.
pub(super) fn left_side(expression: &str) -> Option<&str> {
    let (mut depth, mut word_from) = (0_usize, None);
    for (at, byte) in code(expression) {
        let is_word = byte.is_ascii_alphanumeric() || byte == b'_';
        match (is_word, word_from) {
            (true, None) => word_from = Some(at),
            (false, Some(from)) => {
                if depth == 0 && matches!(expression.get(from..at), Some("like" | "in")) {
                    return expression.get(..from).map(str::trim);
                }
                word_from = None;
            }
            _ => {}
        }
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'=' | b'<' | b'>' if depth == 0 => return expression.get(..at).map(str::trim),
            b'!' if depth == 0 && at > 0 => return expression.get(..at).map(str::trim),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_split_where_all_must_hold() {
        let policy = r#"@id("a && { b")
permit (principal in PeerKind::"OIDC", action in [Action::"sign"], resource)
when { a == "&& }" && (b && c) // && not here
  && d.hasTag("x") }
unless { e && f }
when { g || h && i }
when { if a && b then c else d };"#;
        let found: Vec<_> = parts(policy).iter().map(|part| (part.negated, part.text)).collect();
        assert_eq!(
            found,
            [
                (false, r#"a == "&& }""#),
                (false, "(b && c) // && not here"),
                (false, r#"d.hasTag("x")"#),
                (true, "e && f"),
                (false, "g || h && i"),
                (false, "if a && b then c else d"),
            ]
        );
        assert_eq!(parts("permit (principal, action, resource);"), []);
    }

    #[test]
    fn depth_is_that_of_brackets_and_ifs_outside_of_texts() {
        assert_eq!(depth(r#"permit(a) when { ((x)) } // ((((("#).0, 3);
        assert_eq!(depth(r#""((((" "\"((("#).0, 0);
        assert_eq!(depth("if a then b else if c then d else e").0, 2);
        assert_eq!(depth("if a then b; if a then b;").0, 1);
        assert_eq!(operators("a && b || c; d && e").0, 4);
    }

    #[test]
    fn the_left_side_of_a_comparison_is_found() {
        for (expression, left) in [
            (r#"principal.claims.ref like "a==b""#, Some("principal.claims.ref")),
            ("a.f(b == c) <= 5", Some("a.f(b == c)")),
            ("x != y", Some("x")),
            ("!x", None),
            (r#"principal in Peer::"x""#, Some("principal")),
            (r#"principal.hasTag("in")"#, None),
            ("inside.like2", None),
        ] {
            assert_eq!(left_side(expression), left, "{expression}");
        }
    }
}
