//! Where in a document its id stands, and which field that is when nobody said so.

use std::borrow::Cow;

use super::csv;
use super::error::{DocumentError, PayloadError, SplitError};
use super::id;
use super::malformed;
use super::split::Format;
use crate::base::json::{self, Members, Scanner};

/// A primary key taken apart. `a.b` is the member `b` of the object at `a`, or the member `a.b`: each way of reading it
/// is a *level*, a member's name and what is left to follow inside that member.
#[derive(Clone, Debug)]
pub(super) struct PrimaryKey<'a> {
    pub name: &'a str,
    pub levels: Vec<(&'a str, &'a str)>,
}

impl<'a> PrimaryKey<'a> {
    pub fn new(name: &'a str) -> Self {
        Self { name, levels: levels(name).collect() }
    }
}

/// The levels of a dotted path, shortest name first. A member without a name never matches.
fn levels(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let dots = path.match_indices('.').filter_map(|(dot, _)| Some((path.get(..dot)?, path.get(dot + 1..)?)));
    dots.chain([(path, "")]).filter(|(name, _)| !name.is_empty())
}

/// Why no id came out of a document.
pub(super) enum NoId {
    Several,
    Invalid(DocumentError),
}

/// Follows `rest` of a level inside that level's raw value and puts the id that stands there into `found`. That no id
/// stands there is no error: another level may have it.
pub(super) fn follow<'v>(value: &'v [u8], rest: &str, found: &mut Option<Cow<'v, str>>) -> Result<(), NoId> {
    let id = if rest.is_empty() {
        id::of_value(value).map_err(NoId::Invalid)?
    } else {
        let mut inside = None;
        // The value is valid as a part of a valid document; not being an object, it has no member to follow.
        for member in json::members(value).into_iter().flatten().flatten() {
            if let Some((_, rest)) = levels(rest).find(|(name, _)| member.key_is(name)) {
                follow(member.value, rest, &mut inside)?;
            }
        }
        match inside {
            Some(id) => id,
            None => return Ok(()),
        }
    };
    if found.replace(id).is_some() { Err(NoId::Several) } else { Ok(()) }
}

/// The primary key that Meilisearch would infer from this payload: the one top-level field of the first document whose
/// name ends in `id`, in lower case. `None` when there is no document.
///
/// Only as much of the payload is checked as it takes; [`split`](super::split()) checks all of it. When the inference
/// fails, the whole payload is: a malformed one is refused as such.
pub fn infer_primary_key(payload: &[u8], format: Format) -> Result<Option<String>, SplitError> {
    if payload.is_empty() {
        return Err(PayloadError::Missing(format).into());
    }
    let Some(names) = first_names(payload, format)? else {
        return Ok(None);
    };
    let mut candidates: Vec<_> = names.into_iter().filter(|name| name.to_lowercase().ends_with("id")).collect();
    candidates.sort_unstable();
    candidates.dedup();
    let error = match candidates.as_slice() {
        [name] => return Ok(Some(name.clone())),
        [] => DocumentError::NoPrimaryKeyCandidate,
        [first, second, ..] => DocumentError::SeveralPrimaryKeyCandidates {
            count: candidates.len(),
            first: first.clone(),
            second: second.clone(),
        },
    };
    match format {
        Format::Json | Format::Ndjson => malformed::is_received(payload, format)?,
        Format::Csv { delimiter } => csv::check(payload, delimiter)?,
    }
    Err(error.into())
}

/// The names of the first document's fields.
fn first_names(payload: &[u8], format: Format) -> Result<Option<Vec<String>>, SplitError> {
    if let Format::Csv { delimiter } = format {
        return Ok(csv::first_names(payload, delimiter)?);
    }
    let mut scanner = Scanner::new(payload, 0);
    scanner.space();
    if format == Format::Json && scanner.peek() == Some(b'[') {
        scanner.pos += 1;
        scanner.space();
        if scanner.peek() == Some(b']') {
            return Ok(None);
        }
    } else if format == Format::Ndjson && scanner.peek().is_none() {
        return Ok(None);
    }
    let start = scanner.pos;
    let names = Members::at(payload, start, json::MAX_DEPTH).and_then(|mut members| {
        members.try_fold(Vec::new(), |mut names, member| {
            names.push(member?.key_text().into_owned());
            Ok(names)
        })
    });
    names.map(Some).map_err(|_| malformed::explain(payload, format, start))
}
