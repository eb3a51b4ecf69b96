//! One search: what the client asked for, and what each node is asked instead.
//!
//! Invariant: a node is sent the client's own members, byte for byte, except for those that the module `node` names. Whatever a
//! newer Meilisearch understands besides passes through.

pub(crate) mod attributes;
mod node;
mod parse;
mod query;

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use crate::rules::Pins;
use crate::settings::SortBy;

pub(crate) use attributes::covers;
pub(crate) use parse::{DEFAULT_LIMIT, filter_fault, last_members, read};
pub(crate) use query::parameter_into;
pub use query::sort_expressions;

/// What a search needs to know of the index: the client's settings, not those of the nodes.
#[derive(Clone, Copy, Debug)]
pub struct IndexView<'a> {
    /// The name by which the client asked.
    pub uid: &'a str,
    /// `displayedAttributes`; `None` when everything is displayed.
    pub displayed: Option<&'a [String]>,
    /// `distinctAttribute`.
    pub distinct: Option<&'a str>,
    /// `faceting.sortFacetValuesBy`; the entry `*` is for all fields without their own.
    pub sort_facet_values_by: &'a BTreeMap<String, SortBy>,
    /// `faceting.maxValuesPerFacet`.
    pub max_values_per_facet: usize,
    /// `pagination.maxTotalHits`.
    pub max_total_hits: usize,
    /// Whether `rankingRules` sort by an attribute of the index, as `price:asc` does.
    pub ranks_by_attribute: bool,
    /// The rules that may pin documents; `None` while there is none.
    pub pins: Option<Pins<'a>>,
}

impl IndexView<'_> {
    /// How the values of the facet `field` are ordered.
    pub fn facet_order(&self, field: &str) -> SortBy {
        let of = |name| self.sort_facet_values_by.get(name).copied();
        of(field).or_else(|| of("*")).unwrap_or_default()
    }
}

/// The request cannot be taken apart. One node, sent what the client sent, unchanged, says why in Meilisearch's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a search parameter has a wrong type or value")]
pub struct Unreadable;

/// Which part of the ranked hits the client wants, in its own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// `offset` and `limit`.
    Offset {
        /// Hits before the first.
        offset: usize,
        /// Hits at most.
        limit: usize,
    },
    /// `page` and `hitsPerPage`; page 0 is empty.
    Page {
        /// Counted from 1.
        page: usize,
        /// Hits at most.
        hits_per_page: usize,
    },
}

impl Paging {
    /// The ranks wanted, of which none lies beyond `max_total_hits`.
    pub fn window(self, max_total_hits: usize) -> Range<usize> {
        let (start, length) = match self {
            Self::Offset { offset, limit } => (offset, limit),
            Self::Page { page, hits_per_page } => match page.checked_sub(1) {
                Some(before) => (before.saturating_mul(hits_per_page), hits_per_page),
                None => (0, 0),
            },
        };
        start.min(max_total_hits)..start.saturating_add(length).min(max_total_hits)
    }
}

/// A search as the client sent it, with the parameters that Miroir interprets read.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// A JSON object.
    text: Vec<u8>,
    /// Its members, each key once.
    members: Vec<Piece>,
    query: Option<String>,
    paging: Paging,
    retrieve: Option<Vec<String>>,
    highlight: Option<Vec<String>>,
    crop: Option<Vec<String>>,
    facets: Vec<String>,
    distinct: Option<String>,
    /// The id of a document that is left out; the distinct attribute is then the primary key.
    left_out: Option<String>,
    /// What is wrong with the shape of the filter.
    filter_fault: Option<String>,
    /// How many times as many hits nodes are asked for.
    over_fetch: usize,
    semantic_ratio: f64,
    threshold: Option<f64>,
    is_sorted: bool,
    is_semantic: bool,
    use_network: bool,
    personalizes: bool,
    show_score: bool,
    show_details: bool,
}

/// A member of the request, as ranges of its text.
#[derive(Clone, Debug)]
struct Piece {
    name: Name,
    key: Range<usize>,
    value: Range<usize>,
}

/// The members that are rewritten for nodes; all others are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Paging,
    Filter,
    Retrieve,
    Highlight,
    Crop,
    Threshold,
    SearchOn,
    /// The scores, which are always asked for.
    Show,
    Other,
}

impl SearchRequest {
    /// Whether the client asks the nodes to distribute the search themselves, which a proxy has to refuse.
    pub fn uses_network(&self) -> bool {
        self.use_network
    }

    /// Whether hits are to be reranked for somebody, which takes all of them in one place.
    pub fn personalizes(&self) -> bool {
        self.personalizes
    }

    /// The words searched for; empty without `q`.
    pub fn query(&self) -> &str {
        self.query.as_deref().unwrap_or_default()
    }

    /// The words searched for, as far as the client gave any; they may be empty.
    pub fn given_query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The page as the client numbers it.
    pub fn paging(&self) -> Paging {
        self.paging
    }

    /// The facets asked for, as patterns; empty when none.
    pub fn facets(&self) -> &[String] {
        &self.facets
    }

    /// The client's filter as raw JSON, when there is one that may restrict anything.
    pub fn filter(&self) -> Option<&[u8]> {
        self.value_of(Name::Filter).filter(|raw| *raw != b"null")
    }

    /// What is wrong with the shape of the filter, in Meilisearch's words. Such a request must not be sent to nodes in
    /// parts: a filter of another shape could come to mean something among others.
    pub fn filter_fault(&self) -> Option<&str> {
        self.filter_fault.as_deref()
    }

    /// The attributes that alone are to be searched; empty when there are none, and when nodes have yet to judge what there is.
    pub fn searched_on(&self) -> Vec<String> {
        self.value_of(Name::SearchOn).and_then(|raw| serde_json::from_slice(raw).ok()).unwrap_or_default()
    }

    /// Puts this raw filter in place of the client's, which there has to be.
    pub fn replace_filter(&mut self, filter: &[u8]) {
        let Some(at) = self.members.iter().find(|piece| piece.name == Name::Filter).map(|piece| piece.value.clone())
        else {
            return;
        };
        self.text.splice(at.clone(), filter.iter().copied());
        for piece in &mut self.members {
            for range in [&mut piece.key, &mut piece.value] {
                if range.start >= at.end {
                    *range = range.start + filter.len() - at.len()..range.end + filter.len() - at.len();
                } else if range.start == at.start {
                    range.end = at.start + filter.len();
                }
            }
        }
    }

    /// The whole request as a JSON body.
    pub fn body(&self) -> &[u8] {
        &self.text
    }

    /// The attribute of which each value is returned once, of the request or else of the index.
    pub fn distinct<'a>(&'a self, index: &IndexView<'a>) -> Option<&'a str> {
        self.distinct.as_deref().or(index.distinct)
    }

    /// The distinct attribute that the request itself names.
    pub fn own_distinct(&self) -> Option<&str> {
        self.distinct.as_deref()
    }

    /// The ranking score threshold when the merge applies it in place of the nodes.
    ///
    /// Counting by offset and limit, Meilisearch stops weighing hits against the threshold as soon as the page is full and
    /// counts all others as hits. A node that applied the threshold to its part would have to go on and count less. When
    /// nodes do not, the merge knows what one server would have counted: all, if the page gets full; else just the hits
    /// above the threshold, all of which the nodes returned. This takes scores that fall along the ranking, and hits
    /// alone: facets have to be counted by whoever applies the threshold.
    pub(crate) fn merged_threshold(&self, index: &IndexView<'_>) -> Option<f64> {
        let by_offset = matches!(self.paging, Paging::Offset { .. });
        let falling = !self.is_sorted && !self.is_semantic && !index.ranks_by_attribute;
        let hits_alone = self.facets.is_empty() && self.distinct(index).is_none();
        self.threshold.filter(|_| by_offset && falling && hits_alone)
    }

    /// The share of semantic scores in a hybrid search.
    pub(crate) fn semantic_ratio(&self) -> f64 {
        self.semantic_ratio
    }

    /// Whether hits are found by vectors alone, so that all of them count as semantic, pinned ones too.
    pub(crate) fn is_semantic_alone(&self) -> bool {
        self.is_semantic && self.semantic_ratio >= 1.0
    }

    pub(crate) fn shows_score(&self) -> bool {
        self.show_score
    }

    pub(crate) fn shows_details(&self) -> bool {
        self.show_details
    }

    /// Whether both are the same, byte for byte.
    pub fn is_same(&self, other: &Self) -> bool {
        self.text == other.text
    }

    /// Sets the distinct attribute that a federation demands of all its queries.
    pub fn demand_distinct(&mut self, attribute: &str) {
        self.distinct = Some(attribute.to_owned());
    }

    /// Leaves out the document of this id.
    pub(crate) fn leave_out(&mut self, primary_key: &str, id: &str) {
        self.distinct = Some(primary_key.to_owned());
        self.left_out = Some(id.to_owned());
    }

    pub(crate) fn left_out(&self) -> Option<&str> {
        self.left_out.as_deref()
    }

    /// Asks nodes for so many times as many hits where they are found by vectors: nodes find near ones only approximately.
    pub fn over_fetch(&mut self, factor: usize) {
        if self.is_semantic {
            self.over_fetch = factor.max(1);
        }
    }

    /// A hash of the request without its paging: all pages of a query are answered by the same replicas, so that ties
    /// keep their order from page to page.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for piece in self.members.iter().filter(|piece| piece.name != Name::Paging) {
            for part in [&piece.key, &piece.value] {
                let bytes = self.bytes(part);
                hasher.update(&bytes.len().to_le_bytes());
                hasher.update(bytes);
            }
        }
        hasher.digest()
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }

    fn value_of(&self, name: Name) -> Option<&[u8]> {
        self.members.iter().find(|piece| piece.name == name).map(|piece| self.bytes(&piece.value))
    }
}

#[cfg(test)]
mod tests;
