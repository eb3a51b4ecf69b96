//! CSV: each record becomes a JSON document.
//!
//! The header names the fields and may give each a type behind its last colon: `string` (the default), `number` or
//! `boolean`. An empty cell is null. Ids stay texts unless their column is of numbers.

use std::io;

use csv::{Reader, ReaderBuilder, StringRecord};

use super::error::PayloadError;
use super::split::Format;
use crate::base::json;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Boolean,
}

/// A column that takes part: of columns of one name, the first gives the place and the last the value.
struct Field {
    /// `"name":`, or the same behind a comma.
    prefix: Vec<u8>,
    column: usize,
}

/// Reads documents out of CSV text one by one.
pub(super) struct Documents<'a> {
    reader: Reader<&'a [u8]>,
    delimiter: u8,
    names: Vec<String>,
    kinds: Vec<Kind>,
    fields: Vec<Field>,
    record: StringRecord,
    /// Records read so far.
    count: usize,
}

impl<'a> Documents<'a> {
    pub fn new(payload: &'a [u8], delimiter: u8) -> Result<Self, PayloadError> {
        let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(payload);
        let headers = reader.headers().map_err(|error| malformed(delimiter, &error))?;
        let (names, kinds): (Vec<_>, Vec<_>) = headers.iter().map(column).unzip();
        let fields = fields(&names);
        Ok(Self { reader, delimiter, names, kinds, fields, record: StringRecord::new(), count: 0 })
    }

    /// Replaces `document` by the next one. False when there is none.
    pub fn next_into(&mut self, document: &mut Vec<u8>) -> Result<bool, PayloadError> {
        document.clear();
        if !self.reader.read_record(&mut self.record).map_err(|error| malformed(self.delimiter, &error))? {
            return Ok(false);
        }
        self.count += 1;
        for (cell, kind) in self.record.iter().zip(&self.kinds) {
            self.check(cell, *kind)?;
        }
        document.push(b'{');
        for field in &self.fields {
            document.extend_from_slice(&field.prefix);
            let cell = self.record.get(field.column).unwrap_or_default();
            let kind = self.kinds.get(field.column).copied().unwrap_or(Kind::Text);
            write_cell(cell, kind, document);
        }
        document.push(b'}');
        Ok(true)
    }

    /// Every cell is checked, also those of a column that another of the same name hides.
    fn check(&self, cell: &str, kind: Kind) -> Result<(), PayloadError> {
        let trimmed = cell.trim();
        let problem = match kind {
            Kind::Text => None,
            Kind::Number | Kind::Boolean if trimmed.is_empty() => None,
            Kind::Number => trimmed.parse::<f64>().err().map(|error| ("number", error.to_string())),
            Kind::Boolean => trimmed.parse::<bool>().err().map(|error| ("boolean", error.to_string())),
        };
        match problem {
            None => Ok(()),
            Some((what, error)) => Err(PayloadError::Malformed {
                format: Format::Csv { delimiter: self.delimiter },
                reason: format!("Error parsing {what} {cell:?} at line {}: {error}", self.count),
            }),
        }
    }
}

/// Appends a checked cell as a JSON value. Integers of 64 bits stay integers, other numbers become floats, and what no
/// JSON number can say (`inf`, `NaN`) becomes null.
fn write_cell(cell: &str, kind: Kind, out: &mut Vec<u8>) {
    let trimmed = cell.trim();
    match kind {
        Kind::Text if !cell.is_empty() => json::quote_into(cell, out),
        Kind::Number if let Ok(integer) = trimmed.parse::<i64>() => write(out, integer),
        Kind::Number => match trimmed.parse().ok().and_then(serde_json::Number::from_f64) {
            Some(number) => write(out, number),
            None => out.extend_from_slice(b"null"),
        },
        Kind::Boolean if !trimmed.is_empty() => out.extend_from_slice(trimmed.as_bytes()),
        Kind::Text | Kind::Boolean => out.extend_from_slice(b"null"),
    }
}

fn write(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    use io::Write;
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value}");
}

fn column(header: &str) -> (String, Kind) {
    let (name, kind) = match header.rsplit_once(':') {
        Some((name, "string")) => (name, Kind::Text),
        Some((name, "number")) => (name, Kind::Number),
        Some((name, "boolean")) => (name, Kind::Boolean),
        _ => (header, Kind::Text),
    };
    (name.into(), kind)
}

fn fields(names: &[String]) -> Vec<Field> {
    let mut places = std::collections::HashMap::new();
    let mut fields: Vec<Field> = Vec::new();
    for (column, name) in names.iter().enumerate() {
        let place = *places.entry(name).or_insert(fields.len());
        if let Some(field) = fields.get_mut(place) {
            field.column = column;
            continue;
        }
        let mut prefix = if place == 0 { Vec::new() } else { vec![b','] };
        json::quote_into(name, &mut prefix);
        prefix.push(b':');
        fields.push(Field { prefix, column });
    }
    fields
}

fn malformed(delimiter: u8, error: &csv::Error) -> PayloadError {
    // The errors of the reader's kind name themselves; Meilisearch shows them as they are.
    PayloadError::Malformed { format: Format::Csv { delimiter }, reason: error.to_string() }
}

/// The names of the fields of the first document; `None` when there is no document.
pub(super) fn first_names(payload: &[u8], delimiter: u8) -> Result<Option<Vec<String>>, PayloadError> {
    let mut documents = Documents::new(payload, delimiter)?;
    Ok(documents.next_into(&mut Vec::new())?.then_some(documents.names))
}

/// Checks all of the payload.
pub(super) fn check(payload: &[u8], delimiter: u8) -> Result<(), PayloadError> {
    let mut documents = Documents::new(payload, delimiter)?;
    let mut document = Vec::new();
    while documents.next_into(&mut document)? {}
    Ok(())
}
