//! Pins: documents that rules put at positions of an answer. The engine of this node does not know them, so that they are
//! taken out of what it ranks, and put in afterwards.

use std::collections::VecDeque;

use milli_core::heed::RoTxn;
use milli_core::score_details::ScoreDetails;
use milli_core::{Index, SearchResult};
use roaring::RoaringBitmap;

use super::filter;
use super::query::SearchQuery;
use crate::engine::Engine;
use crate::error::ApiResult;

/// A document of the index and where it is to stand.
pub struct Placed {
    id: u32,
    position: usize,
}

/// What rules pin for a query, as far as the index has it and the filter lets it through, by position.
///
/// # Errors
/// When the index cannot be read, or the filter is none.
pub fn of(
    engine: &Engine,
    uid: &str,
    index: &Index,
    rtxn: &RoTxn<'_>,
    query: &SearchQuery,
) -> ApiResult<VecDeque<Placed>> {
    let pins = engine.rules().pins(uid, query.q.as_deref().unwrap_or_default());
    if pins.is_empty() {
        return Ok(VecDeque::new());
    }
    let mut allowed: RoaringBitmap = index.documents_ids(rtxn)?;
    if let Some(filter) = &query.filter
        && let Some(filter) = filter::parse(filter, "invalid_search_filter")?
    {
        allowed &= filter.evaluate(rtxn, index)?;
    }
    let ids = index.external_documents_ids();
    let mut placed = Vec::new();
    for pin in pins {
        if let Some(id) = ids.get(rtxn, &pin.id)?.filter(|id| allowed.contains(*id)) {
            placed.push(Placed { id, position: pin.position });
        }
    }
    placed.sort_by_key(|pin| pin.position);
    Ok(placed.into())
}

/// Puts the pins among the hits from the first one on, and cuts the page out. Returns the position of each pinned hit.
pub fn place(mut pins: VecDeque<Placed>, offset: usize, limit: usize, result: &mut SearchResult) -> Vec<Option<usize>> {
    let is_pinned: RoaringBitmap = pins.iter().map(|pin| pin.id).collect();
    result.candidates |= &is_pinned;
    let scores = std::mem::take(&mut result.document_scores).into_iter().map(Some).chain(std::iter::repeat(None));
    let others = std::mem::take(&mut result.documents_ids).into_iter().zip(scores);
    let mut others = others.filter(|(id, _)| !is_pinned.contains(*id)).peekable();
    let mut page: Vec<(u32, Vec<ScoreDetails>, Option<usize>)> = Vec::new();
    while page.len() < offset.saturating_add(limit) {
        let due = pins.front().is_some_and(|pin| pin.position <= page.len() || others.peek().is_none());
        let pin = if due { pins.pop_front() } else { None };
        let next = match pin {
            Some(pin) => Some((pin.id, Vec::new(), Some(pin.position))),
            None => others.next().map(|(id, scores)| (id, scores.unwrap_or_default(), None)),
        };
        let Some(next) = next else { break };
        page.push(next);
    }
    let mut positions = Vec::new();
    for (id, scores, position) in page.into_iter().skip(offset) {
        result.documents_ids.push(id);
        result.document_scores.push(scores);
        positions.push(position);
    }
    positions
}
