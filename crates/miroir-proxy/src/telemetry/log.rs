//! Logs: one JSON object a line on standard error, or plain text for people.
//!
//! Invariant: no line is longer than [`MAX_LINE`], whatever clients or nodes have put into what it says.

use std::io::{self, IsTerminal, Write};

use miroir_core::base::text::shown;
use miroir_core::config::{LogConfig, LogFormat};
use serde_json::Value;
use tracing_subscriber::EnvFilter;

/// Bytes of one line.
const MAX_LINE: usize = 8 * 1024;
/// Bytes of one text in a line that would be too long.
const MAX_TEXT: usize = 512;

/// Start logging. `RUST_LOG` overrides the configured level.
pub fn init(config: &LogConfig) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(config.level.word()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(|| Bounded(io::stderr()));
    match config.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.init(),
    }
}

/// Takes a whole line at a time, and writes no more of it than a line may have.
struct Bounded<W>(W);

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line.len() > MAX_LINE {
            self.0.write_all(&shortened(line))?
        } else {
            self.0.write_all(line)?
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A line of JSON stays one: its texts become shorter.
fn shortened(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let shorter = match serde_json::from_str::<Value>(&text) {
        Ok(mut value) => {
            shorten(&mut value);
            value.to_string()
        }
        Err(_) => shown(text.trim_end(), MAX_LINE / 2).into_owned(),
    };
    let whole = if shorter.len() > MAX_LINE {
        serde_json::json!({ "message": "a line that is too long", "bytes": line.len() }).to_string()
    } else {
        shorter
    };
    format!("{whole}\n").into_bytes()
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > MAX_TEXT => *text = shown(text, MAX_TEXT).into_owned(),
        Value::Array(elements) => elements.iter_mut().for_each(shorten),
        Value::Object(members) => members.values_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(line: &str) -> String {
        let mut bounded = Bounded(Vec::new());
        bounded.write_all(line.as_bytes()).expect("written");
        String::from_utf8(bounded.0).expect("text")
    }

    #[test]
    fn a_line_of_usual_length_is_written_as_it_is() {
        assert_eq!(written("{\"message\":\"short\"}\n"), "{\"message\":\"short\"}\n");
    }

    #[test]
    fn no_line_is_longer_than_a_line_may_be_and_json_stays_json() {
        let body = "é".repeat(1 << 20);
        let line = json!({ "level": "WARN", "message": "refused", "span": { "path": body, "n": 7 } });
        let shorter = written(&format!("{line}\n"));
        assert!(shorter.len() <= MAX_LINE && shorter.ends_with('\n'), "{}", shorter.len());
        let value: Value = serde_json::from_str(&shorter).expect("JSON");
        assert_eq!(
            (&value["level"], &value["message"], &value["span"]["n"]),
            (&json!("WARN"), &json!("refused"), &json!(7))
        );
        let plain = written(&format!("WARN {body}\n"));
        assert!(plain.len() <= MAX_LINE && plain.starts_with("WARN é"), "{}", plain.len());
        let many: Vec<String> = (0..100_000).map(|n| format!("{n}")).collect();
        assert!(written(&json!({ "many": many }).to_string()).contains("too long"));
    }
}
