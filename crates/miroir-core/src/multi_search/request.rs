//! Reading a multi-search.

use std::ops::Range;

use crate::id::IndexUid;
use crate::json;
use crate::search::{SearchRequest, Unreadable, last_members};

use super::FederationRequest;

/// A multi-search as the client sent it.
#[derive(Clone, Debug)]
pub struct MultiSearchRequest {
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
    /// Where the index's name stands in the request.
    uid_at: Range<usize>,
}

impl MultiSearchRequest {
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

    /// The client's request with the indexes named as the nodes name them; `name` gives the name of the nth query's.
    pub fn renamed(&self, name: impl Fn(usize) -> Option<String>) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.text.len());
        let mut done = 0;
        for (position, query) in self.queries.iter().enumerate() {
            if let Some(name) = name(position) {
                text.extend_from_slice(json::at_most(&self.text, done, query.uid_at.start));
                json::quote_into(&name, &mut text);
                done = query.uid_at.end;
            }
        }
        text.extend_from_slice(json::at_most(&self.text, done, self.text.len()));
        text
    }
}

impl Query {
    /// `raw` is a part of `whole`.
    fn read(raw: &[u8], whole: &[u8]) -> Result<Self, Unreadable> {
        let mut search = Vec::with_capacity(raw.len());
        let (mut uid, mut options, mut weight, mut is_doubtful) = (None, None, 1.0, false);
        for (name, member) in last_members(raw)? {
            let is_null = member.value == b"null";
            match &*name {
                "indexUid" => {
                    let text = json::unquote(member.value).ok_or(Unreadable)?;
                    let at = member.value.as_ptr() as usize - whole.as_ptr() as usize;
                    uid = Some((text.parse().map_err(|_| Unreadable)?, at..at + member.value.len()));
                    continue;
                }
                "federationOptions" => {
                    if !is_null {
                        weight = weight_of(member.value)?;
                        options = Some(member.value.to_vec());
                    }
                    continue;
                }
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
        let (uid, uid_at) = uid.ok_or(Unreadable)?;
        Ok(Self { uid, search: SearchRequest::from_body(&search)?, options, weight, is_doubtful, uid_at })
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
