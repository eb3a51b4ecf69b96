//! Ingestion: take a body of documents, check all of it, split it by shard, send each node what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::document::Checks;
use miroir_core::document::{
    DocumentError, Format, Lacking, Method as Addition, ReservedFields, Split, SplitError, SplitRequest, count,
    infer_primary_key, no_vectors, split,
};
use miroir_core::write::task::TaskKind;
use miroir_node::budget::Reserved;
use miroir_node::{Call, Chunks};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::state::index_lock::IndexGuard;
use crate::write::fan_out::{Accepted, Change, raw};
use crate::write::parts::{NodePart, Step};
use crate::{Error, Index, Writer};

/// Bytes of one request to a node: below Meilisearch's default bound of 100,000,000, since our fields make documents longer.
const MAX_NODE_BODY_BYTES: u64 = 90_000_000;
/// How long a batch waits for documents under way that it needs to be stored before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client's documents.
pub struct Ingest {
    /// POST replaces documents, PUT merges into them.
    pub method: Method,
    /// Decompressed.
    pub body: Bytes,
    /// From `Content-Type` and `csvDelimiter`.
    pub format: Format,
    /// From `?primaryKey=`.
    pub primary_key: Option<String>,
    /// From `?skipCreation=`, passed on.
    pub skip_creation: bool,
    /// Whether an index that does not exist may come into being.
    pub may_create: bool,
    /// From `?customMetadata=`, kept with the task.
    pub custom_metadata: Option<String>,
    /// What it holds of the budget.
    pub reserved: Reserved,
}

/// A body that has been checked and split.
struct Prepared {
    target: Target,
    /// What the documents are routed by.
    primary_key: Option<String>,
    /// The client named it.
    is_named: bool,
    received: u64,
    outcome: Result<Split, ErrorBody>,
}

/// What became of looking for stored documents.
enum StoredLookup {
    /// They are there.
    All,
    /// Some are not, and the batch cannot be indexed.
    None(DocumentError),
    /// Some are not, but may come with what is under way.
    Later,
}

/// What preparing needs to know of the index. What was prepared for another one is prepared anew.
#[derive(Clone, PartialEq)]
struct Target {
    shards: NonZeroU32,
    primary_key: Option<String>,
    checks: Checks,
}

impl Writer {
    /// `POST` and `PUT /indexes/{uid}/documents`.
    ///
    /// # Errors
    /// Synchronous refusals as Meilisearch's; documents that Meilisearch would fail in the task are answered with a task
    /// that fails, and nothing is sent.
    pub async fn ingest(&self, uid: &IndexUid, ingest: Ingest) -> Result<Accepted, Error> {
        let method = ingest.method.clone();
        let (skip_creation, may_create) = (ingest.skip_creation, ingest.may_create);
        let custom_metadata = ingest.custom_metadata.clone();
        let (decoded, ingest) = separated(ingest)?;
        let mut prepared = self.prepare(uid, &decoded, &ingest).await?;
        let begun = Instant::now();
        let guard = loop {
            let guard = self.lock_index(uid).await?;
            // Whoever held the lock before may have given the index its primary key, or other settings.
            if prepared.target != self.target_of(uid).await? {
                prepared = self.prepare(uid, &decoded, &ingest).await?;
            }
            let left = PATIENCE.saturating_sub(begun.elapsed());
            match timeout(left, self.find_lacking(uid, &prepared)).await {
                Ok(Ok(StoredLookup::None(error))) => {
                    prepared.outcome = Err(error.task_body(uid.as_str()));
                    break guard;
                }
                Ok(Ok(StoredLookup::Later)) => self.stand_back(guard).await,
                Ok(Err(error @ Error::Store(_))) => return Err(error),
                // Nodes judge what cannot be looked up, each its own part.
                Ok(Ok(StoredLookup::All) | Err(_)) | Err(_) => break guard,
            }
        };
        drop(decoded);
        let answer = if may_create || self.state.catalog.get(uid).is_some() {
            self.send_documents(&guard, uid, prepared, method, skip_creation, custom_metadata).await
        } else {
            self.decline_documents(&guard, uid, prepared.received, custom_metadata).await
        };
        drop(guard);
        answer
    }

    async fn prepare(&self, uid: &IndexUid, body: &Bytes, ingest: &Parameters) -> Result<Prepared, Error> {
        let target = self.target_of(uid).await?;
        let how = How {
            format: ingest.format,
            wanted: ingest.primary_key.clone(),
            stamp: self.stamp(),
            addition: if ingest.method == Method::PUT { Addition::Update } else { Addition::Replace },
            skips_creation: ingest.skip_creation,
        };
        let (uid, body) = (uid.clone(), body.clone());
        off_thread(move || prepare(&uid, &body, how, target)).await?
    }

    /// Whether documents that nodes take only if they are stored already are. What is of one shard alone is done or failed
    /// by a node as a whole, which needs no help.
    async fn find_lacking(&self, uid: &IndexUid, prepared: &Prepared) -> Result<StoredLookup, Error> {
        let Ok(split) = &prepared.outcome else { return Ok(StoredLookup::All) };
        let shards = split.shards.iter().filter(|documents| !documents.is_empty()).count();
        if split.lacking.is_empty() || shards < 2 {
            return Ok(StoredLookup::All);
        }
        let missing = match self.state.catalog.get(uid) {
            None => split.lacking.clone(),
            Some(index) if !index.ready => return Ok(StoredLookup::Later),
            Some(index) => {
                // Before they are looked for: what is not there when nothing is under way does not come.
                let is_awaited = self.state.is_awaited(&index, &BTreeSet::new()).await?;
                let ids: Vec<&str> = split.lacking.iter().map(|lacking| lacking.id.as_str()).collect();
                let stored = self.reads.stored(index, &ids).await?;
                let missing = split.lacking.iter().filter(|lacking| !stored.contains(&lacking.id));
                let missing: Vec<Lacking> = missing.cloned().collect();
                if is_awaited && !missing.is_empty() {
                    return Ok(StoredLookup::Later);
                }
                missing
            }
        };
        Ok(no_vectors(&missing).map_or(StoredLookup::All, StoredLookup::None))
    }

    async fn target_of(&self, uid: &IndexUid) -> Result<Target, Error> {
        let index = self.state.catalog.get(uid);
        Ok(Target {
            shards: index.as_ref().map_or(self.state.config.shards, |index| index.shards),
            primary_key: index.as_ref().and_then(|index| index.key().cloned()),
            checks: match &index {
                Some(index) => self.checks_of(index).await?,
                None => Checks::default(),
            },
        })
    }

    async fn send_documents(
        &self,
        guard: &IndexGuard,
        uid: &IndexUid,
        prepared: Prepared,
        method: Method,
        skip_creation: bool,
        custom_metadata: Option<String>,
    ) -> Result<Accepted, Error> {
        let (index, birth) = match self.state.catalog.get(uid) {
            Some(index) => (index, None),
            None => {
                // The key comes with the documents, if it comes.
                let birth = self.conceive(guard, uid, None).await?;
                (birth.index.clone(), Some(birth))
            }
        };
        let topology = self.state.ensure_placement(index.shards).await?;
        let mut change = Change { custom_metadata, ..Change::new(guard, uid, TaskKind::DocumentAdditionOrUpdate) };
        if birth.is_some() {
            change.parts = self.on_every_node(&topology, &self.creation_steps(&index));
        }
        match prepared.outcome {
            Err(error) => {
                change.details = raw(&json!({ "receivedDocuments": prepared.received, "indexedDocuments": 0 }));
                change.fails_with = Some(error);
            }
            Ok(split) => {
                if let Some(key) = prepared.primary_key.filter(|_| split.received > 0 || prepared.is_named) {
                    rely_on_key(&mut change, &index, key);
                }
                let (received, unique) = (split.received, split.unique);
                change.details = raw(&json!({ "receivedDocuments": received, "indexedDocuments": null }));
                change.effects.details = raw(&json!({ "receivedDocuments": received, "indexedDocuments": unique }));
                change.effects.by_shard = shares(&split.by_shard);
                let path = documents_path(&index, change.effects.primary_key.as_ref().or(index.key()), skip_creation);
                let call = |body| Call {
                    body,
                    content_type: Some("application/x-ndjson"),
                    ..Call::bare("write", method.clone(), path.clone(), self.state.write_timeout())
                };
                let buffers: Vec<Bytes> = split.shards.into_iter().map(Bytes::from).collect();
                change.touched = non_empty(&buffers);
                let writers = |shard| topology.writers(index.shards, shard).into_iter();
                add_documents(&mut change.parts, writers, &buffers, MAX_NODE_BODY_BYTES, call);
            }
        }
        match birth {
            None if change.parts.is_empty() => return self.conclude_at_once(change).await,
            None => {}
            Some(birth) => change.give_birth(birth),
        }
        self.change(&topology, &index, change).await
    }

    /// The index does not exist, and the client may not create it: a task that fails.
    async fn decline_documents(
        &self,
        guard: &IndexGuard,
        uid: &IndexUid,
        received: u64,
        custom_metadata: Option<String>,
    ) -> Result<Accepted, Error> {
        let details = raw(&json!({ "receivedDocuments": received, "indexedDocuments": 0 }));
        let change = Change::new(guard, uid, TaskKind::DocumentAdditionOrUpdate).without_index();
        self.conclude_at_once(Change { details, custom_metadata, ..change }).await
    }
}

/// The documents are routed by this key. Until it is known to be the index's, that depends on what becomes of them.
fn rely_on_key(change: &mut Change, index: &Index, key: String) {
    match (&index.primary_key, &index.pending_key) {
        (_, Some(_)) => change.effects.primary_key = Some(key),
        (Some(_), None) => {}
        (None, None) => change.take_key(index, key),
    }
}

fn documents_path(index: &Index, key: Option<&String>, skip_creation: bool) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(key) = key {
        query.append_pair("primaryKey", key);
    }
    if skip_creation {
        query.append_pair("skipCreation", "true");
    }
    format!("/indexes/{}/documents?{}", index.physical, query.finish())
}

/// How many documents go to each shard, if they go to several.
fn shares(by_shard: &[u64]) -> Vec<(ShardId, u64)> {
    let shares = by_shard.iter().enumerate().filter(|(_, count)| **count > 0);
    let shares: Vec<(ShardId, u64)> = shares.map(|(shard, count)| (ShardId(shard as u32), *count)).collect();
    if shares.len() > 1 { shares } else { Vec::new() }
}

fn non_empty(buffers: &[Bytes]) -> Vec<ShardId> {
    let filled = buffers.iter().enumerate().filter(|(_, buffer)| !buffer.is_empty());
    filled.map(|(shard, _)| ShardId(shard as u32)).collect()
}

/// Give every node the buffers of the shards whose writes it takes, in requests of at most `max_bytes` (a single larger
/// buffer goes alone).
fn add_documents<'a, W: Iterator<Item = &'a NodeId>>(
    parts: &mut Vec<NodePart>,
    writers: impl Fn(ShardId) -> W,
    buffers: &[Bytes],
    max_bytes: u64,
    call: impl Fn(Chunks) -> Call,
) {
    let mut by_node: BTreeMap<&NodeId, Vec<(Chunks, Vec<ShardId>)>> = BTreeMap::new();
    for shard in non_empty(buffers) {
        let Some(buffer) = buffers.get(shard.0 as usize) else { continue };
        for node in writers(shard) {
            let requests = by_node.entry(node).or_default();
            match requests.last_mut().filter(|(body, _)| body.len() + buffer.len() as u64 <= max_bytes) {
                Some((body, shards)) => {
                    body.push(buffer.clone());
                    shards.push(shard);
                }
                None => requests.push((Chunks::from(buffer.clone()), vec![shard])),
            }
        }
    }
    for (node, requests) in by_node {
        let steps = requests.into_iter().map(|(body, shards)| Step { call: call(body), shards });
        match parts.iter_mut().find(|part| part.node == *node) {
            Some(part) => part.steps.extend(steps),
            None => parts.push(NodePart { node: node.clone(), steps: steps.collect() }),
        }
    }
}

/// What is left of an [`Ingest`] beside its body.
struct Parameters {
    method: Method,
    format: Format,
    primary_key: Option<String>,
    skip_creation: bool,
    _reserved: Reserved,
}

fn separated(ingest: Ingest) -> Result<(Bytes, Parameters), Error> {
    let Ingest { method, body, format, primary_key, skip_creation, mut reserved, .. } = ingest;
    // The split holds about as much again.
    reserved.grow(body.len() as u64)?;
    Ok((body, Parameters { method, format, primary_key, skip_creation, _reserved: reserved }))
}

/// How documents are to be taken.
struct How {
    format: Format,
    /// The primary key that the client names.
    wanted: Option<String>,
    stamp: Option<u64>,
    addition: Addition,
    skips_creation: bool,
}

/// Find the primary key, check every document, split by shard.
fn prepare(uid: &IndexUid, body: &[u8], how: How, target: Target) -> Result<Prepared, Error> {
    let How { format, wanted, stamp, addition, skips_creation } = how;
    let primary_key = match target.primary_key.clone().or_else(|| wanted.clone()) {
        Some(key) => Some(key),
        None => inferred(uid, body, format)?,
    };
    let request = SplitRequest {
        shards: target.shards,
        // Without documents there is no key to be found, nor needed.
        primary_key: primary_key.as_deref().unwrap_or("id"),
        stamp,
        checks: &target.checks,
        skips_creation,
        reserved: ReservedFields { updated_at: stamp.is_some() },
        method: addition,
    };
    let fixed = target.primary_key.as_ref().filter(|fixed| wanted.as_ref().is_some_and(|wanted| wanted != *fixed));
    let conflict = fixed.map(|fixed| {
        let message = format!("Index already has a primary key: `{fixed}`.");
        ErrorBody::new(Code::IndexPrimaryKeyAlreadyExists, message)
    });
    // Of a key that the index cannot have, nothing depends on the documents, if there are any.
    let outcome = match (split(body, format, &request), conflict) {
        (Ok(split), Some(conflict)) if split.received > 0 => Err(conflict),
        (Ok(split), _) => Ok(split),
        (Err(SplitError::Document(_)), Some(conflict)) => Err(conflict),
        (Err(SplitError::Document(error)), None) => Err(error.task_body(uid.as_str())),
        (Err(error), _) => return Err(error.into()),
    };
    let received = outcome.as_ref().map_or_else(|_| count(body, format), |split| split.received);
    Ok(Prepared { target, primary_key, is_named: wanted.is_some(), received, outcome })
}

fn inferred(uid: &IndexUid, body: &[u8], format: Format) -> Result<Option<String>, Error> {
    match infer_primary_key(body, format) {
        Ok(key) => Ok(key),
        Err(SplitError::Document(error)) => {
            let found = error.task_body(uid.as_str()).message;
            let message = format!("{found} Miroir routes documents by it, so it cannot wait for the task.");
            Err(Error::Invalid(ErrorBody::new(Code::MiroirPrimaryKeyRequired, message)))
        }
        Err(error) => Err(error.into()),
    }
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.to_string()))
}
