//! The exact merge of what the nodes answered to one search.
//!
//! Each node returns its hits in its own order; the hits are taken lazily, best first, until the client's page is full.
//! Hits are slices of the nodes' answers throughout, and reach the client byte for byte but for the members that are
//! ours or that it did not ask for.

mod answer;
mod distinct;
mod federated;
mod hit;
mod metadata;
mod pinned;
mod rest;

use std::cmp::Ordering;

use thiserror::Error;

use self::answer::{Answer, Around, Hits, Layout};
use self::distinct::Taken;
pub use self::federated::{FederatedAnswer, FederatedError, FederatedQuery, merge_federated};
pub(crate) use self::hit::project;
use self::hit::{Edits, Head};
pub use self::metadata::{QueryMetadata, tell_of_queries, tell_of_query};
use self::pinned::InAnswer;
use self::rest::Rest;
use crate::base::json::{self, SyntaxError};
use crate::read::search::{IndexView, SearchRequest};
use crate::rules::Queue;

/// A node's answer is not that of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("answer {answer} cannot be merged")]
pub struct MergeError {
    /// Which of the answers, counted from 0.
    pub answer: usize,
    /// What is wrong with it.
    #[source]
    pub fault: SyntaxError,
}

/// Merges the bodies of the nodes' 200 answers to [`SearchRequest::node_body`], in the order of the plan, into the body
/// of the client's answer.
///
/// `elapsed_ms` is shown as the processing time; `request_uid` is shown when the nodes show theirs.
///
/// # Errors
/// [`MergeError`] when an answer is not one, as far as it was needed.
pub fn merge(
    request: &SearchRequest,
    index: &IndexView<'_>,
    answers: &[impl AsRef<[u8]>],
    elapsed_ms: u64,
    request_uid: Option<&str>,
) -> Result<Vec<u8>, MergeError> {
    let mut out = Vec::new();
    let (merged, around) = begin(request, index, answers, &mut out)?;
    Rest { request, index, around: &around, merged: &merged, elapsed_ms, request_uid }.write(&mut out)?;
    Ok(out)
}

/// Likewise for a search for what is similar to the document `id`.
///
/// # Errors
/// As [`merge`].
pub fn merge_similar(
    request: &SearchRequest,
    index: &IndexView<'_>,
    answers: &[impl AsRef<[u8]>],
    elapsed_ms: u64,
    id: &str,
) -> Result<Vec<u8>, MergeError> {
    let mut out = Vec::new();
    let (merged, around) = begin(request, index, answers, &mut out)?;
    let sum = around.iter().fold(0u64, |sum, answer| sum.saturating_add(answer.total.unwrap_or_default()));
    similar_tail(request, id, sum.saturating_sub(merged.duplicates), elapsed_ms, &mut out);
    rest::performance_into(around.iter().filter_map(Around::timed), &mut out);
    out.push(b'}');
    Ok(out)
}

/// The answer of a search for similar documents that finds none of `total`.
pub fn nothing_similar(request: &SearchRequest, id: &str, total: u64, elapsed_ms: u64) -> Vec<u8> {
    let mut out = b"{\"hits\":[]".to_vec();
    similar_tail(request, id, total, elapsed_ms, &mut out);
    out.push(b'}');
    out
}

fn similar_tail(request: &SearchRequest, id: &str, total: u64, elapsed_ms: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"id\":");
    json::quote_into(id, out);
    rest::member_into("processingTimeMs", elapsed_ms, out);
    rest::paging_into(request.paging(), total, out);
}

/// Begins an answer with the merged hits.
fn begin<'a>(
    request: &'a SearchRequest,
    index: &IndexView<'a>,
    answers: &'a [impl AsRef<[u8]>],
    out: &mut Vec<u8>,
) -> Result<(Merged, Vec<Around<'a>>), MergeError> {
    let layout = Layout::new();
    let edits = Edits::new(request, index);
    let mut sources = Vec::with_capacity(answers.len());
    let mut around = Vec::with_capacity(answers.len());
    let mut pinned = Vec::new();
    for (position, body) in answers.iter().enumerate() {
        let failed = |fault| MergeError { answer: position, fault };
        let body = body.as_ref();
        let answer: Answer<'_> = layout.read(body).map_err(failed)?;
        let mut source = Source { body, hits: answer.hits, head: Head::default(), live: true };
        if index.pins.is_some() {
            pinned::take(&mut source, &edits, position, &mut pinned).map_err(failed)?;
        }
        source.advance(&edits).map_err(failed)?;
        sources.push(source);
        around.push(answer.around);
    }
    let bytes = answers.iter().map(|body| body.as_ref().len()).max().unwrap_or_default();
    out.reserve(bytes + 1024);
    out.extend_from_slice(b"{\"hits\":[");
    let pinned = pinned::queue(request, index, pinned);
    let merged = hits_into(request, index, &edits, &mut sources, pinned, out)?;
    out.push(b']');
    Ok((merged, around))
}

/// What the merge of the hits found out.
struct Merged {
    semantic: usize,
    /// Hits dropped because a better one has their distinct value.
    duplicates: u64,
    /// The total when the page is not full, because the merge left out hits below the threshold.
    above_threshold: Option<u64>,
}

/// A node's answer and its next hit.
struct Source<'a> {
    body: &'a [u8],
    hits: Hits<'a>,
    head: Head<'a>,
    live: bool,
}

impl<'a> Source<'a> {
    /// Takes the next hit as the head. Where rules pin hits, those have been taken already.
    fn advance(&mut self, edits: &Edits<'a>) -> Result<(), SyntaxError> {
        loop {
            let Some(scanner) = self.hits.next()? else {
                self.live = false;
                return Ok(());
            };
            edits.read(scanner, &mut self.head)?;
            if !(edits.may_pin() && self.head.rank.pin().is_some()) {
                return Ok(());
            }
        }
    }
}

/// Which source has the best head; the earlier one on a tie.
fn best(sources: &[Source<'_>], semantic_ratio: f64) -> Option<usize> {
    let mut live = sources.iter().enumerate().filter(|(_, source)| source.live);
    let mut best = live.next()?;
    for candidate in live {
        if candidate.1.head.rank.compare(&best.1.head.rank, semantic_ratio) == Ordering::Less {
            best = candidate;
        }
    }
    Some(best.0)
}

/// Appends the hits of the client's page.
fn hits_into<'a>(
    request: &SearchRequest,
    index: &IndexView<'_>,
    edits: &Edits<'a>,
    sources: &mut [Source<'a>],
    mut pinned: Queue<InAnswer<'a>>,
    out: &mut Vec<u8>,
) -> Result<Merged, MergeError> {
    let window = request.paging().window(index.max_total_hits);
    let threshold = request.merged_threshold(index);
    let mut merged = Merged { semantic: 0, duplicates: 0, above_threshold: None };
    let mut taken = Taken::of(request);
    let mut rank = 0;
    // With a distinct attribute all hits are taken, so that the duplicates subtracted from the total do not depend on
    // the page more than they must.
    while rank < window.end || edits.distinct.is_some() {
        let best = best(sources, request.semantic_ratio());
        if rank < window.end
            && let Some(pin) = pinned.at(rank, best.is_some())
        {
            if window.contains(&rank) {
                if rank > window.start {
                    out.push(b',');
                }
                pin.write(edits, sources, out)?;
                merged.semantic += usize::from(request.is_semantic_alone());
            }
            rank += 1;
            continue;
        }
        let Some(position) = best else {
            break;
        };
        let Some(source) = sources.get_mut(position) else {
            break;
        };
        let failed = |fault| MergeError { answer: position, fault };
        let score = source.head.rank.score;
        if threshold.is_some_and(|threshold| score.is_some_and(|score| score < threshold)) {
            // Nodes return their hits by falling score: this one's others are below as well.
            source.live = false;
            continue;
        }
        if request.left_out().is_some() && source.head.rank.has_no_vector() {
            // Nothing is similar to a document by a vector that it does not have. Such hits are a node's last.
            source.live = false;
            continue;
        }
        let admitted = edits.distinct.is_none_or(|path| taken.admits(path, &source.head.distinct));
        if !admitted {
            merged.duplicates += 1;
        } else {
            if window.contains(&rank) {
                if rank > window.start {
                    out.push(b',');
                }
                edits.write(source.body, &source.head, out).map_err(failed)?;
                merged.semantic += usize::from(source.head.rank.semantic);
            }
            rank += 1;
        }
        if rank >= window.end && edits.distinct.is_none() {
            break;
        }
        source.advance(edits).map_err(failed)?;
    }
    if threshold.is_some() && rank < window.end {
        merged.above_threshold = Some(rank as u64);
    }
    Ok(merged)
}

#[cfg(test)]
mod tests;
