//! Search: rewrite for the nodes, scatter, merge.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use miroir_core::error::{Code, ErrorBody};
use miroir_core::facet;
use miroir_core::id::{IndexUid, ShardId};
use miroir_core::inert::{SHARD_FIELD, UPDATED_AT_FIELD};
use miroir_core::merge::merge;
use miroir_core::search::{IndexView, SearchRequest};

use super::{Answer, Cluster, Error, Index};
use crate::node::Call;

impl Cluster {
    /// `POST /indexes/{uid}/search`. `rule` is a filter that restricts what the client may find.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when shards are unavailable.
    pub async fn search_body(&self, uid: &IndexUid, body: Bytes, rule: Option<&str>) -> Result<Answer, Error> {
        let index = self.index(uid)?;
        let original = self.search_call(&index, body.clone());
        match SearchRequest::from_body(&body) {
            Ok(request) => self.search_within(&index, request, original, rule).await,
            Err(_) => Err(self.let_a_node_refuse(original).await),
        }
    }

    /// `GET /indexes/{uid}/search`.
    ///
    /// # Errors
    /// As [`Cluster::search_body`].
    pub async fn search_query(&self, uid: &IndexUid, query: &str, rule: Option<&str>) -> Result<Answer, Error> {
        let index = self.index(uid)?;
        let path = format!("/indexes/{}/search?{query}", index.physical);
        let original = Call::get("search", path, self.read_timeout());
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        match SearchRequest::from_query(&pairs) {
            Ok(request) => self.search_within(&index, request, original, rule).await,
            Err(_) => Err(self.let_a_node_refuse(original).await),
        }
    }

    /// Search within the rule. From here on the restricted request stands for the client's own: whatever is sent to a
    /// node, be it only for a refusal, is within the rule too.
    async fn search_within(
        &self,
        index: &Index,
        request: SearchRequest,
        original: Call,
        rule: Option<&str>,
    ) -> Result<Answer, Error> {
        let Some(rule) = rule else { return self.search(index, &request, original).await };
        let body = Bytes::from(request.restricted(rule));
        let original = self.search_call(index, body.clone());
        match SearchRequest::from_body(&body) {
            Ok(request) => self.search(index, &request, original).await,
            Err(_) => Err(self.let_a_node_refuse(original).await),
        }
    }

    fn search_call(&self, index: &Index, body: Bytes) -> Call {
        let path = format!("/indexes/{}/search", index.physical);
        Call::json("search", Method::POST, path, body, self.read_timeout())
    }

    async fn search(&self, index: &Index, request: &SearchRequest, original: Call) -> Result<Answer, Error> {
        let start = Instant::now();
        let settings = &index.settings;
        // Our own filterable rule would make nodes accept facets that one server refuses.
        if !request.facets().is_empty()
            && let Some(refusal) = facet::refusal(request.facets(), settings.filterable_json().as_bytes())
        {
            return Err(Error::Invalid(refusal));
        }
        let (displayed, sort_facet_values_by) = (settings.displayed(), settings.sort_facet_values_by());
        let view = IndexView {
            uid: index.uid.as_str(),
            displayed: displayed.as_deref(),
            distinct: settings.distinct(),
            sort_facet_values_by: &sort_facet_values_by,
            max_values_per_facet: settings.max_values_per_facet(),
            max_total_hits: settings.max_total_hits(),
            ranks_by_attribute: settings.ranks_by_attribute(),
        };
        if let Some(refusal) = names_ours(request) {
            return Err(Error::Invalid(refusal));
        }
        let path = format!("/indexes/{}/search", index.physical);
        let timeout = self.read_timeout();
        let gathered = self
            .gather(index, &all_shards(index), request.fingerprint(), |_, filter| {
                Call::json("search", Method::POST, path.clone(), request.node_body(&view, filter), timeout)
            })
            .await;
        let gathered = match gathered {
            Ok(gathered) => gathered,
            // Positions and lists in the text are about the rewritten request: let a node speak of the client's own.
            Err(Error::Refused { .. }) => return Err(self.let_a_node_refuse(original).await),
            Err(error) => return Err(error),
        };
        let answers: Vec<&Bytes> = gathered.parts.iter().map(|part| &part.reply.body).collect();
        let elapsed = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let request_uid = uuid::Uuid::now_v7().to_string();
        let body = merge(request, &view, &answers, elapsed, Some(&request_uid))?;
        Ok(Answer { body: body.into(), degraded: gathered.degraded })
    }

    pub(super) fn read_timeout(&self) -> Duration {
        self.config.scatter.node_timeout
    }
}

/// Nodes filter by our fields for us, and would for clients; to clients they do not exist.
fn names_ours(request: &SearchRequest) -> Option<ErrorBody> {
    let ours = |text: &[u8]| [SHARD_FIELD, UPDATED_AT_FIELD].into_iter().find(|field| contains(text, field.as_bytes()));
    let unknown = |field: &str| format!("Attribute `{field}` is not filterable.");
    if let Some(field) = request.filter().and_then(ours) {
        return Some(ErrorBody::new(Code::InvalidSearchFilter, unknown(field)));
    }
    let field = request.own_distinct().and_then(|distinct| ours(distinct.as_bytes()))?;
    Some(ErrorBody::new(Code::InvalidSearchDistinct, unknown(field)))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Every shard of an index.
pub fn all_shards(index: &Index) -> Vec<ShardId> {
    (0..index.shards.get()).map(ShardId).collect()
}
