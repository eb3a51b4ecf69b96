//! The result as a Markdown table, ratios first.

use std::fmt::Write;
use std::path::Path;

use miroir_tests::binaries;

const BEGIN: &str = "<!-- written by miroir-bench: begin -->";
const END: &str = "<!-- written by miroir-bench: end -->";

/// One measured thing beside what it is compared with.
struct Row {
    what: String,
    ratio: String,
    target: &'static str,
    figures: String,
}

/// All that was measured.
pub struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    /// Nothing measured yet.
    pub fn new() -> Self {
        Self { rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a row; `target` is what the ratio should be, or "".
    pub fn row(
        &mut self,
        what: impl Into<String>,
        ratio: impl Into<String>,
        target: &'static str,
        figures: impl Into<String>,
    ) {
        let row = Row { what: what.into(), ratio: ratio.into(), target, figures: figures.into() };
        eprintln!("{}: {} ({})", row.what, row.ratio, row.figures);
        self.rows.push(row);
    }

    /// Adds a remark below the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The table and where it was measured.
    pub fn markdown(&self) -> String {
        let mut text =
            String::from("| measured | ratio | target | figures, for context |\n| --- | --- | --- | --- |\n");
        for row in &self.rows {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {} | {} | {} | {} |", row.what, row.ratio, row.target, row.figures);
        }
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let nodes = if binaries::meilisearch().is_some() { "Meilisearch servers" } else { "development nodes" };
        let profile =
            if cfg!(debug_assertions) { "a debug build, whose figures say nothing" } else { "a release build" };
        let _ = writeln!(
            text,
            "\nMeasured on {cores} cores ({model}), shared by client, orchestrator and nodes; {nodes}; {profile}."
        );
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }
}

/// Puts the text between the marks of the file, which keeps what people wrote around them.
pub fn store(path: &Path, text: &str) -> std::io::Result<()> {
    let old = std::fs::read_to_string(path).unwrap_or_else(|_| format!("# Benchmarks\n\n{BEGIN}\n{END}\n"));
    let (before, rest) = old.split_once(BEGIN).unwrap_or((&old, ""));
    let after = rest.split_once(END).map_or("\n", |(_, after)| after);
    std::fs::write(path, format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))
}
