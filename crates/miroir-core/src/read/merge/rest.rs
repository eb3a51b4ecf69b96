//! What stands behind the hits in an answer.

use super::answer::Around;
use super::{MergeError, Merged};
use crate::base::json;
use crate::base::strip;
use crate::read::facet::{self, NodeFacets};
use crate::read::search::{IndexView, Paging, SearchRequest};

/// Everything that the members behind the hits are made of.
pub(super) struct Rest<'a> {
    pub request: &'a SearchRequest,
    pub index: &'a IndexView<'a>,
    pub around: &'a [Around<'a>],
    pub merged: &'a Merged,
    pub elapsed_ms: u64,
    pub request_uid: Option<&'a str>,
}

impl Rest<'_> {
    /// Appends the members in Meilisearch's order and closes the answer.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), MergeError> {
        out.extend_from_slice(b",\"query\":");
        // A node's words are what Meilisearch made of the client's.
        match self.around.iter().find_map(|answer| answer.query) {
            Some(query) => out.extend_from_slice(query),
            None => json::quote_into(self.request.query(), out),
        }
        if let Some(vector) = self.around.iter().find_map(|answer| answer.query_vector) {
            out.extend_from_slice(b",\"queryVector\":");
            out.extend_from_slice(vector);
        }
        member_into("processingTimeMs", self.elapsed_ms, out);
        let sum = self.around.iter().fold(0u64, |sum, answer| sum.saturating_add(answer.total.unwrap_or_default()));
        let total = self.merged.above_threshold.unwrap_or(sum.saturating_sub(self.merged.duplicates));
        paging_into(self.request.paging(), total, out);
        self.facets_into(total, out)?;
        if let Some(uid) = self.request_uid.filter(|_| self.around.iter().all(|answer| answer.has_request_uid)) {
            out.extend_from_slice(b",\"requestUid\":");
            json::quote_into(uid, out);
        }
        if self.around.iter().any(|answer| answer.is_semantic) {
            member_into("semanticHitCount", self.merged.semantic as u64, out);
        }
        performance_into(self.around.iter().filter_map(Around::timed), out);
        for member in self.around.first().map(|answer| answer.unknown.as_slice()).unwrap_or_default() {
            let names_ours = memchr::memmem::find(member, strip::PREFIX.as_bytes()).is_some();
            if !names_ours {
                out.push(b',');
                out.extend_from_slice(member);
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn facets_into(&self, total: u64, out: &mut Vec<u8>) -> Result<(), MergeError> {
        if self.around.iter().all(|answer| answer.facet_distribution.is_none()) {
            return Ok(());
        }
        let nodes: Vec<_> = self
            .around
            .iter()
            .map(|answer| NodeFacets {
                distribution: answer.facet_distribution.unwrap_or(b"{}"),
                stats: answer.facet_stats.unwrap_or(b"{}"),
                candidates: answer.total.unwrap_or_default(),
            })
            .collect();
        let facets =
            facet::merged(&nodes, total, self.index).map_err(|(answer, fault)| MergeError { answer, fault })?;
        out.push(b',');
        facets.write("facetDistribution", "facetStats", out);
        Ok(())
    }
}

/// Appends where the node that took longest spent its time: that is what the client waited for.
pub(super) fn performance_into<'a>(told: impl Iterator<Item = Timed<'a>>, out: &mut Vec<u8>) {
    if let Some(slowest) = told.max_by_key(|node| node.elapsed_ms) {
        out.extend_from_slice(b",\"performanceDetails\":");
        out.extend_from_slice(slowest.details);
    }
}

/// Where a node spent its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed<'a> {
    pub elapsed_ms: u64,
    /// As the node wrote it.
    pub details: &'a [u8],
}

/// Appends `,"name":number`.
pub(super) fn member_into(name: &str, number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        if let Some(digit) = digits.get_mut(start) {
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

pub(super) fn paging_into(paging: Paging, total: u64, out: &mut Vec<u8>) {
    match paging {
        Paging::Offset { offset, limit } => {
            member_into("limit", limit as u64, out);
            member_into("offset", offset as u64, out);
            member_into("estimatedTotalHits", total, out);
        }
        Paging::Page { page, hits_per_page } => {
            let hits_per_page = hits_per_page as u64;
            // Pages of no hits are not counted.
            let pages = if hits_per_page == 0 { 0 } else { total.div_ceil(hits_per_page) };
            member_into("hitsPerPage", hits_per_page, out);
            member_into("page", page as u64, out);
            member_into("totalPages", pages, out);
            member_into("totalHits", total, out);
        }
    }
}
