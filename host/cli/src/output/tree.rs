//! Trees as `notation` draws them.

use std::io::{self, Write};

use super::printable_line;

/// A line and what hangs below it.
#[derive(Debug, Default)]
pub(crate) struct Node {
    text: String,
    children: Vec<Node>,
}

impl Node {
    /// A node without children.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), children: Vec::new() }
    }

    /// Hangs a child below this node and gives it back.
    pub(crate) fn add(&mut self, child: Node) {
        self.children.push(child);
    }

    /// Hangs `key: value` below this node.
    pub(crate) fn pair(&mut self, key: &str, value: &str) {
        self.add(Self::new(format!("{key}: {value}")));
    }

    /// Draws the tree.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.draw(out, "", "")
    }

    fn draw(&self, out: &mut dyn Write, marker: &str, indent: &str) -> io::Result<()> {
        writeln!(out, "{marker}{}", printable_line(&self.text))?;
        let mut children = self.children.iter().peekable();
        while let Some(child) = children.next() {
            let (branch, below) =
                if children.peek().is_some() { ("├── ", "│   ") } else { ("└── ", "    ") };
            child.draw(out, &format!("{indent}{branch}"), &format!("{indent}{below}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_drawn_as_notation_draws_them() {
        let mut root = Node::new("r");
        let mut a = Node::new("a");
        a.pair("k", "v");
        root.add(a);
        root.add(Node::new("b\u{7}"));
        let mut out = Vec::new();
        root.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "r\n├── a\n│   └── k: v\n└── b\\u{7}\n");
    }
}
