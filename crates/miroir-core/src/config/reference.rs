//! The reference of all settings, written from the settings themselves.

use std::fmt::Write as _;

use super::layers::entries;
use super::typed::Entry;

/// Every setting with its default, as a commented file that loads.
pub(super) fn defaults_yaml() -> String {
    let mut yaml = String::from("# Every setting of Miroir with its default.\n");
    for entry in entries() {
        let depth = entry.path.matches('.').count();
        let indent = "  ".repeat(depth);
        let name = entry.path.rsplit('.').next().unwrap_or_default();
        let gap = if depth == 0 { "\n" } else { "" };
        let value = entry.setting.map(|setting| format!(" {}", setting.default)).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(yaml, "{gap}{indent}# {}\n{indent}{name}:{value}\n", entry.about);
    }
    yaml
}

/// The tables of `docs/configuration.md`: the top-level settings, then one table a section.
pub(super) fn reference_markdown() -> String {
    let entries = entries();
    let (top, nested): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.setting.is_some() && !entry.path.contains('.'));
    let mut text = String::new();
    table(&mut text, &top);
    let mut rows: Vec<Entry> = Vec::new();
    for entry in nested {
        if entry.setting.is_none() {
            flush(&mut text, &mut rows);
            let _ = write!(text, "\n### `{}`\n\n{}\n\n", entry.path, entry.about);
        } else {
            rows.push(entry);
        }
    }
    flush(&mut text, &mut rows);
    text
}

fn flush(text: &mut String, rows: &mut Vec<Entry>) {
    if !rows.is_empty() {
        table(text, rows);
        rows.clear();
    }
}

fn table(text: &mut String, rows: &[Entry]) {
    text.push_str("| setting | takes | default | meaning |\n| --- | --- | --- | --- |\n");
    for entry in rows {
        if let Some(setting) = &entry.setting {
            let _ =
                writeln!(text, "| `{}` | {} | `{}` | {} |", entry.path, setting.takes, setting.default, entry.about);
        }
    }
}
