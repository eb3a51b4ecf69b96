//! Browsing documents in the order of attributes. Which documents stand on a page is known only when those of all nodes
//! are compared: each node is asked for its own from the first on, a piece at a time.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::try_join_all;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::{NodeId, ShardId};
use miroir_core::base::json;
use miroir_core::base::strip;
use miroir_core::read::browse::Pace;
use miroir_core::read::sorted::{Merger, Next, Sorting, fields_for_nodes, selected};
use miroir_core::read::unmet::GEO;
use miroir_node::Call;
use serde_json::{Map, Value};

use super::fetch::{Asked, Ids};
use super::tail;
use crate::read::doubt::Named;
use crate::read::pages::{Pages, Source, pages};
use crate::read::scatter::{Share, Target};
use crate::state::catalog::all_shards;
use crate::{Degraded, Error};

/// Documents that are handed on together.
const TOGETHER: usize = 200;

/// One node's list.
struct List {
    node: NodeId,
    shards: Vec<ShardId>,
    /// Attributes that it has never met.
    unmet: BTreeSet<String>,
    /// Documents that it has told.
    told: u64,
}

/// The lists of all nodes, as one.
struct InOrder {
    asked: Asked,
    sort: Vec<String>,
    fields: Option<Vec<String>>,
    ids: Option<Ids>,
    lists: Vec<List>,
    merger: Merger,
    pace: Pace,
    /// No node is asked for more of its documents.
    end: u64,
    skip: u64,
    left: u64,
}

impl InOrder {
    fn call(&self, shards: &[ShardId], unmet: &BTreeSet<String>, offset: u64, limit: u64) -> Call {
        self.asked.call(self.body(shards, unmet, offset, limit))
    }

    fn body(&self, shards: &[ShardId], unmet: &BTreeSet<String>, offset: u64, limit: u64) -> Map<String, Value> {
        let ids: Option<Vec<&String>> = self.ids.as_ref().map(|ids| ids.of(shards).collect());
        let mut body = self.asked.body(shards, ids.as_deref(), offset, limit);
        // On a node where no document has a place all are equally far.
        let is_met = |by: &&String| !(unmet.contains(GEO) && by.starts_with("_geoPoint("));
        let sort: Vec<String> = self.sort.iter().filter(is_met).cloned().collect();
        if !sort.is_empty() {
            body.insert("sort".into(), sort.into());
        }
        if let Some(fields) = &self.fields {
            body.insert("fields".into(), fields.as_slice().into());
        }
        body
    }

    /// What a node has told; it was asked for so many documents. Returns how many the filter finds on it.
    fn take_reply(&mut self, list: usize, limit: u64, reply: &[u8]) -> Result<u64, Error> {
        let Some(of) = self.lists.get_mut(list) else { return Ok(0) };
        let malformed = |why: &str| Error::Answer { node: of.node.to_string(), why: why.into() };
        let member = |name| json::get(reply, name).ok().flatten();
        let documents: Option<Vec<&[u8]>> =
            member("results").and_then(|results| json::elements(results).ok()?.collect::<Result<_, _>>().ok());
        let documents = documents.ok_or_else(|| malformed("not a page of documents"))?;
        let total = member("total").and_then(|raw| serde_json::from_slice::<u64>(raw).ok());
        let total = total.ok_or_else(|| malformed("a page without a total"))?;
        let count = documents.len() as u64;
        self.pace.saw(count, reply.len() as u64);
        of.told += count;
        let ended = count < limit || of.told >= self.end;
        self.merger
            .tell(list, documents, ended)
            .map_err(|error| Error::Answer { node: "(any)".into(), why: error.to_string() })?;
        Ok(total)
    }

    async fn ask_more(&mut self, lists: &[usize]) -> Result<(), Error> {
        let this = &*self;
        let most = this.pace.most();
        let calls = lists.iter().filter_map(|list| {
            let of = this.lists.get(*list)?;
            let limit = most.min(this.end.saturating_sub(of.told)).max(1);
            let call = this.call(&of.shards, &of.unmet, of.told, limit);
            Some(async move { Ok::<_, Error>((*list, limit, this.asked.ask(&of.node, call).await?)) })
        });
        for (list, limit, reply) in try_join_all(calls).await? {
            self.take_reply(list, limit, &reply)?;
        }
        Ok(())
    }

    fn shown(&self, raw: &[u8]) -> Result<Bytes, Error> {
        let malformed = |why: json::SyntaxError| Error::Answer { node: "(any)".into(), why: why.to_string() };
        let mut clean = Vec::with_capacity(raw.len());
        let request = &self.asked.request;
        match &request.fields {
            Some(fields) => selected(raw, fields, request.retrieve_vectors, &mut clean).map_err(malformed)?,
            None => strip::document(raw, &mut clean).map_err(malformed)?,
        }
        Ok(clean.into())
    }
}

impl Source for InOrder {
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        let mut documents = Vec::new();
        while self.left > 0 && documents.len() < TOGETHER {
            match self.merger.take() {
                Next::Nothing => self.left = 0,
                Next::Document(_) if self.skip > 0 => self.skip -= 1,
                Next::Document(raw) => {
                    documents.push(self.shown(&raw)?);
                    self.left -= 1;
                }
                // What is there already goes on its way first.
                Next::Needs(_) if !documents.is_empty() => break,
                Next::Needs(lists) => self.ask_more(&lists).await?,
            }
        }
        Ok((!documents.is_empty()).then_some(documents))
    }

    fn is_done(&self) -> bool {
        self.left == 0 || self.merger.is_told()
    }
}

impl Asked {
    /// The page in the order of these expressions.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when shards are unavailable.
    pub async fn in_order(self, sort: Vec<String>) -> Result<Pages, Error> {
        let unreadable = || {
            let message = "The sort of this request cannot be read.";
            Error::Refused { status: 400, body: ErrorBody::new(Code::InvalidDocumentSort, message) }
        };
        let sorting = Sorting::parse(&sort).ok_or_else(unreadable)?;
        let ids = self.request.ids.as_ref().map(|ids| Ids::read(&self.index, ids)).transpose()?;
        let shards = ids.as_ref().map_or_else(|| all_shards(&self.index), Ids::shards);
        let primary_key = self.index.key().cloned().unwrap_or_default();
        let read: Vec<&str> = sorting.attributes().chain([primary_key.as_str()]).collect();
        let fields = self.request.fields.as_deref().map(|fields| fields_for_nodes(fields, &read));
        let (offset, limit) = (self.request.offset, self.request.limit);
        let named = if sorting.attributes().any(|name| name == GEO) { Named::Place } else { Named::Nothing };
        let merger = Merger::new(sorting, &primary_key, 0);
        let pace = Pace::new(self.request.retrieve_vectors);
        let end = offset.saturating_add(limit);
        let mut source =
            InOrder { asked: self, sort, fields, ids, lists: Vec::new(), merger, pace, end, skip: offset, left: limit };
        let most = pace.most().min(end);
        let gathered = {
            let asked = &source.asked;
            let target = Target { index: &asked.index, shards, named };
            let call = |shares: &[Share]| match shares.first() {
                Some(share) => source.call(&share.assignment.shards, &share.unmet, 0, most),
                None => asked.call(Map::new()),
            };
            asked.reads.gather_jointly(&[target], 0, call).await?
        };
        let mut total: u64 = 0;
        for (number, part) in gathered.parts.into_iter().enumerate() {
            let Some(Share { assignment, unmet, .. }) = part.shares.into_iter().next() else { continue };
            source.lists.push(List { node: assignment.node, shards: assignment.shards, unmet, told: 0 });
            source.merger.add_list();
            total = total.saturating_add(source.take_reply(number, most, &part.reply.body)?);
        }
        let tail = tail(&source.asked.request, total);
        let degraded: Degraded = gathered.degraded;
        // A small page is all there: it is sent as one.
        let mut first = Vec::new();
        while source.is_done()
            && let Some(documents) = source.next().await?
        {
            first.extend(documents);
        }
        Ok(pages(first, source, tail, degraded))
    }
}
