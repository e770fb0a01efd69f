//! Tables as `notation` prints them: left-aligned columns, three spaces after each cell, the last one included.

use std::io::{self, Write};

use super::printable_line;

const PADDING: usize = 3;

/// What stands in a cell of which nothing is known.
pub(crate) const NOTHING: &str = "-";

/// Writes a header and rows of as many cells.
pub(crate) fn write<const N: usize>(
    out: &mut dyn Write,
    header: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let header = header.each_ref().map(|title| Some(*title));
    let cells: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| Some(cell.as_str()))).collect();
    write_columns(out, &header, &cells)
}

/// As [`write`], without the columns in which no row has anything; [`NOTHING`] fills the gaps of the others.
pub(crate) fn write_filled<const N: usize>(
    out: &mut dyn Write,
    header: [&str; N],
    rows: &[[Option<String>; N]],
) -> io::Result<()> {
    let mut shown = [false; N];
    for row in rows {
        for (shown, cell) in shown.iter_mut().zip(row) {
            *shown |= cell.is_some();
        }
    }
    let mut kept = shown.iter();
    let header = header.map(|title| kept.next().is_some_and(|kept| *kept).then_some(title));
    let rows: Vec<_> =
        rows.iter().map(|row| row.each_ref().map(|cell| Some(cell.as_deref().unwrap_or(NOTHING)))).collect();
    write_columns(out, &header, &rows)
}

/// Writes the columns that have a title.
fn write_columns<const N: usize>(
    out: &mut dyn Write,
    header: &[Option<&str>; N],
    rows: &[[Option<&str>; N]],
) -> io::Result<()> {
    let titled = |row: &[Option<&str>; N]| -> Vec<String> {
        let cells = header.iter().zip(row).filter(|(title, _)| title.is_some());
        cells.map(|(_, cell)| printable_line(cell.unwrap_or_default())).collect()
    };
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).map(titled).collect();
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
