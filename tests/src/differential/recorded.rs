//! What a Meilisearch server answered to requests that development nodes cannot answer, having no keys and few tasks.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Request, Seen, normalised};

/// Answers in the order of the requests.
#[derive(Debug)]
pub struct Recorded(std::vec::IntoIter<Value>);

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/recorded/control.ndjson"))
}

impl Recorded {
    /// The record in the repository.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read() -> Self {
        let text = std::fs::read_to_string(path()).unwrap_or_else(|error| panic!("{}: {error}", path().display()));
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        Self(lines.unwrap_or_else(|error| panic!("{}: {error}", path().display())).into_iter())
    }

    /// What was answered to the next request.
    ///
    /// # Panics
    /// When another request was recorded.
    pub fn next(&mut self, request: &Request) -> Seen {
        let line = self.0.next().unwrap_or_default();
        let again = "record again: MEILISEARCH_BIN=... MIROIR_DIFFERENTIAL_RECORD=1 cargo test -p miroir-tests --test e2e differential";
        assert_eq!(line["request"], request.to_string().as_str(), "{again}");
        Seen {
            status: line["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default(),
            kind: line["kind"].as_str().unwrap_or_default().to_owned(),
            headers: serde_json::from_value(line["headers"].clone()).unwrap_or_default(),
            // Their wording is that of a server; what nodes word is not compared on development nodes.
            body: normalised(&line["body"], true),
        }
    }

    /// Puts a record into the repository.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(answers: &[(Request, Seen)]) {
        let line = |(request, seen): &(Request, Seen)| {
            let line = json!({ "request": request.to_string(), "status": seen.status, "kind": seen.kind, "headers": seen.headers, "body": seen.body });
            format!("{line}\n")
        };
        let text: String = answers.iter().map(line).collect();
        let written =
            path().parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path(), text));
        written.unwrap_or_else(|error| panic!("{}: {error}", path().display()));
    }
}
