//! Browsing documents page by page, over a covering set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use miroir_core::browse::{Slice, slices};
use miroir_core::document::route_ids;
use miroir_core::hash::shard_of;
use miroir_core::id::{IndexUid, ShardId};
use miroir_core::inert::{SHARD_FIELD, decode_shard, shard_filter};
use miroir_core::search::sort_expressions;
use miroir_core::settings::Floor;
use miroir_core::{json, strip};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::read::Gathered;
use super::refusal::{Original, Read, Unread};
use super::search::all_shards;
use super::versions::Reading;
use super::{Answer, Cluster, Degraded, Error, Index};
use crate::node::Call;

/// `POST /documents/fetch` and `GET /documents`, as far as we act upon it.
pub struct BrowseRequest {
    /// Documents to pass over.
    pub offset: u64,
    /// Documents to return.
    pub limit: u64,
    /// JSON: the client's filter.
    pub filter: Option<Value>,
    /// JSON: a list of attributes.
    pub fields: Option<Vec<String>>,
    /// A raw JSON array of ids.
    pub ids: Option<Box<RawValue>>,
    /// Whether vectors are wanted.
    pub retrieve_vectors: bool,
    /// Expressions by which the documents are ordered; none: the order of browsing.
    pub sort: Vec<String>,
    /// The client's own request, for a node to refuse in Meilisearch's words.
    original: Original,
}

/// What a page is made of, as far as we act upon it.
struct Page {
    offset: u64,
    limit: u64,
    filter: Option<Value>,
    fields: Option<Vec<String>>,
    ids: Option<Box<RawValue>>,
    retrieve_vectors: bool,
    sort: Option<Vec<String>>,
}

impl Default for Page {
    fn default() -> Self {
        let limit = 20;
        Self { offset: 0, limit, filter: None, fields: None, ids: None, retrieve_vectors: false, sort: None }
    }
}

/// A request that is not of the form above: a node says what is wrong with it.
pub struct Unreadable(Original);

impl BrowseRequest {
    /// `POST /documents/fetch`.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn from_body(body: &Bytes) -> Result<Self, Unreadable> {
        let original = Original::body(Read::Fetch, body);
        match read_body(body) {
            Some(page) => Ok(Self::new(page, original)),
            None => Err(Unreadable(original)),
        }
    }

    /// `GET /documents`.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn from_query(query: &str) -> Result<Self, Unreadable> {
        let original = Original::query(Read::Documents, query);
        match read_query(query) {
            Some(page) => Ok(Self::new(page, original)),
            None => Err(Unreadable(original)),
        }
    }

    fn new(page: Page, original: Original) -> Self {
        let Page { offset, limit, filter, fields, ids, retrieve_vectors, sort } = page;
        Self { offset, limit, filter, fields, ids, retrieve_vectors, sort: sort.unwrap_or_default(), original }
    }
}

/// Of members given several times the last counts, as with nodes.
fn read_body(body: &[u8]) -> Option<Page> {
    let mut page = Page::default();
    for (name, member) in json::last_members(body).ok()? {
        let raw = member.value;
        match &*name {
            "offset" => page.offset = serde_json::from_slice(raw).ok()?,
            "limit" => page.limit = serde_json::from_slice(raw).ok()?,
            "filter" => page.filter = serde_json::from_slice(raw).ok()?,
            "fields" => page.fields = serde_json::from_slice(raw).ok()?,
            "ids" => page.ids = serde_json::from_slice(raw).ok()?,
            "retrieveVectors" => page.retrieve_vectors = serde_json::from_slice(raw).ok()?,
            "sort" => page.sort = serde_json::from_slice(raw).ok()?,
            _ => return None,
        }
    }
    Some(page)
}

fn read_query(query: &str) -> Option<Page> {
    let mut read = Page::default();
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "offset" => read.offset = value.parse().ok()?,
            "limit" => read.limit = value.parse().ok()?,
            "filter" => {
                let parsed = serde_json::from_str(&value).ok().filter(Value::is_array);
                read.filter = Some(parsed.unwrap_or_else(|| Value::String(value.into_owned())));
            }
            "fields" if value == "*" => read.fields = None,
            "fields" => read.fields = Some(list(&value)),
            "ids" => read.ids = serde_json::value::to_raw_value(&list(&value)).ok(),
            "sort" => read.sort = Some(sort_expressions(&value)),
            "retrieveVectors" => read.retrieve_vectors = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(read)
}

/// What a node answers to a fetch.
#[derive(Deserialize)]
struct PageOfNode<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// What a node answers to a count.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountOfNode {
    facet_distribution: BTreeMap<String, BTreeMap<String, u64>>,
}

/// One request to a node, and where its documents stand in the page.
pub(super) struct Fetch {
    /// Ascending.
    pub shards: Vec<ShardId>,
    pub offset: u64,
    pub limit: u64,
}

impl Cluster {
    /// A page of documents.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when shards are unavailable.
    pub async fn browse(
        &self,
        uid: &IndexUid,
        request: Result<BrowseRequest, Unreadable>,
        floor: Floor,
    ) -> Result<Answer, Error> {
        let asked = match &request {
            Ok(BrowseRequest { original, .. }) | Err(Unreadable(original)) => original,
        };
        let index = self.index_to_read(uid, floor, asked).await?;
        let Ok(request) = &request else {
            return Err(self.refuse_unread(Unread::read(asked, uid)).await);
        };
        let page = self.browse_index(&index, request).await;
        self.in_clients_words(&index, page, asked).await
    }

    async fn browse_index(&self, index: &Reading, request: &BrowseRequest) -> Result<Answer, Error> {
        let filter = request.filter.clone().filter(|filter| !filter.is_null());
        if !request.sort.is_empty() {
            return self.browse_sorted(index, request, &request.sort, filter.as_ref()).await;
        }
        if let Some(ids) = &request.ids {
            return self.browse_ids(index, request, ids, filter.as_ref()).await;
        }
        let shards = all_shards(index);
        let (counts, mut degraded) = self.count(index, &shards, filter.as_ref()).await?;
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let wanted = slices(&counts, request.offset, request.limit);
        let mut by_shard: BTreeMap<ShardId, Vec<Bytes>> = BTreeMap::new();
        let whole: Vec<&Slice> = wanted.iter().filter(|slice| slice.whole).collect();
        if !whole.is_empty() {
            let shards: Vec<ShardId> = whole.iter().map(|slice| slice.shard).collect();
            let limit = whole.iter().map(|slice| slice.limit).sum();
            let fetch = Fetch { shards, offset: 0, limit };
            degraded = degraded.and(self.fetch(index, request, filter.as_ref(), &fetch, &mut by_shard).await?);
        }
        for slice in wanted.iter().filter(|slice| !slice.whole) {
            let fetch = Fetch { shards: vec![slice.shard], offset: slice.offset, limit: slice.limit };
            degraded = degraded.and(self.fetch(index, request, filter.as_ref(), &fetch, &mut by_shard).await?);
        }
        let documents: Vec<Bytes> = by_shard.into_values().flatten().collect();
        Ok(Answer { body: page(&documents, request, total).into(), degraded })
    }

    /// Documents by id: at most as many as there are ids, so that all of them are fetched and the page is cut here.
    async fn browse_ids(
        &self,
        index: &Reading,
        request: &BrowseRequest,
        ids: &RawValue,
        filter: Option<&Value>,
    ) -> Result<Answer, Error> {
        let (count, shards) = shards_of_ids(index, ids)?;
        let mut by_shard: BTreeMap<ShardId, Vec<Bytes>> = BTreeMap::new();
        let fetch = Fetch { shards, offset: 0, limit: count };
        let degraded = self.fetch(index, request, filter, &fetch, &mut by_shard).await?;
        let documents: Vec<Bytes> = by_shard.into_values().flatten().collect();
        let total = documents.len() as u64;
        let bound = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let page_of: Vec<Bytes> =
            documents.into_iter().skip(bound(request.offset)).take(bound(request.limit)).collect();
        Ok(Answer { body: page(&page_of, request, total).into(), degraded })
    }

    /// Documents per shard that match a filter, ascending by shard.
    async fn count(
        &self,
        index: &Reading,
        shards: &[ShardId],
        filter: Option<&Value>,
    ) -> Result<(Vec<(ShardId, u64)>, Degraded), Error> {
        let path = format!("/indexes/{}/search", index.physical);
        let timeout = self.read_timeout();
        let gathered = self
            .gather(index, shards, 0, |assignment, _| {
                let mut body = Map::new();
                body.insert("limit".into(), 0.into());
                body.insert("facets".into(), vec![SHARD_FIELD].into());
                body.insert("filter".into(), all_of(shard_filter(&assignment.shards), filter));
                Call::json("count", Method::POST, path.clone(), Value::Object(body).to_string().into_bytes(), timeout)
            })
            .await?;
        let mut counts: BTreeMap<ShardId, u64> = BTreeMap::new();
        for part in &gathered.parts {
            let answer: CountOfNode = read_answer(part.assignment.node.as_str(), &part.reply.body)?;
            for (text, count) in answer.facet_distribution.get(SHARD_FIELD).into_iter().flatten() {
                if let Some(shard) = decode_shard(text) {
                    counts.insert(shard, *count);
                }
            }
        }
        Ok((counts.into_iter().collect(), gathered.degraded))
    }

    /// Documents of an index, each counted once.
    pub(super) async fn count_documents(&self, index: &Arc<Index>) -> Result<u64, Error> {
        let (counts, _) = self.count(&Reading::of(index.clone()), &all_shards(index), None).await?;
        Ok(counts.iter().map(|(_, count)| count).sum())
    }

    async fn fetch(
        &self,
        index: &Reading,
        request: &BrowseRequest,
        filter: Option<&Value>,
        fetch: &Fetch,
        found: &mut BTreeMap<ShardId, Vec<Bytes>>,
    ) -> Result<Degraded, Error> {
        let path = format!("/indexes/{}/documents/fetch", index.physical);
        let timeout = self.read_timeout();
        let gathered = self
            .gather(index, &fetch.shards, 0, |assignment, _| {
                let body = fetch_body(request, fetch, &assignment.shards, filter);
                Call::json("documents", Method::POST, path.clone(), body.to_string().into_bytes(), timeout)
            })
            .await?;
        collect(&gathered, found)?;
        Ok(gathered.degraded)
    }
}

/// How many ids there are, and the shards where their documents are, ascending.
pub(super) fn shards_of_ids(index: &Index, ids: &RawValue) -> Result<(u64, Vec<ShardId>), Error> {
    // A refusal like those of nodes: whoever asked gets it in one server's words.
    let ids = route_ids(ids.get().as_bytes()).map_err(|error| Error::Refused { status: 400, body: error.0 })?;
    let shards: BTreeSet<ShardId> = ids.iter().map(|id| shard_of(id.as_bytes(), index.shards)).collect();
    Ok((ids.len() as u64, shards.into_iter().collect()))
}

pub(super) fn fetch_body(request: &BrowseRequest, fetch: &Fetch, shards: &[ShardId], filter: Option<&Value>) -> Value {
    let mut body = Map::new();
    body.insert("offset".into(), fetch.offset.into());
    body.insert("limit".into(), fetch.limit.into());
    body.insert("filter".into(), all_of(shard_filter(shards), filter));
    if let Some(fields) = &request.fields {
        let ours = std::iter::once(SHARD_FIELD.to_owned());
        body.insert("fields".into(), fields.iter().cloned().chain(ours).collect());
    }
    if let Some(ids) = &request.ids
        && let Ok(ids) = serde_json::from_str(ids.get())
    {
        body.insert("ids".into(), ids);
    }
    if request.retrieve_vectors {
        body.insert("retrieveVectors".into(), true.into());
    }
    Value::Object(body)
}

/// Ours first, the client's after it: elements of a filter array are ANDed and parsed one by one, so that no text of a
/// client can break out.
fn all_of(ours: String, client: Option<&Value>) -> Value {
    let mut all = vec![Value::String(ours)];
    match client {
        Some(Value::Array(elements)) => all.extend(elements.iter().cloned()),
        Some(filter) => all.push(filter.clone()),
        None => {}
    }
    Value::Array(all)
}

fn read_answer<'a, T: Deserialize<'a>>(node: &str, body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Answer { node: node.into(), why: error.to_string() })
}

/// Sort documents into their shards and take our fields off.
fn collect(gathered: &Gathered, found: &mut BTreeMap<ShardId, Vec<Bytes>>) -> Result<(), Error> {
    for part in &gathered.parts {
        let node = part.assignment.node.as_str();
        let malformed = |why: String| Error::Answer { node: node.into(), why };
        let page: PageOfNode<'_> = read_answer(node, &part.reply.body)?;
        for document in page.results {
            let raw = document.get().as_bytes();
            let shard = json::get(raw, SHARD_FIELD)
                .map_err(|error| malformed(error.to_string()))?
                .and_then(json::unquote)
                .and_then(|text| decode_shard(&text))
                .ok_or_else(|| malformed("a document without a shard".into()))?;
            let mut clean = Vec::with_capacity(raw.len());
            strip::document(raw, &mut clean).map_err(|error| malformed(error.to_string()))?;
            found.entry(shard).or_default().push(clean.into());
        }
    }
    Ok(())
}

pub(super) fn page(documents: &[Bytes], request: &BrowseRequest, total: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(documents.iter().map(|d| d.len() + 1).sum::<usize>() + 80);
    out.extend_from_slice(b"{\"results\":[");
    for (position, document) in documents.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(document);
    }
    let tail = format!("],\"offset\":{},\"limit\":{},\"total\":{total}}}", request.offset, request.limit);
    out.extend_from_slice(tail.as_bytes());
    out
}
