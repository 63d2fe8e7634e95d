//! Aligned columns, for people. A table that is too long to be held is printed in parts: the first part decides how wide the
//! columns are, and a later cell that is wider pushes its row out of line, which costs less than waiting for all rows would.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::output::{Format, Out, Tone};

/// What stands between two columns.
const GAP: &str = "  ";

/// A column's title and side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Text stands left.
    Text(&'static str),
    /// Numbers stand right.
    Number(&'static str),
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Column::Text(title) | Column::Number(title) => title,
        }
    }
}

/// What a cell shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// In a tone.
    pub(super) fn toned(text: impl Into<String>, tone: Tone) -> Cell {
        Cell { text: text.into(), tone }
    }

    /// What is not known.
    pub(super) fn unknown() -> Cell {
        Cell::toned("-", Tone::Quiet)
    }

    /// A number that may not be known.
    pub(super) fn number(number: Option<u64>) -> Cell {
        number.map_or_else(Cell::unknown, |number| number.to_string().into())
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::toned(text, Tone::Normal)
    }
}

/// A table under way.
pub(super) struct Table {
    columns: Vec<Column>,
    /// Of the columns, once the first rows are known.
    widths: Option<Vec<usize>>,
}

impl Table {
    /// An empty one.
    pub(super) fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), widths: None }
    }

    /// Prints rows, below the header if they are the first. In the plain format there is no header, and no alignment.
    pub(super) fn rows(&mut self, rows: &[Vec<Cell>], out: &mut Out) {
        if out.format() == Format::Plain {
            for row in rows {
                let cells: Vec<&str> = row.iter().map(|cell| cell.text.as_str()).collect();
                out.line(&cells.join("\t"));
            }
            return;
        }
        if self.widths.is_none() {
            let title = |column: &Column| column.title().width();
            let mut widths: Vec<usize> = self.columns.iter().map(title).collect();
            for row in rows {
                for (width, cell) in widths.iter_mut().zip(row) {
                    *width = (*width).max(cell.text.width());
                }
            }
            self.widths = Some(widths);
            let header: Vec<Cell> =
                self.columns.iter().map(|column| Cell::toned(column.title(), Tone::Header)).collect();
            self.row(&header, out);
        }
        for row in rows {
            self.row(row, out);
        }
    }

    fn row(&self, row: &[Cell], out: &mut Out) {
        let widths = self.widths.as_deref().unwrap_or_default();
        let mut line = String::new();
        for (at, ((cell, column), width)) in row.iter().zip(&self.columns).zip(widths).enumerate() {
            if at > 0 {
                line.push_str(GAP);
            }
            let fill = " ".repeat(width.saturating_sub(cell.text.width()));
            let text = out.painted(&cell.text, cell.tone);
            match column {
                Column::Number(_) => line.extend([fill, text]),
                // Nothing stands behind the last one.
                Column::Text(_) if at + 1 == row.len() => line.push_str(&text),
                Column::Text(_) => line.extend([text, fill]),
            }
        }
        out.line(line.trim_end());
    }
}

/// Shortens text to a width, the dots that say so included.
pub(super) fn shortened(text: &str, width_max: usize) -> String {
    const DOTS: &str = "...";
    if text.width() <= width_max {
        return text.to_owned();
    }
    let mut width = DOTS.len();
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width <= width_max
    };
    let kept: String = text.chars().take_while(fits).collect();
    kept + DOTS
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::{printed, shown};
    use super::*;

    fn two_parts(out: &mut Out) {
        let mut table = Table::new(&[Column::Text("KEY"), Column::Number("N"), Column::Text("VALUE")]);
        table.rows(
            &[
                vec!["a".into(), Cell::number(Some(5)), "x".into()],
                vec!["\u{4f60}\u{597d}".into(), Cell::number(None), "y".into()],
            ],
            out,
        );
        table.rows(&[vec!["longer".into(), Cell::number(Some(12)), "".into()]], out);
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let table = printed(Format::Table, two_parts);
        assert_eq!(table, "KEY   N  VALUE\na     5  x\n\u{4f60}\u{597d}  -  y\nlonger  12\n");
    }

    #[test]
    fn plain_rows_are_separated_by_tabs() {
        assert_eq!(printed(Format::Plain, two_parts), "a\t5\tx\n\u{4f60}\u{597d}\t-\ty\nlonger\t12\t\n");
    }

    #[test]
    fn colours_do_not_shift_columns() {
        let coloured = shown(Format::Table, true, two_parts);
        assert!(coloured.starts_with("\u{1b}[1mKEY\u{1b}[0m "), "{coloured:?}");
        let mut bare = coloured;
        for code in ["\u{1b}[1m", "\u{1b}[2m", "\u{1b}[0m"] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, printed(Format::Table, two_parts));
    }

    #[test]
    fn long_text_is_shortened_by_what_it_takes_on_the_terminal() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abc...");
        assert_eq!(shortened("\u{4f60}\u{597d}\u{4f60}\u{597d}", 7), "\u{4f60}\u{597d}...");
    }
}
