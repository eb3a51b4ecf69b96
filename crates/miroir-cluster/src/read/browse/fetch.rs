//! Documents shard by shard, or by their ids, in as many requests as their sizes call for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use miroir_core::base::hash::shard_of;
use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::base::inert::{SHARD_FIELD, decode_shard, shard_filter};
use miroir_core::base::json;
use miroir_core::base::strip;
use miroir_core::document::route_ids;
use miroir_core::read::browse::{Pace, Step, Walk, slices};
use miroir_node::Call;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{BrowseRequest, all_of, read_answer, tail};
use crate::read::pages::{Pages, Source, pages};
use crate::read::scatter::Gathered;
use crate::read::versions::Reading;
use crate::state::catalog::all_shards;
use crate::{Degraded, Error, Index, Reads};

/// Ids that are asked for together.
const IDS: usize = 1000;

/// What a node answers to a fetch.
#[derive(Deserialize)]
struct PageOfNode<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
    total: u64,
}

/// What every request for a piece of one page has in common.
pub(super) struct Asked {
    pub reads: Arc<Reads>,
    pub index: Reading,
    pub request: BrowseRequest,
    /// The client's filter, as nodes are asked.
    pub filter: Option<Value>,
}

/// One answer or several, taken apart.
#[derive(Default)]
struct Found {
    by_shard: BTreeMap<ShardId, Vec<Bytes>>,
    /// Documents that the filter finds on the shards that answered, on whatever page.
    total: u64,
    bytes: u64,
    documents: u64,
    degraded: Degraded,
    /// Who answered.
    nodes: Vec<NodeId>,
}

impl Asked {
    /// The body of a fetch of these shards.
    pub fn body(&self, shards: &[ShardId], ids: Option<&[&String]>, offset: u64, limit: u64) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("offset".into(), offset.into());
        body.insert("limit".into(), limit.into());
        body.insert("filter".into(), all_of(shard_filter(shards), self.filter.as_ref()));
        if let Some(fields) = &self.request.fields {
            let ours = std::iter::once(SHARD_FIELD.to_owned());
            body.insert("fields".into(), fields.iter().cloned().chain(ours).collect());
        }
        if let Some(ids) = ids {
            body.insert("ids".into(), ids.iter().map(|id| Value::from(id.as_str())).collect());
        }
        if self.request.retrieve_vectors {
            body.insert("retrieveVectors".into(), true.into());
        }
        body
    }

    pub fn call(&self, body: Map<String, Value>) -> Call {
        let path = format!("/indexes/{}/documents/fetch", self.index.physical);
        let body = Value::Object(body).to_string().into_bytes();
        Call::json("documents", Method::POST, path, body, self.reads.state.read_timeout()).since_last_byte()
    }

    /// The documents of these shards, of whoever can answer for them.
    async fn gathered(&self, ids: Option<&Ids>, shards: &[ShardId], offset: u64, limit: u64) -> Result<Found, Error> {
        let call = |shards: &[ShardId]| {
            let ids: Option<Vec<&String>> = ids.map(|ids| ids.of(shards).collect());
            let limit = ids.as_ref().map_or(limit, |ids| limit.min(ids.len() as u64));
            self.call(self.body(shards, ids.as_deref(), offset, limit))
        };
        let gathered = self.reads.gather(&self.index, shards, 0, |assignment, _| call(&assignment.shards)).await?;
        let Gathered { parts, degraded } = gathered;
        let mut found = Found { degraded, ..Found::default() };
        for part in &parts {
            found.add(part.assignment.node.clone(), &part.reply.body)?;
        }
        Ok(found)
    }

    /// What follows in a shard, of the node that told what comes before: another one has another order.
    async fn going_on(&self, node: &NodeId, step: &Step) -> Result<Found, Error> {
        let reply = self.ask(node, self.call(self.body(&step.shards, None, step.offset, step.limit))).await?;
        let mut found = Found::default();
        found.add(node.clone(), &reply)?;
        Ok(found)
    }

    /// One answer of this very node.
    pub async fn ask(&self, node: &NodeId, call: Call) -> Result<Bytes, Error> {
        let failed = |why: String| Error::Answer { node: node.to_string(), why };
        let node = self.reads.state.node(node).ok_or_else(|| failed("it is no member any more".into()))?;
        Ok(node.ask(call).await.map_err(|error| failed(error.to_string()))?.body)
    }
}

impl Found {
    /// Sorts documents into their shards and takes our fields off.
    fn add(&mut self, node: NodeId, reply: &[u8]) -> Result<(), Error> {
        let malformed = |why: String| Error::Answer { node: node.to_string(), why };
        let page: PageOfNode<'_> = read_answer(node.as_str(), reply)?;
        self.total = self.total.saturating_add(page.total);
        for document in page.results {
            let raw = document.get().as_bytes();
            let shard = json::get(raw, SHARD_FIELD)
                .map_err(|error| malformed(error.to_string()))?
                .and_then(json::unquote)
                .and_then(|text| decode_shard(&text))
                .ok_or_else(|| malformed("a document without a shard".into()))?;
            let mut clean = Vec::with_capacity(raw.len());
            strip::document(raw, &mut clean).map_err(|error| malformed(error.to_string()))?;
            self.bytes += raw.len() as u64;
            self.documents += 1;
            self.by_shard.entry(shard).or_default().push(clean.into());
        }
        self.nodes.push(node);
        Ok(())
    }
}

/// What was missing from a piece that is not the page's first can be told to nobody.
fn whole(degraded: &Degraded) -> Result<(), Error> {
    let missing: BTreeSet<ShardId> = degraded.shards.union(&degraded.stale).copied().collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::ShardUnavailable { shards: missing }) }
}

/// The documents of a run of shards.
struct ByShard {
    asked: Asked,
    walk: Walk,
    pace: Pace,
    /// Who answered for the shard that was begun.
    node: Option<NodeId>,
}

impl ByShard {
    async fn step(&mut self) -> Result<Option<(Vec<Bytes>, Degraded)>, Error> {
        while let Some(step) = self.walk.next(self.pace.most()) {
            let found = match self.node.take().filter(|_| step.goes_on) {
                Some(node) => self.asked.going_on(&node, &step).await?,
                None => self.asked.gathered(None, &step.shards, step.offset, step.limit).await?,
            };
            self.pace.saw(found.documents, found.bytes);
            self.node = found.nodes.first().filter(|_| step.shards.len() == 1).cloned();
            // Documents that were deleted meanwhile leave nothing behind.
            if found.documents > 0 || !found.degraded.shards.is_empty() {
                return Ok(Some((found.by_shard.into_values().flatten().collect(), found.degraded)));
            }
        }
        Ok(None)
    }
}

impl Source for ByShard {
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        let Some((documents, degraded)) = self.step().await? else { return Ok(None) };
        whole(&degraded)?;
        Ok(Some(documents))
    }

    fn is_done(&self) -> bool {
        self.walk.is_done()
    }
}

/// The ids of a request, by shard, each once.
pub(super) struct Ids(BTreeMap<ShardId, Vec<String>>);

impl Ids {
    pub fn read(index: &Index, raw: &RawValue) -> Result<Self, Error> {
        // A refusal like those of nodes: whoever asked gets it in one server's words.
        let ids = route_ids(raw.get().as_bytes()).map_err(|error| Error::Refused { status: 400, body: error.0 })?;
        let mut by_shard: BTreeMap<ShardId, BTreeSet<String>> = BTreeMap::new();
        for id in ids {
            by_shard.entry(shard_of(id.as_bytes(), index.shards)).or_default().insert(id);
        }
        Ok(Self(by_shard.into_iter().map(|(shard, ids)| (shard, ids.into_iter().collect())).collect()))
    }

    pub fn of<'a>(&'a self, shards: &'a [ShardId]) -> impl Iterator<Item = &'a String> {
        shards.iter().filter_map(|shard| self.0.get(shard)).flatten()
    }

    /// In parts of so many ids at most, in order.
    fn in_parts(self, most: usize) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        let mut room = 0;
        for (shard, ids) in self.0 {
            for id in ids {
                if room == 0 {
                    parts.push(Self(BTreeMap::new()));
                    room = most;
                }
                if let Some(part) = parts.last_mut() {
                    part.0.entry(shard).or_default().push(id);
                }
                room -= 1;
            }
        }
        parts
    }

    pub fn shards(&self) -> Vec<ShardId> {
        self.0.keys().copied().collect()
    }
}

/// The documents of these ids.
struct ById {
    asked: Asked,
    /// With how many documents are there; none: nobody has asked.
    parts: VecDeque<(Ids, Option<u64>)>,
    skip: u64,
    left: u64,
}

impl ById {
    async fn step(&mut self) -> Result<Option<(Vec<Bytes>, Degraded, u64)>, Error> {
        while self.left > 0
            && let Some((ids, known)) = self.parts.pop_front()
        {
            if let Some(known) = known.filter(|known| *known <= self.skip) {
                self.skip -= known;
                continue;
            }
            let found = self.asked.gathered(Some(&ids), &ids.shards(), 0, u64::MAX).await?;
            let documents: Vec<Bytes> = found.by_shard.into_values().flatten().collect();
            let there = documents.len() as u64;
            let skipped = self.skip.min(there);
            self.skip -= skipped;
            let taken = self.left.min(there - skipped);
            self.left -= taken;
            let bound = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            let documents: Vec<Bytes> = documents.into_iter().skip(bound(skipped)).take(bound(taken)).collect();
            if !documents.is_empty() || !found.degraded.shards.is_empty() || known.is_none() {
                return Ok(Some((documents, found.degraded, there)));
            }
        }
        Ok(None)
    }
}

impl Source for ById {
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        loop {
            let Some((documents, degraded, _)) = self.step().await? else { return Ok(None) };
            whole(&degraded)?;
            if !documents.is_empty() {
                return Ok(Some(documents));
            }
        }
    }

    fn is_done(&self) -> bool {
        self.left == 0 || self.parts.is_empty()
    }
}

impl Asked {
    /// The page in the order of browsing.
    pub async fn by_shard(self) -> Result<Pages, Error> {
        let shards = all_shards(&self.index);
        let (counts, degraded) = self.reads.count(&self.index, &shards, self.filter.as_ref()).await?;
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let tail = tail(&self.request, total);
        let walk = Walk::of(slices(&counts, self.request.offset, self.request.limit));
        let pace = Pace::new(self.request.retrieve_vectors);
        let mut source = ByShard { asked: self, walk, pace, node: None };
        let (first, seen) = source.step().await?.unwrap_or_default();
        Ok(pages(first, source, tail, degraded.and(seen)))
    }

    /// The page of documents of these ids. How many there are is known when all were asked for.
    pub async fn by_id(self, ids: &RawValue) -> Result<Pages, Error> {
        let parts = Ids::read(&self.index, ids)?.in_parts(IDS);
        let (skip, left) = (self.request.offset, self.request.limit);
        let mut degraded = Degraded::default();
        if parts.len() <= 1 {
            // All of them are fetched, so that they are counted, whatever part of them is wanted.
            let Some(ids) = parts.into_iter().next() else {
                return Ok(pages(Vec::new(), Nothing, tail(&self.request, 0), degraded));
            };
            let found = self.gathered(Some(&ids), &ids.shards(), 0, u64::MAX).await?;
            let documents: Vec<Bytes> = found.by_shard.into_values().flatten().collect();
            let tail = tail(&self.request, documents.len() as u64);
            let bound = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            let page = documents.into_iter().skip(bound(skip)).take(bound(left)).collect();
            return Ok(pages(page, Nothing, tail, found.degraded));
        }
        let (mut counted, mut total) = (VecDeque::with_capacity(parts.len()), 0u64);
        for ids in parts {
            let found = self.gathered(Some(&ids), &ids.shards(), 0, 0).await?;
            total = total.saturating_add(found.total);
            degraded = degraded.and(found.degraded);
            counted.push_back((ids, Some(found.total)));
        }
        let tail = tail(&self.request, total);
        let mut source = ById { asked: self, parts: counted, skip, left };
        let (first, seen, _) = source.step().await?.unwrap_or_default();
        Ok(pages(first, source, tail, degraded.and(seen)))
    }
}

/// No documents.
struct Nothing;

impl Source for Nothing {
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        Ok(None)
    }

    fn is_done(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_parted_in_order_and_each_is_in_one_part() {
        let ids = |ids: &[(u32, &[&str])]| {
            Ids(ids
                .iter()
                .map(|(shard, ids)| (ShardId(*shard), ids.iter().map(|id| (*id).to_owned()).collect()))
                .collect())
        };
        let parts = ids(&[(0, &["a", "b"]), (3, &["c", "d", "e"]), (7, &["f"])]).in_parts(4);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].0, ids(&[(0, &["a", "b"]), (3, &["c", "d"])]).0);
        assert_eq!(parts[1].0, ids(&[(3, &["e"]), (7, &["f"])]).0);
        assert_eq!(parts[1].of(&[ShardId(7), ShardId(8)]).collect::<Vec<_>>(), ["f"]);
    }
}
