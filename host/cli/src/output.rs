//! What the user sees: results on standard output as text or JSON, warnings and errors on standard error.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use crate::exit::Failure;

pub(crate) mod table;
pub(crate) mod tree;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Lines, tables and trees for people, worded as `notation` words them.
    #[default]
    #[value(alias = "tree")]
    Text,
    /// One JSON document per command.
    Json,
}

/// A result that can be shown either way. Its serialised form is the documented JSON.
pub(crate) trait Report: Serialize {
    /// Writes the text form, each line ended.
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Where results and warnings go.
pub(crate) struct Output<'a> {
    format: Format,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    colour: bool,
    warned: bool,
}

impl<'a> Output<'a> {
    /// An output. `colour` concerns standard error only.
    pub(crate) fn new(format: Format, out: &'a mut dyn Write, err: &'a mut dyn Write, colour: bool) -> Self {
        Self { format, out, err, colour, warned: false }
    }

    /// The format asked for.
    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Whether a warning was written, so that a verb can set its result apart.
    pub(crate) const fn warned(&self) -> bool {
        self.warned
    }

    /// Writes a result.
    ///
    /// # Errors
    /// If standard output is closed or full.
    pub(crate) fn report(&mut self, report: &impl Report) -> Result<(), Failure> {
        match self.format {
            Format::Text => report.write_text(self.out),
            Format::Json => serde_json::to_string_pretty(report)
                .map_err(io::Error::from)
                .and_then(|document| writeln!(self.out, "{}", printable_json(&document))),
        }
        .and_then(|()| self.out.flush())
        .map_err(Failure::output)
    }

    /// Writes bytes as they are: a policy file, a completion script.
    ///
    /// # Errors
    /// If standard output is closed or full.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(Failure::output)
    }

    /// Shows a question: on standard output as `notation` does, on standard error where that belongs to JSON.
    ///
    /// # Errors
    /// If the stream is closed or full.
    pub(crate) fn ask(&mut self, question: &str) -> Result<(), Failure> {
        let stream: &mut dyn Write = if self.format == Format::Json { self.err } else { self.out };
        let question = printable(question);
        stream.write_all(question.as_bytes()).and_then(|()| stream.flush()).map_err(Failure::output)
    }

    /// Tells the user something that did not stop the command. A closed standard error stops nothing either.
    pub(crate) fn warn(&mut self, message: impl Display) {
        self.warned = true;
        self.labelled("Warning:", "33", &message.to_string());
    }

    /// As [`Output::report`], of what was signed and stored: whoever cannot read the result must not sign again.
    ///
    /// # Errors
    /// As [`Output::report`].
    pub(crate) fn report_stored(&mut self, report: &impl Report) -> Result<(), Failure> {
        self.report(report).inspect_err(|_| {
            self.warn(
                "the signature was made and stored, only its report cannot be written; do not sign again",
            );
        })
    }

    /// Writes the final error.
    pub(crate) fn error(&mut self, message: impl Display) {
        self.labelled("Error:", "31", &message.to_string());
    }

    /// Writes a line on standard error as it is.
    pub(crate) fn note(&mut self, message: impl Display) {
        let _ = writeln!(self.err, "{}", printable(&message.to_string()));
    }

    /// The two writers, for a verb that runs other verbs.
    pub(crate) fn writers(&mut self) -> (&mut dyn Write, &mut dyn Write) {
        (self.out, self.err)
    }

    fn labelled(&mut self, label: &str, colour: &str, message: &str) {
        let message = printable(message);
        let _ = if self.colour {
            writeln!(self.err, "\u{1b}[1;{colour}m{label}\u{1b}[0m {message}")
        } else {
            writeln!(self.err, "{label} {message}")
        };
    }
}

/// Text from files, plugins and registries made harmless for a terminal: control characters other than the line
/// feed are shown as escapes, bidirectional marks and overrides too (a name must not be able to reorder the line it is
/// in).
pub(crate) fn printable(text: &str) -> String {
    escaped(text, &|c| c.escape_unicode().collect())
}

/// [`printable`] for a JSON document. The characters it escapes stand in strings only, where `\u` means the same.
fn printable_json(document: &str) -> String {
    escaped(document, &|c| format!("\\u{:04x}", u32::from(c)))
}

/// [`printable`] for a whole JSON file: tabs and the line ends of Windows are no harm there. Bytes that are no UTF-8 are
/// replaced.
pub(crate) fn printable_file(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split_inclusive('\n').map(|line| match line.strip_suffix("\r\n") {
        Some(line) => format!("{line}\n"),
        None => line.to_owned(),
    });
    let cells = |line: String| line.split('\t').map(printable_json).collect::<Vec<_>>().join("\t");
    lines.map(cells).collect()
}

fn escaped(text: &str, escape: &dyn Fn(char) -> String) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            shown.push_str(&escape(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// [`printable`] for a place that holds one line only.
pub(crate) fn printable_line(text: &str) -> String {
    printable(text).replace('\n', "\\n")
}

/// A path, shown on one line.
pub(crate) fn shown(path: &std::path::Path) -> String {
    printable_line(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Demo {
        name: &'static str,
    }

    impl Report for Demo {
        fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
            writeln!(out, "name is {}", self.name)
        }
    }

    fn shown_as(format: Format) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        Output::new(format, &mut out, &mut err, false).report(&Demo { name: "x" }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_report_is_text_or_one_json_document() {
        assert_eq!(shown_as(Format::Text), "name is x\n");
        assert_eq!(shown_as(Format::Json), "{\n  \"name\": \"x\"\n}\n");
    }

    #[test]
    fn warnings_are_coloured_only_when_asked_and_never_pass_escapes_on() {
        for (colour, expected) in
            [(false, "Warning: a\\u{1b}[2Jb\n"), (true, "\u{1b}[1;33mWarning:\u{1b}[0m a\\u{1b}[2Jb\n")]
        {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            Output::new(Format::Text, &mut out, &mut err, colour).warn("a\u{1b}[2Jb");
            assert_eq!(String::from_utf8(err).unwrap(), expected);
        }
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(printable_line("a\nb"), "a\\nb");
    }

    #[test]
    fn json_means_the_same_and_holds_nothing_a_terminal_obeys() {
        let name = "\u{1b}[2J\u{7f}\u{80}\u{9b}2J\u{9f}\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}\t\n\\é";
        let mut out = Vec::new();
        Output::new(Format::Json, &mut out, &mut Vec::new(), false).report(&Demo { name }).unwrap();
        let document = String::from_utf8(out).unwrap();
        assert!(!document.chars().any(is_harmful), "{document:?}");
        assert!(document.contains("\\u007f\\u0080\\u009b2J") && document.contains('é'), "{document}");
        let read: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(read["name"], name);
    }

    #[test]
    fn a_file_keeps_its_lines_and_tabs() {
        assert_eq!(printable_file(b"{\r\n\t\"a\": 1\r}\n\x1b[2J"), "{\n\t\"a\": 1\\u000d}\n\\u001b[2J");
        assert_eq!(printable_file(b"\xff"), "\u{fffd}");
    }
}
