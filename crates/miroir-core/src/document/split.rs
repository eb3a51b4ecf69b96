//! The splitter: one pass over a batch that checks every document and copies it to the body of its shard.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;

use super::csv;
use super::error::{DocumentError, PayloadError, SplitError};
use super::faults::Faults;
use super::lacking::{Lack, Lacking};
use super::malformed;
use super::primary_key::{NoId, PrimaryKey, follow};
use super::vectors::{self, Rank};
use super::{geo, geojson};
use crate::base::hash;
use crate::base::inert;
use crate::base::json::{self, Member, Members, Scanner, at_most};
use crate::document::Checks;

/// How deep a document of a list may nest: deeper ones fail on a node.
const DEPTH_IN_LIST: usize = 128;
/// How deep a document may nest that is the whole payload, which a node reads in another way.
const DEPTH_ALONE: usize = 127;

/// How the documents of a payload are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An array of objects, or one object.
    Json,
    /// Objects, with or without whitespace between them.
    Ndjson,
    /// A header line and records.
    Csv {
        /// Between cells: one ASCII character, `,` unless the client says otherwise.
        delimiter: u8,
    },
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv { .. } => "csv",
        })
    }
}

/// What a document does to a stored one of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It takes its place.
    Replace,
    /// Its fields take the place of the stored one's.
    Update,
}

/// Which fields of ours a client's document must not contain. `_miroir_shard` never may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReservedFields {
    /// Whether `_miroir_updated_at` is refused: while anti-entropy is enabled. Otherwise it passes untouched.
    pub updated_at: bool,
}

impl ReservedFields {
    fn refused(self, member: &Member<'_>) -> Option<&'static str> {
        let fields = [(inert::SHARD_FIELD, true), (inert::UPDATED_AT_FIELD, self.updated_at)];
        fields.into_iter().find_map(|(field, refused)| (refused && member.key_is(field)).then_some(field))
    }
}

/// How to split a batch.
#[derive(Clone, Copy, Debug)]
pub struct SplitRequest<'a> {
    /// The index's shards.
    pub shards: NonZeroU32,
    /// The index's primary key; may be dotted.
    pub primary_key: &'a str,
    /// The write's stamp in milliseconds, when documents are to carry one.
    pub stamp: Option<u64>,
    /// What nodes check while they index.
    pub checks: &'a Checks,
    /// Documents that are not stored are left out before nodes look at what is in them: nothing of that is checked.
    pub skips_creation: bool,
    /// Which fields of ours are refused.
    pub reserved: ReservedFields,
    /// What the documents do to stored ones.
    pub method: Method,
}

/// A batch taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// For each shard its documents in the batch's order, as NDJSON, each ended by a newline. A document is as the client
    /// wrote it, with our fields behind its own. Line breaks between a document's tokens stay: NDJSON is read as values
    /// separated by whitespace.
    pub shards: Vec<Vec<u8>>,
    /// Documents in the batch.
    pub received: u64,
    /// Documents of different ids in the batch.
    pub unique: u64,
    /// Of these, how many go to each shard.
    pub by_shard: Vec<u64>,
    /// Documents that nodes take only if they are stored already.
    pub lacking: Vec<Lacking>,
}

/// Splits a whole payload. On an error nothing of it is to be sent.
///
/// A payload that does not follow its format is refused as such wherever the fault is, before any fault of a single
/// document. Bytes behind a JSON array are ignored, as Meilisearch ignores them.
pub fn split(payload: &[u8], format: Format, request: &SplitRequest<'_>) -> Result<Split, SplitError> {
    if payload.is_empty() {
        return Err(PayloadError::Missing(format).into());
    }
    let mut splitter = Splitter::new(payload.len(), format, request);
    let result = match format {
        Format::Json => splitter.json(valid_utf8(payload), payload.len()),
        Format::Ndjson => splitter.ndjson(valid_utf8(payload), payload.len()),
        Format::Csv { delimiter } => splitter.csv(payload, delimiter),
    };
    match result.and_then(|()| splitter.finish().map_err(Stop::Refused)) {
        Ok(split) => Ok(split),
        Err(Stop::Syntax { start }) => Err(malformed::explain(payload, format, start)),
        Err(Stop::Refused(error @ SplitError::Payload(_))) => Err(error),
        Err(Stop::Refused(error)) => {
            match format {
                Format::Json | Format::Ndjson => malformed::is_received(payload, format)?,
                Format::Csv { delimiter } => csv::check(payload, delimiter)?,
            }
            Err(error)
        }
    }
}

/// The part of `payload` before the first byte that is not UTF-8.
fn valid_utf8(payload: &[u8]) -> &[u8] {
    match std::str::from_utf8(payload) {
        Ok(_) => payload,
        Err(error) => at_most(payload, 0, error.valid_up_to()),
    }
}

/// Why splitting stopped.
enum Stop {
    /// The payload is not JSON at or behind `start`, where a document begins or should.
    Syntax { start: usize },
    /// The payload is well-formed so far.
    Refused(SplitError),
}

impl From<DocumentError> for Stop {
    fn from(error: DocumentError) -> Self {
        Self::Refused(error.into())
    }
}

struct Splitter<'r> {
    request: &'r SplitRequest<'r>,
    format: Format,
    primary_key: PrimaryKey<'r>,
    payload_length: usize,
    split: Split,
    /// What ends each shard's documents; made when the shard gets its first.
    tails: Vec<Vec<u8>>,
    /// Behind the shard's number in each tail.
    stamp: String,
    /// Of the ids, one per document.
    hashes: Vec<u64>,
    /// Values in the document at hand that may hold its id, each with its level of the primary key.
    candidates: Vec<(usize, Range<usize>)>,
    bad_geo: Faults,
    bad_geojson: Faults,
    /// `_vectors` that cannot be stored.
    bad_vectors: Faults,
    /// `_vectors` that do not fit an embedder.
    unfit_vectors: Faults,
    lack: Lack,
    /// Some embedder is for vectors that clients provide.
    wants_vectors: bool,
}

/// Fields of a document that nodes check.
#[derive(Clone, Copy, Default)]
struct Checked<'t> {
    geo: Option<&'t [u8]>,
    geojson: Option<&'t [u8]>,
    vectors: Option<&'t [u8]>,
}

impl<'r> Splitter<'r> {
    fn new(payload_length: usize, format: Format, request: &'r SplitRequest<'r>) -> Self {
        let stamp = match request.stamp {
            Some(stamp) => format!("\",\"{}\":\"{}\"}}\n", inert::UPDATED_AT_FIELD, inert::encode_millis(stamp)),
            None => "\"}\n".into(),
        };
        let shards = request.shards.get() as usize;
        Self {
            request,
            format,
            primary_key: PrimaryKey::new(request.primary_key),
            payload_length,
            split: Split { shards: vec![Vec::new(); shards], ..Split::default() },
            tails: vec![Vec::new(); shards],
            stamp,
            hashes: Vec::new(),
            candidates: Vec::new(),
            bad_geo: Faults::default(),
            bad_geojson: Faults::default(),
            bad_vectors: Faults::default(),
            unfit_vectors: Faults::default(),
            lack: Lack::default(),
            wants_vectors: request.checks.embedders.iter().any(|embedder| embedder.is_user_provided),
        }
    }

    /// Splits a JSON payload of `length` bytes, of which `text` is what is UTF-8.
    fn json(&mut self, text: &[u8], length: usize) -> Result<(), Stop> {
        let mut scanner = Scanner::new(text, 0);
        scanner.space();
        if scanner.peek() != Some(b'[') {
            scanner.pos = self.document(text, scanner.pos, DEPTH_ALONE)?;
            scanner.space();
            return if scanner.pos == length { Ok(()) } else { Err(Stop::Syntax { start: scanner.pos }) };
        }
        scanner.pos += 1;
        scanner.space();
        if scanner.peek() == Some(b']') {
            return Ok(());
        }
        loop {
            scanner.pos = self.document(text, scanner.pos, DEPTH_IN_LIST)?;
            scanner.space();
            match scanner.peek() {
                Some(b',') => scanner.pos += 1,
                Some(b']') => return Ok(()),
                _ => return Err(Stop::Syntax { start: scanner.pos }),
            }
            scanner.space();
        }
    }

    /// Splits an NDJSON payload of `length` bytes, of which `text` is what is UTF-8.
    fn ndjson(&mut self, text: &[u8], length: usize) -> Result<(), Stop> {
        let mut scanner = Scanner::new(text, 0);
        loop {
            scanner.space();
            if scanner.pos == length {
                return Ok(());
            }
            scanner.pos = self.document(text, scanner.pos, DEPTH_IN_LIST)?;
        }
    }

    fn csv(&mut self, payload: &[u8], delimiter: u8) -> Result<(), Stop> {
        let refused = |error: PayloadError| Stop::Refused(error.into());
        let mut documents = csv::Documents::new(payload, delimiter).map_err(refused)?;
        let mut document = Vec::new();
        while documents.next_into(&mut document).map_err(refused)? {
            self.document(&document, 0, DEPTH_IN_LIST)?;
        }
        Ok(())
    }

    /// Takes the document that starts at `start` and nests at most `depth` deep. Returns where it ends.
    fn document(&mut self, text: &[u8], start: usize, depth: usize) -> Result<usize, Stop> {
        let syntax = |_| Stop::Syntax { start };
        let mut members = Members::at(text, start, depth).map_err(syntax)?;
        let mut checked = Checked::default();
        self.candidates.clear();
        while let Some((member, escaped)) = members.step().map_err(syntax)? {
            if escaped || member.key.first() == Some(&b'_') {
                if let Some(field) = self.request.reserved.refused(&member) {
                    return Err(Stop::Refused(SplitError::Reserved { field }));
                }
                if member.key_is(geo::FIELD) {
                    checked.geo = Some(member.value);
                } else if member.key_is(vectors::FIELD) {
                    checked.vectors = Some(member.value);
                } else if member.key_is(geojson::FIELD) {
                    checked.geojson = Some(member.value);
                }
            }
            for (level, (name, _)) in self.primary_key.levels.iter().enumerate() {
                if if escaped { member.key_is(name) } else { member.key == name.as_bytes() } {
                    self.candidates.push((level, member.span.end - member.value.len()..member.span.end));
                }
            }
        }
        let end = members.end();
        let document = at_most(text, start, end);
        if self.format == Format::Json && self.is_ambiguous() {
            let document = without_duplicates(document).map_err(syntax)?;
            self.document(&document, 0, depth)?;
            return Ok(end);
        }
        let hash = self.id_hash(text, document, checked)?;
        self.copy(hash, at_most(text, start, end - 1));
        Ok(end)
    }

    /// Whether a member that may hold the id is there twice. In JSON the last one wins; in NDJSON, which the nodes are
    /// sent, both count.
    fn is_ambiguous(&self) -> bool {
        match self.candidates.as_slice() {
            [] | [_] => false,
            several => several.iter().enumerate().any(|(i, (a, _))| several.iter().skip(i + 1).any(|(b, _)| a == b)),
        }
    }

    /// The hash of the id of the document at hand, whose other rules are checked on the way.
    fn id_hash(&mut self, text: &[u8], document: &[u8], checked: Checked<'_>) -> Result<u64, DocumentError> {
        let name = self.primary_key.name;
        let mut id = None;
        for (level, value) in &self.candidates {
            let rest = self.primary_key.levels.get(*level).map_or("", |(_, rest)| rest);
            follow(at_most(text, value.start, value.end), rest, &mut id).map_err(|problem| match problem {
                NoId::Several => DocumentError::several_ids(name, document),
                NoId::Invalid(error) => error,
            })?;
        }
        let id = id.ok_or_else(|| DocumentError::missing_id(name, document))?;
        let hash = hash::of_id(id.as_bytes());
        self.check(&id, hash, checked)?;
        Ok(hash)
    }

    /// Notes what is wrong with the fields that nodes check, or that a later document of the same id makes up for it.
    fn check(&mut self, id: &str, hash: u64, checked: Checked<'_>) -> Result<(), DocumentError> {
        if self.request.skips_creation {
            return Ok(());
        }
        let (checks, order) = (self.request.checks, self.split.received);
        let replaces = self.request.method == Method::Replace;
        if checks.geo {
            self.bad_geo.record(hash, order, checked.geo.map(|raw| geo::check(id, raw)), replaces)?;
        }
        if checks.geojson {
            self.bad_geojson.record(hash, order, checked.geojson.map(geojson::check), replaces)?;
        }
        let found = checked.vectors.map(|raw| vectors::check(id, raw, &checks.embedders));
        let said = |rank: Rank| {
            let fault = found.as_ref().map(|found| found.fault.as_ref().filter(|fault| fault.0 == rank));
            fault.map(|fault| fault.map_or(Ok(()), |(_, error)| Err(error.clone())))
        };
        self.bad_vectors.record(hash, order, said(Rank::Shape), replaces)?;
        if !checks.embedders.is_empty() {
            self.unfit_vectors.record(hash, order, said(Rank::Embedding), replaces)?;
        }
        if self.wants_vectors {
            self.lack.record((hash, order, id), found.as_ref(), replaces, &checks.embedders);
        }
        Ok(())
    }

    /// Appends a document, given without its closing bracket, to its shard's body. It has at least the member of its id,
    /// hence ours come behind a comma.
    fn copy(&mut self, hash: u64, open_document: &[u8]) {
        self.split.received += 1;
        self.hashes.push(hash);
        let shard = hash::shard_of_hash(hash, self.request.shards);
        let place = shard.0 as usize;
        let (Some(body), Some(tail)) = (self.split.shards.get_mut(place), self.tails.get_mut(place)) else {
            return;
        };
        if tail.is_empty() {
            tail.extend_from_slice(b",\"");
            tail.extend_from_slice(inert::SHARD_FIELD.as_bytes());
            tail.extend_from_slice(b"\":\"");
            tail.extend_from_slice(inert::encode_shard(shard).as_bytes());
            tail.extend_from_slice(self.stamp.as_bytes());
        }
        let needed = open_document.len() + tail.len();
        if body.capacity() - body.len() < needed {
            let more = match body.len() {
                0 => expected_body(self.payload_length, open_document.len(), needed, self.request.shards),
                length => length / 4,
            };
            body.reserve_exact(more.max(needed));
        }
        body.extend_from_slice(open_document);
        body.extend_from_slice(tail);
    }

    fn finish(mut self) -> Result<Split, SplitError> {
        // In the order in which a node comes upon them.
        self.bad_vectors.first()?;
        self.unfit_vectors.first()?;
        self.split.lacking = self.lack.finish();
        self.bad_geo.first()?;
        self.bad_geojson.first()?;
        self.hashes.sort_unstable();
        self.hashes.dedup();
        self.split.unique = self.hashes.len() as u64;
        self.split.by_shard = vec![0; self.request.shards.get() as usize];
        for hash in &self.hashes {
            let shard = hash::shard_of_hash(*hash, self.request.shards);
            if let Some(count) = self.split.by_shard.get_mut(shard.0 as usize) {
                *count += 1;
            }
        }
        Ok(self.split)
    }
}

/// The bytes to reserve for a shard's body when its first document comes: its share of the payload, grown as this document
/// grows but at most twofold, and a little. Growing later is by a quarter, so that memory stays near the payload's size.
fn expected_body(payload: usize, document: usize, stamped: usize, shards: NonZeroU32) -> usize {
    let share = payload / shards.get() as usize;
    let growth = share.saturating_mul(stamped - document) / document.max(1);
    share.saturating_add(growth.min(share)).saturating_mul(9) / 8
}

/// A document in which each member is there once: the place of the first and the value of the last of its name.
fn without_duplicates(document: &[u8]) -> Result<Vec<u8>, json::SyntaxError> {
    let mut places = HashMap::new();
    let mut kept: Vec<Member<'_>> = Vec::new();
    for member in json::members(document)? {
        let member = member?;
        let place = *places.entry(member.key_text().into_owned()).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(first) => first.value = member.value,
            None => kept.push(member),
        }
    }
    let mut out = Vec::with_capacity(document.len());
    for member in kept {
        out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
        out.extend_from_slice(member.key);
        out.extend_from_slice(b"\":");
        out.extend_from_slice(member.value);
    }
    out.push(b'}');
    Ok(out)
}
