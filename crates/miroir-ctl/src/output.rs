//! Printing: aligned columns for people, JSON for programs.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use console::Term;
use serde_json::Value;

/// A line between the head and the rows, and nothing else.
const RULED: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// What a command prints, and whether what it found is good.
pub struct Report {
    /// Goes to standard output.
    pub text: String,
    /// `false` makes the exit code 1.
    pub good: bool,
}

impl Report {
    /// A report of something good.
    pub fn good(text: String) -> Self {
        Self { text, good: true }
    }
}

/// Indented JSON and a line end.
pub fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Rows under a head, in columns two spaces apart, or the sentence `none` where there are no rows.
///
/// A terminal gets a rule under the head, and cells that do not fit are wrapped within their column. A file or a pipe
/// gets one line per row, however long, without any ornament: `grep` and `awk` read that.
pub fn table(head: &[&str], rows: &[Vec<String>], none: &str) -> String {
    let terminal = Term::stdout();
    let width = if terminal.is_term() { terminal.size_checked().map(|(_, columns)| columns) } else { None };
    lay_out(head, rows, none, width)
}

/// `width` is that of the terminal in columns; without one the table is plain.
fn lay_out(head: &[&str], rows: &[Vec<String>], none: &str, width: Option<u16>) -> String {
    if rows.is_empty() {
        return format!("{none}\n");
    }
    let mut table = Table::new();
    table.set_header(head.iter().copied());
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| printable(cell))));
    table.load_style(NOTHING);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if let Some(width) = width {
        table.load_style(RULED).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    let lines = table.lines();
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Names with their values, one a line.
pub fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in rows {
        let line = format!("{name:<width$}  {}", printable(value));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The text without control characters: a terminal must not obey what a server wrote.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A dash for nothing.
pub fn or_dash(value: Option<&str>) -> String {
    value.unwrap_or("-").into()
}

/// Shard numbers with runs drawn together: `0-3,7`.
pub fn ranges(numbers: &[u32]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in sorted {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            Some(_) | None => runs.push((number, number)),
        }
    }
    let words: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    if words.is_empty() { "-".into() } else { words.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<Vec<String>> {
        vec![vec!["meili-0".into(), "é日".into(), "x".into()], vec!["b".into(), "healthy".into(), "".into()]]
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let plain = lay_out(&["id", "state", "n"], &nodes(), "No nodes.", None);
        assert_eq!(plain, "id       state    n\nmeili-0  é日      x\nb        healthy\n");
    }

    #[test]
    fn a_terminal_gets_a_rule_and_wrapped_cells() {
        let rows = [vec!["meili-0".into(), "connection refused by 127.0.0.1".into()]];
        let wide = lay_out(&["node", "last error"], &rows, "No nodes.", Some(80));
        assert_eq!(wide.lines().count(), 3, "{wide}");
        assert!(wide.lines().nth(1).is_some_and(|rule| rule.chars().all(|c| c == '─')), "{wide}");
        let narrow = lay_out(&["node", "last error"], &rows, "No nodes.", Some(30));
        assert!(narrow.lines().count() > 3 && narrow.lines().all(|line| line.chars().count() <= 30), "{narrow}");
    }

    #[test]
    fn no_rows_are_said_in_a_sentence() {
        for width in [None, Some(80)] {
            assert_eq!(lay_out(&["id"], &[], "No nodes.", width), "No nodes.\n");
        }
    }

    #[test]
    fn a_server_cannot_write_escapes() {
        assert_eq!(facts(&[("a", "\u{1b}[2Jb\nc".into())]), "a   [2Jb c\n");
        assert_eq!(lay_out(&["a"], &[vec!["\u{1b}[2Jb\nc".into()]], "", None), "a\n [2Jb c\n");
    }

    #[test]
    fn runs_are_drawn_together() {
        assert_eq!(ranges(&[]), "-");
        assert_eq!(ranges(&[7, 0, 1, 2, 3, 3]), "0-3,7");
        assert_eq!(ranges(&[u32::MAX, u32::MAX - 1]), "4294967294-4294967295");
    }
}
