//! Reading a multi-search.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::base::id::IndexUid;
use crate::base::json;
use crate::read::search::{SearchRequest, Unreadable, last_members};

use super::FederationRequest;

/// A multi-search as the client sent it.
#[derive(Clone, Debug)]
pub struct MultiSearchRequest {
    /// All of it, as raw JSON.
    text: Vec<u8>,
    /// In the client's order.
    pub queries: Vec<Query>,
    /// How the hits of all queries are merged; `None` when each query is answered by itself.
    pub federation: Option<FederationRequest>,
}

/// One query of a multi-search.
#[derive(Clone, Debug)]
pub struct Query {
    /// The index, by the client's name.
    pub uid: IndexUid,
    /// All of the query but its index and what concerns the federation.
    pub search: SearchRequest,
    /// Raw `federationOptions`.
    pub options: Option<Vec<u8>>,
    /// What the hits' scores are multiplied by in a federation.
    pub weight: f64,
    /// Whether a federation may have reason to refuse the query for members that are not sent to nodes.
    pub is_doubtful: bool,
    /// Where the filter stands in the request.
    filter_at: Option<Range<usize>>,
}

impl MultiSearchRequest {
    /// Whether a raw body has more queries than this. No more of them are looked at.
    pub fn has_more_than(raw: &[u8], most: usize) -> bool {
        let queries = json::get(raw, "queries").ok().flatten();
        queries.and_then(|queries| json::elements(queries).ok()).is_some_and(|mut queries| queries.nth(most).is_some())
    }

    /// From the raw JSON body.
    ///
    /// # Errors
    /// [`Unreadable`] when it is not of the form that Meilisearch accepts, as far as Miroir interprets it.
    pub fn from_body(raw: &[u8]) -> Result<Self, Unreadable> {
        std::str::from_utf8(raw).map_err(|_| Unreadable)?;
        let (mut queries, mut federation) = (None, None);
        for (name, member) in last_members(raw)? {
            match &*name {
                "queries" => queries = Some(member.value),
                "federation" if member.value == b"null" => federation = None,
                "federation" => federation = Some(FederationRequest::read(member.value)?),
                _ => return Err(Unreadable),
            }
        }
        let queries = json::elements(queries.ok_or(Unreadable)?)
            .map_err(|_| Unreadable)?
            .map(|query| Query::read(query.map_err(|_| Unreadable)?, raw))
            .collect::<Result<_, _>>()?;
        Ok(Self { text: raw.to_vec(), queries, federation })
    }

    /// The same request with these raw filters in place of those of the queries of these numbers.
    ///
    /// # Errors
    /// [`Unreadable`] when one of them is no filter.
    pub fn with_filters(&self, filters: &BTreeMap<usize, Vec<u8>>) -> Result<Self, Unreadable> {
        let mut text = Vec::with_capacity(self.text.len());
        let mut done = 0;
        for (position, query) in self.queries.iter().enumerate() {
            if let (Some(at), Some(filter)) = (&query.filter_at, filters.get(&position)) {
                text.extend_from_slice(json::at_most(&self.text, done, at.start));
                text.extend_from_slice(filter);
                done = at.end;
            }
        }
        text.extend_from_slice(json::at_most(&self.text, done, self.text.len()));
        Self::from_body(&text)
    }

    /// The whole request as a JSON body.
    pub fn body(&self) -> &[u8] {
        &self.text
    }
}

impl Query {
    /// `raw` is a part of `whole`.
    fn read(raw: &[u8], whole: &[u8]) -> Result<Self, Unreadable> {
        let mut search = Vec::with_capacity(raw.len());
        let (mut uid, mut options, mut weight, mut is_doubtful) = (None, None, 1.0, false);
        let mut filter_at = None;
        for (name, member) in last_members(raw)? {
            let is_null = member.value == b"null";
            let at = (member.value.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
            let at = at..at + member.value.len();
            match &*name {
                "indexUid" => {
                    let text = json::unquote(member.value).ok_or(Unreadable)?;
                    uid = Some(text.parse().map_err(|_| Unreadable)?);
                    continue;
                }
                "federationOptions" => {
                    if !is_null {
                        weight = weight_of(member.value)?;
                        options = Some(member.value.to_vec());
                    }
                    continue;
                }
                "filter" => filter_at = Some(at),
                // Here, other than in a search by itself, null is as good as absent.
                "offset" | "limit" | "showPerformanceDetails" if is_null => continue,
                "offset" | "limit" | "page" | "hitsPerPage" | "showPerformanceDetails" => is_doubtful |= !is_null,
                _ => {}
            }
            search.push(if search.is_empty() { b'{' } else { b',' });
            search.extend_from_slice(json::at_most(raw, member.span.start, member.span.end));
        }
        if search.is_empty() {
            search.push(b'{');
        }
        search.push(b'}');
        let uid = uid.ok_or(Unreadable)?;
        Ok(Self { uid, search: SearchRequest::from_body(&search)?, options, weight, is_doubtful, filter_at })
    }
}

fn weight_of(options: &[u8]) -> Result<f64, Unreadable> {
    let mut weight = 1.0;
    for (name, member) in last_members(options)? {
        if name == "weight" {
            weight = serde_json::from_slice(member.value).map_err(|_| Unreadable)?;
        }
    }
    if weight < 0.0 { Err(Unreadable) } else { Ok(weight) }
}
