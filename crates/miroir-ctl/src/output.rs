//! Printing: aligned columns for people, JSON for programs.

use std::fmt::Write as _;

use serde_json::Value;

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

/// Rows under a head, in columns two spaces apart.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).into()).collect();
    let lines: Vec<Vec<String>> =
        std::iter::once(&head).chain(rows).map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let mut printed = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(printed, "{cell:<width$}  ");
        }
        text.push_str(printed.trim_end());
        text.push('\n');
    }
    text
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

/// A terminal must not obey what a server wrote.
fn printable(text: &str) -> String {
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

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["meili-0".into(), "é".into(), "x".into()], vec!["b".into(), "healthy".into(), "".into()]];
        assert_eq!(table(&["id", "state", "n"], &rows), "id       state    n\nmeili-0  é        x\nb        healthy\n");
    }

    #[test]
    fn a_server_cannot_write_escapes() {
        assert_eq!(facts(&[("a", "\u{1b}[2Jb\nc".into())]), "a   [2Jb c\n");
    }

    #[test]
    fn runs_are_drawn_together() {
        assert_eq!(ranges(&[]), "-");
        assert_eq!(ranges(&[7, 0, 1, 2, 3, 3]), "0-3,7");
        assert_eq!(ranges(&[u32::MAX, u32::MAX - 1]), "4294967294-4294967295");
    }
}
