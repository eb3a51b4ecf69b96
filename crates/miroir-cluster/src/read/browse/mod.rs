//! Browsing documents page by page, over a covering set.

mod fetch;
mod sorted;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use miroir_core::base::error::Code;
use miroir_core::base::id::{IndexUid, ShardId};
use miroir_core::base::inert::{SHARD_FIELD, decode_shard, shard_filter};
use miroir_core::base::json;
use miroir_core::read::search::sort_expressions;
use miroir_core::settings::Floor;
use miroir_node::Call;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::read::pages::Pages;
use crate::read::refusal::{Original, Read, Unread};
use crate::read::versions::Reading;
use crate::state::catalog::all_shards;
use crate::{Degraded, Error, Index, Reads};
use fetch::Asked;

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
                let parsed =
                    serde_json::from_str(&value).ok().filter(|value: &Value| value.is_array() || value.is_string());
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

/// What a node answers to a count.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountOfNode {
    facet_distribution: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Reads {
    /// A page of documents.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when shards are unavailable.
    pub async fn browse(
        self: &Arc<Self>,
        uid: &IndexUid,
        request: Result<BrowseRequest, Unreadable>,
        floor: Floor,
    ) -> Result<Pages, Error> {
        let asked = match &request {
            Ok(BrowseRequest { original, .. }) | Err(Unreadable(original)) => original,
        };
        let index = self.index_to_read(uid, floor, asked).await?;
        let request = match request {
            Ok(request) => request,
            Err(Unreadable(original)) => return Err(self.refuse_unread(Unread::read(&original, uid)).await),
        };
        let original = request.original.clone();
        let page = self.browse_index(index.clone(), request).await;
        self.in_clients_words(&index, page, &original).await
    }

    async fn browse_index(self: &Arc<Self>, index: Reading, mut request: BrowseRequest) -> Result<Pages, Error> {
        let filter = match request.filter.take().filter(|filter| !filter.is_null()) {
            Some(filter) => {
                let raw = filter.to_string();
                self.check_filter(Some(raw.as_bytes()), Code::InvalidDocumentFilter)?;
                let joined = self.joined_filter(&index, raw.as_bytes(), Code::InvalidDocumentFilter).await?;
                Some(joined.and_then(|joined| serde_json::from_slice(&joined).ok()).unwrap_or(filter))
            }
            None => None,
        };
        let sort = std::mem::take(&mut request.sort);
        let ids = request.ids.clone();
        let asked = Asked { reads: self.clone(), index, request, filter };
        match ids {
            _ if !sort.is_empty() => asked.in_order(sort).await,
            Some(ids) => asked.by_id(&ids).await,
            None => asked.by_shard().await,
        }
    }

    /// Documents per shard that match a filter, ascending by shard.
    async fn count(
        &self,
        index: &Reading,
        shards: &[ShardId],
        filter: Option<&Value>,
    ) -> Result<(Vec<(ShardId, u64)>, Degraded), Error> {
        let path = format!("/indexes/{}/search", index.physical);
        let timeout = self.state.read_timeout();
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
            counts.extend(counts_by_shard(part.assignment.node.as_str(), &part.reply.body)?);
        }
        Ok((counts.into_iter().collect(), gathered.degraded))
    }

    /// Documents of an index, each counted once, and which shards could not be counted.
    pub(crate) async fn count_documents(&self, index: &Arc<Index>) -> Result<(u64, Degraded), Error> {
        let (counts, degraded) = self.count(&Reading::of(index.clone()), &all_shards(index), None).await?;
        Ok((counts.iter().map(|(_, count)| count).sum(), degraded))
    }
}

/// Documents per shard, as a node's answer to a search counts them.
pub(crate) fn counts_by_shard(node: &str, answer: &[u8]) -> Result<Vec<(ShardId, u64)>, Error> {
    let answer: CountOfNode = read_answer(node, answer)?;
    let counts = answer.facet_distribution.get(SHARD_FIELD).into_iter().flatten();
    Ok(counts.filter_map(|(text, count)| Some((decode_shard(text)?, *count))).collect())
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

/// What stands behind the documents of a page.
fn tail(request: &BrowseRequest, total: u64) -> String {
    format!("],\"offset\":{},\"limit\":{},\"total\":{total}}}", request.offset, request.limit)
}
