//! How the hits of several queries are to be merged.

use crate::base::json;
use crate::read::search::{DEFAULT_LIMIT, Paging, Unreadable, last_members, read};
use crate::rules::Pins;

/// The `federation` of a multi-search.
#[derive(Clone, Debug)]
pub struct FederationRequest {
    /// Which part of the merged hits.
    pub paging: Paging,
    /// The index's name as the client gave it, and its raw list of facets, `None` for none.
    pub facets_by_index: Vec<(String, Option<Vec<u8>>)>,
    /// Facets of all indexes become one.
    pub merge_facets: Option<MergeFacets>,
    /// Each value of this attribute is returned once.
    pub distinct: Option<String>,
    /// Whether the hits are to be reranked for somebody.
    pub personalizes: bool,
    /// Whether to tell where the time went.
    shows_performance: bool,
    /// `"key":value` of what Miroir does not interpret.
    others: Vec<Vec<u8>>,
}

/// The bound of merged facets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeFacets {
    /// Values at most.
    pub max_values_per_facet: Option<usize>,
}

impl FederationRequest {
    /// From a raw JSON object.
    pub(super) fn read(raw: &[u8]) -> Result<Self, Unreadable> {
        let (mut offset, mut limit, mut page, mut hits_per_page) = (0, DEFAULT_LIMIT, None, None);
        let mut request = Self {
            paging: Paging::Offset { offset, limit },
            facets_by_index: Vec::new(),
            merge_facets: None,
            distinct: None,
            personalizes: false,
            shows_performance: false,
            others: Vec::new(),
        };
        for (name, member) in last_members(raw)? {
            let value = member.value;
            request.personalizes |= name == "personalize" && value != b"null";
            match &*name {
                "offset" => offset = read(value)?,
                "limit" => limit = read(value)?,
                "page" => page = read(value)?,
                "hitsPerPage" => hits_per_page = read(value)?,
                "distinct" => request.distinct = read(value)?,
                "mergeFacets" => request.merge_facets = merge_facets(value)?,
                "facetsByIndex" => {
                    for (uid, facets) in last_members(value)? {
                        let facets = (facets.value != b"null").then(|| facets.value.to_vec());
                        request.facets_by_index.push((uid.into_owned(), facets));
                    }
                }
                "showPerformanceDetails" => request.shows_performance = read(value)?,
                _ => request.others.push(json::at_most(raw, member.span.start, member.span.end).to_vec()),
            }
        }
        request.paging = match (page, hits_per_page) {
            (None, None) => Paging::Offset { offset, limit },
            (page, hits_per_page) => {
                Paging::Page { page: page.unwrap_or(1), hits_per_page: hits_per_page.unwrap_or(DEFAULT_LIMIT) }
            }
        };
        Ok(request)
    }

    /// The `federation` for a node that is asked about some of the indexes: the head of its merged hits and the facets
    /// of each index by itself. `name` gives the nodes' name of an index that the node is asked about, and each of so many
    /// `queries` may have pins.
    pub fn node_body(
        &self,
        name: impl Fn(&str) -> Option<String>,
        pins: Option<Pins<'_>>,
        queries: usize,
        out: &mut Vec<u8>,
    ) {
        let end = self.paging.window(usize::MAX).end;
        let for_pins = pins.map_or(0, |pins| pins.depth(end) - end).saturating_mul(queries);
        let depth = end.saturating_add(for_pins).to_string();
        out.push(b'{');
        let paging = match self.paging {
            Paging::Offset { .. } => format!("\"offset\":0,\"limit\":{depth}"),
            Paging::Page { .. } => format!("\"page\":1,\"hitsPerPage\":{depth}"),
        };
        out.extend_from_slice(paging.as_bytes());
        if let Some(distinct) = &self.distinct {
            out.extend_from_slice(b",\"distinct\":");
            json::quote_into(distinct, out);
        }
        let mut has_facets = false;
        for (uid, facets) in &self.facets_by_index {
            let (Some(uid), Some(facets)) = (name(uid), facets) else { continue };
            out.extend_from_slice(if has_facets { b"," } else { b",\"facetsByIndex\":{" });
            json::quote_into(&uid, out);
            out.push(b':');
            out.extend_from_slice(facets);
            has_facets = true;
        }
        if has_facets {
            out.push(b'}');
        }
        if self.shows_performance {
            out.extend_from_slice(b",\"showPerformanceDetails\":true");
        }
        for member in &self.others {
            out.push(b',');
            out.extend_from_slice(member);
        }
        out.push(b'}');
    }
}

fn merge_facets(raw: &[u8]) -> Result<Option<MergeFacets>, Unreadable> {
    if raw == b"null" {
        return Ok(None);
    }
    let mut merge = MergeFacets::default();
    for (name, member) in last_members(raw)? {
        match &*name {
            "maxValuesPerFacet" => merge.max_values_per_facet = read(member.value)?,
            _ => return Err(Unreadable),
        }
    }
    Ok(Some(merge))
}
