//! Similar documents: the target's vector is read from its shard, then searched for in all of them.

use std::time::Instant;

use bytes::Bytes;
use http::Method;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::hash::shard_of;
use miroir_core::base::id::{IndexUid, NodeId, ShardId};
use miroir_core::base::inert::shard_filter;
use miroir_core::read::merge::{merge_similar, nothing_similar};
use miroir_core::read::scope::Scope;
use miroir_core::read::similar::{SimilarRequest, vector_of};
use miroir_core::settings::Floor;
use miroir_node::Call;
use serde_json::{Value, json};

use crate::read::refusal::{Original, Read, Unread};
use crate::read::search::{Facts, OverFetch, elapsed_ms};
use crate::read::versions::Reading;
use crate::state::catalog::all_shards;
use crate::{Answer, Degraded, Error, Reads};

/// How the client asked.
pub enum Similar {
    /// The query string of a GET.
    Query(String),
    /// The body of a POST.
    Body(Bytes),
}

/// The target as its node has it.
struct Target {
    node: NodeId,
    document: Bytes,
    degraded: Degraded,
}

impl Reads {
    /// `GET` and `POST /indexes/{uid}/similar`, confined to what `rule` lets the client see, the target included.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when shards are unavailable.
    pub async fn similar(
        &self,
        uid: &IndexUid,
        asked: Similar,
        rule: Option<&[u8]>,
        over_fetch: OverFetch,
        floor: Floor,
    ) -> Result<Answer, Error> {
        let start = Instant::now();
        let original = match &asked {
            Similar::Query(query) => Original::query(Read::Similar, query),
            Similar::Body(body) => Original::body(Read::Similar, body),
        };
        let index = self.index_to_read(uid, floor, &original).await?;
        let request = match &asked {
            Similar::Query(query) => {
                let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
                SimilarRequest::from_query(&pairs)
            }
            Similar::Body(body) => SimilarRequest::from_body(body),
        };
        let Ok(mut request) = request else {
            return Err(self.refuse_unread(Unread::read(&original, uid)).await);
        };
        if let Some(fault) = request.fault {
            return Err(self.reworded(&index, &original, Error::Invalid(fault)).await);
        }
        if let Some(filter) = &request.filter
            && let Some(joined) = self.joined_filter(&index, filter, Code::InvalidSimilarFilter).await?
        {
            request.filter = Some(joined);
        }
        let rule = self.joined_rule(&index, rule).await?;
        let rule = rule.as_deref();
        self.check_filter(request.filter.as_deref(), Code::InvalidSimilarFilter)?;
        let has_embedder = index.settings.get("embedders").and_then(|all| all.get(&request.embedder)).is_some();
        let target = if has_embedder { self.target(&index, &request.id, rule).await? } else { None };
        let (Some(target), Some(primary_key)) = (target, index.key()) else {
            // A node without the document refuses the request for whatever reason there is.
            let message = format!("Document `{}` not found.", request.id);
            let refusal = Error::Invalid(ErrorBody::new(Code::NotFoundSimilarId, message));
            return Err(self.reworded(&index, &original, refusal).await);
        };
        let answer =
            self.near(&index, &request, &target, (primary_key, rule, self.over_fetch(over_fetch)), start).await;
        match answer {
            // Only where the document is will a node look at the rest of the request.
            Err(refusal @ Error::Refused { .. }) => {
                Err(self.refused_by(&target.node, &index, &original, refusal).await)
            }
            answer => answer,
        }
    }

    async fn near(
        &self,
        index: &Reading,
        request: &SimilarRequest,
        target: &Target,
        (primary_key, rule, over_fetch): (&str, Option<&[u8]>, usize),
        start: Instant,
    ) -> Result<Answer, Error> {
        let vector = vector_of(&target.document, &request.embedder);
        let unreadable = |_| Error::Internal("a request for similar documents is no search".into());
        let mut search = request.search(vector.unwrap_or(b"[0]"), primary_key).map_err(unreadable)?;
        search.over_fetch(over_fetch);
        if vector.is_none() {
            let (total, degraded) = self.count_others(index, request, rule).await?;
            let body = nothing_similar(&search, &request.id, total, elapsed_ms(start));
            return Ok(Answer { body: body.into(), degraded });
        }
        let facts = Facts::of(index);
        let view = facts.view(index);
        let (path, timeout) = (format!("/indexes/{}/search", index.physical), self.state.read_timeout());
        let gathered = self
            .gather(index, &all_shards(index), search.fingerprint(), |_, shards| {
                let body = search.node_body(&view, &Scope { shards, rule, unmet: None });
                Call::json("search", Method::POST, path.clone(), body, timeout)
            })
            .await?;
        let answers: Vec<&Bytes> = gathered.parts.iter().map(|part| &part.reply.body).collect();
        let body = merge_similar(&search, &view, &answers, elapsed_ms(start), &request.id)?;
        Ok(Answer { body: body.into(), degraded: gathered.degraded.and(target.degraded.clone()) })
    }

    /// The document of this id with its vectors, if the client may see it.
    async fn target(&self, index: &Reading, id: &str, rule: Option<&[u8]>) -> Result<Option<Target>, Error> {
        let shard = shard_of(id.as_bytes(), index.shards);
        let (path, timeout) = (format!("/indexes/{}/documents/fetch", index.physical), self.state.read_timeout());
        let gathered = self
            .gather(index, &[shard], 0, |_, _| {
                let body = document_body(id, rule, &[shard], None);
                Call::json("documents", Method::POST, path.clone(), body, timeout)
            })
            .await?;
        let Some(part) = gathered.parts.first() else { return Ok(None) };
        let page = page(&part.reply.body).ok_or_else(|| Error::Answer {
            node: part.assignment.node.to_string(),
            why: "not a page of documents".into(),
        })?;
        let document = page.documents.first().map(|raw| part.reply.body.slice_ref(raw));
        let node = part.assignment.node.clone();
        Ok(document.map(|document| Target { node, document, degraded: gathered.degraded.clone() }))
    }

    /// How many documents but the target the client's filter finds.
    async fn count_others(
        &self,
        index: &Reading,
        request: &SimilarRequest,
        rule: Option<&[u8]>,
    ) -> Result<(u64, Degraded), Error> {
        let (path, timeout) = (format!("/indexes/{}/documents/fetch", index.physical), self.state.read_timeout());
        let total = |body: &[u8]| page(body).map_or(0, |page| page.total);
        let filter = request.filter.as_deref();
        let everywhere = self
            .gather(index, &all_shards(index), 0, |assignment, _| {
                let mut body = b"{\"limit\":0,\"filter\":".to_vec();
                Scope { shards: Some(&shard_filter(&assignment.shards)), rule, unmet: None }
                    .filter_into(filter, &mut body);
                body.push(b'}');
                Call::json("documents", Method::POST, path.clone(), body, timeout)
            })
            .await?;
        let shard = shard_of(request.id.as_bytes(), index.shards);
        let target = self
            .gather(index, &[shard], 0, |_, _| {
                let body = document_body(&request.id, rule, &[shard], filter);
                Call::json("documents", Method::POST, path.clone(), body, timeout)
            })
            .await?;
        let all: u64 = everywhere.parts.iter().map(|part| total(&part.reply.body)).sum();
        let found: u64 = target.parts.iter().map(|part| total(&part.reply.body)).sum();
        Ok((all.saturating_sub(found), everywhere.degraded.and(target.degraded)))
    }
}

/// A fetch of one document with its vectors.
fn document_body(id: &str, rule: Option<&[u8]>, shards: &[ShardId], filter: Option<&[u8]>) -> Vec<u8> {
    let mut body = format!("{{\"ids\":[{}],\"limit\":1,\"retrieveVectors\":true,\"filter\":", json!(id)).into_bytes();
    Scope { shards: Some(&shard_filter(shards)), rule, unmet: None }.filter_into(filter, &mut body);
    body.push(b'}');
    body
}

/// A node's page of documents.
struct Page<'a> {
    documents: Vec<&'a [u8]>,
    total: u64,
}

fn page(body: &[u8]) -> Option<Page<'_>> {
    let results = miroir_core::base::json::get(body, "results").ok()??;
    let total: Value = serde_json::from_slice(miroir_core::base::json::get(body, "total").ok()??).ok()?;
    let documents = miroir_core::base::json::elements(results).ok()?.collect::<Result<_, _>>().ok()?;
    Some(Page { documents, total: total.as_u64()? })
}
