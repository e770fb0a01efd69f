//! Tables as `notation` prints them: left-aligned columns, three spaces after each cell, the last one included.

use std::io::{self, Write};

use super::printable_line;

const PADDING: usize = 3;

/// Writes a header and rows of as many cells.
pub(crate) fn write<const N: usize>(
    out: &mut dyn Write,
    header: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let header = header.map(str::to_owned);
    let rows: Vec<[String; N]> = std::iter::once(&header)
        .chain(rows)
        .map(|row| row.each_ref().map(|cell| printable_line(cell)))
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        for (width, cell) in widths.iter().zip(row) {
            write!(out, "{cell:<0$}", width + PADDING)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_padded_by_three_and_cannot_break_the_table() {
        let mut out = Vec::new();
        let rows = [["é".to_owned(), "1".to_owned()], ["longer".to_owned(), "a\nb\u{1b}".to_owned()]];
        write(&mut out, ["NAME", "ID"], &rows).unwrap();
        let expected = "NAME     ID             \né        1              \nlonger   a\\nb\\u{1b}     \n";
        let expected: Vec<&str> = expected.lines().map(str::trim_end).collect();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().map(str::trim_end).collect::<Vec<_>>(), expected);
        assert!(text.lines().all(|line| line.ends_with("   ")), "{text:?}");
    }
}
