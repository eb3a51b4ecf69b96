//! Hits that rules pin, taken out of what each node ranks by itself.

use super::hit::{Edits, Head};
use super::{MergeError, Source};
use crate::base::json::SyntaxError;
use crate::read::search::{IndexView, SearchRequest};
use crate::rules::{Pinned, Queue};

/// A pinned hit of one of the answers.
pub(super) struct InAnswer<'a> {
    answer: usize,
    head: Head<'a>,
}

impl<'a> InAnswer<'a> {
    /// Appends the hit.
    pub fn write(&self, edits: &Edits<'a>, sources: &[Source<'a>], out: &mut Vec<u8>) -> Result<(), MergeError> {
        let Some(source) = sources.get(self.answer) else { return Ok(()) };
        let failed = |fault| MergeError { answer: self.answer, fault };
        edits.write(source.body, &self.head, out).map_err(failed)
    }
}

/// Collects the pinned hits of an answer of which no hit was taken yet; none is taken by this.
pub(super) fn take<'a>(
    source: &mut Source<'a>,
    edits: &Edits<'a>,
    answer: usize,
    found: &mut Vec<InAnswer<'a>>,
) -> Result<(), SyntaxError> {
    let mut hits = source.hits.clone();
    let mut head = Head::default();
    while let Some(scanner) = hits.next()? {
        edits.read(scanner, &mut head)?;
        if head.rank.pin().is_some() {
            found.push(InAnswer { answer, head: std::mem::take(&mut head) });
        }
    }
    Ok(())
}

/// The pinned hits in the order in which one server would place them.
pub(super) fn queue<'a>(
    request: &SearchRequest,
    index: &IndexView<'_>,
    found: Vec<InAnswer<'a>>,
) -> Queue<InAnswer<'a>> {
    let pins = found.into_iter().map(|hit| {
        let position = hit.head.rank.pin().unwrap_or_default();
        Pinned { order: order(request, index, &hit.head, position), position, hit }
    });
    Queue::new(pins.collect())
}

/// The place of a pinned hit in the order of pins.
pub(super) fn order(request: &SearchRequest, index: &IndexView<'_>, head: &Head<'_>, position: u32) -> usize {
    let known = index.pins.and_then(|pins| {
        let id = head.id(pins.primary_key)?;
        Some(pins.order(index.uid, request.query(), &id, position))
    });
    known.unwrap_or(usize::MAX)
}
