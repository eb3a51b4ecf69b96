//! One node's answer: its hits, taken one at a time, and what stands around them.
//!
//! Nodes write the hits first and everything else behind them, and what is behind has to be known before the merge may
//! stop. So the end of the hits is found from behind, and hits that the merge does not reach are never looked at. An
//! answer that is not laid out like that is walked through from the front.

use std::ops::Range;

use super::rest::Timed;
use crate::base::json::visit::{at_most, each_member, take_value};
use crate::base::json::{Scanner, SyntaxError};

/// An answer's members, raw, and its hits.
pub(super) struct Answer<'a> {
    pub hits: Hits<'a>,
    pub around: Around<'a>,
}

/// The members of an answer besides its hits, raw.
#[derive(Default)]
pub(super) struct Around<'a> {
    pub query: Option<&'a [u8]>,
    pub query_vector: Option<&'a [u8]>,
    pub total: Option<u64>,
    pub facet_distribution: Option<&'a [u8]>,
    pub facet_stats: Option<&'a [u8]>,
    pub has_request_uid: bool,
    pub is_semantic: bool,
    pub elapsed_ms: u64,
    pub performance: Option<&'a [u8]>,
    /// `"key":value` of members that this version does not know.
    pub unknown: Vec<&'a [u8]>,
}

/// The hits not yet taken.
#[derive(Clone)]
pub(super) struct Hits<'a> {
    scanner: Scanner<'a>,
    /// Where the closing bracket stands.
    end: usize,
    first: bool,
}

const HITS: &[u8] = b"{\"hits\":[";
const INDEX_UID: &[u8] = b"{\"indexUid\":\"";
const HITS_NEXT: &[u8] = b",\"hits\":[";
/// Between the hits and what follows them. Quotes inside a string are escaped, so these bytes are structure.
const BEHIND_HITS: &[u8] = b"],\"query\":";

/// Finds the end of the hits; built once for all answers of a merge.
pub(super) struct Layout(memchr::memmem::FinderRev<'static>);

impl Layout {
    pub fn new() -> Self {
        Self(memchr::memmem::FinderRev::new(BEHIND_HITS))
    }

    /// Takes an answer apart.
    pub fn read<'a>(&self, body: &'a [u8]) -> Result<Answer<'a>, SyntaxError> {
        match self.read_from_behind(body) {
            Some(answer) => Ok(answer),
            None => read_from_front(body),
        }
    }

    /// `None` unless the answer is laid out as nodes write it. A last occurrence inside a hit, which is possible when a
    /// hit holds such members itself, leaves a tail that is no object's, so that it is not mistaken for the end.
    fn read_from_behind<'a>(&self, body: &'a [u8]) -> Option<Answer<'a>> {
        let start = start_of_hits(body)?;
        let end = self.0.rfind(body).filter(|end| *end >= start)?;
        let mut around = Around::default();
        let mut scanner = Scanner::new(body, end + 1);
        while scanner.peek() == Some(b',') {
            scanner.pos += 1;
            let start = scanner.pos;
            if scanner.peek() != Some(b'"') {
                return None;
            }
            scanner.string().ok()?;
            let key = at_most(body, start + 1, scanner.pos - 1);
            scanner.expect(b':', "expected `:`").ok()?;
            around.read_member(&mut scanner, key, start).ok()?;
        }
        let ends_here = scanner.peek() == Some(b'}') && scanner.pos + 1 == body.len();
        std::str::from_utf8(at_most(body, end, body.len())).ok()?;
        // Without a total this was not the answer's own end.
        (ends_here && around.total.is_some())
            .then(|| Answer { hits: Hits { scanner: Scanner::new(body, start), end, first: true }, around })
    }
}

/// Where the first hit stands; in a multi-search the index stands before the hits.
fn start_of_hits(body: &[u8]) -> Option<usize> {
    if body.starts_with(HITS) {
        return Some(HITS.len());
    }
    let uid = body.strip_prefix(INDEX_UID)?;
    let behind = INDEX_UID.len() + memchr::memchr(b'"', uid)? + 1;
    body.get(behind..)?.starts_with(HITS_NEXT).then(|| behind + HITS_NEXT.len())
}

fn read_from_front(body: &[u8]) -> Result<Answer<'_>, SyntaxError> {
    let mut scanner = Scanner::new(body, 0);
    if std::str::from_utf8(body).is_err() {
        return scanner.error("an answer that is not UTF-8");
    }
    let mut around = Around::default();
    let mut hits: Option<Range<usize>> = None;
    scanner.space();
    each_member(&mut scanner, |scanner, key, start| {
        if key == b"hits" {
            let from = scanner.pos;
            if scanner.peek() != Some(b'[') {
                return scanner.error("expected an array of hits");
            }
            take_value(scanner)?;
            hits = Some(from + 1..scanner.pos - 1);
            return Ok(());
        }
        around.read_member(scanner, key, start)
    })?;
    scanner.space();
    if scanner.pos < body.len() {
        return scanner.error("trailing characters");
    }
    match (hits, around.total) {
        (Some(hits), Some(_)) => {
            Ok(Answer { hits: Hits { scanner: Scanner::new(body, hits.start), end: hits.end, first: true }, around })
        }
        (None, _) => scanner.error("an answer without hits"),
        (Some(_), None) => scanner.error("an answer without a total"),
    }
}

impl<'a> Around<'a> {
    /// Where the node spent its time, if it says.
    pub fn timed(&self) -> Option<Timed<'a>> {
        self.performance.map(|details| Timed { elapsed_ms: self.elapsed_ms, details })
    }

    fn read_member(&mut self, scanner: &mut Scanner<'a>, key: &'a [u8], start: usize) -> Result<(), SyntaxError> {
        let raw = take_value(scanner)?;
        match key {
            b"query" => self.query = Some(raw),
            b"queryVector" => self.query_vector = Some(raw),
            b"estimatedTotalHits" | b"totalHits" => {
                self.total = std::str::from_utf8(raw).ok().and_then(|digits| digits.parse().ok());
                if self.total.is_none() {
                    return scanner.error("a total that is not a number");
                }
            }
            b"facetDistribution" => self.facet_distribution = Some(raw),
            b"facetStats" => self.facet_stats = Some(raw),
            b"requestUid" => self.has_request_uid = true,
            b"semanticHitCount" => self.is_semantic = true,
            b"processingTimeMs" => {
                self.elapsed_ms = std::str::from_utf8(raw).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0);
            }
            b"performanceDetails" => self.performance = Some(raw),
            b"limit" | b"offset" | b"hitsPerPage" | b"page" | b"totalPages" | b"remoteErrors" | b"indexUid" => {}
            // Nodes know an index by another name.
            b"metadata" => {}
            _ => self.unknown.push(at_most(scanner.text, start, scanner.pos)),
        }
        Ok(())
    }
}

impl<'a> Hits<'a> {
    /// Stands at the next hit, or `None` behind the last. The caller moves past the hit before it calls again.
    #[inline]
    pub fn next(&mut self) -> Result<Option<&mut Scanner<'a>>, SyntaxError> {
        let scanner = &mut self.scanner;
        scanner.space();
        if scanner.pos >= self.end {
            // A hit may not reach beyond where the hits end.
            return if scanner.pos == self.end { Ok(None) } else { scanner.error("hits that do not end") };
        }
        if !std::mem::take(&mut self.first) {
            scanner.expect(b',', "expected `,` or `]`")?;
            scanner.space();
            if scanner.pos >= self.end {
                return scanner.error("expected a hit");
            }
        }
        Ok(Some(scanner))
    }
}
