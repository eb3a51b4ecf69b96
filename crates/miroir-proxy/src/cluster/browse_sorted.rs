//! Browsing documents in the order of attributes. Every node has to be asked for its documents down to where the page
//! ends: which of them stand on the page is known only when all are compared.

use bytes::Bytes;
use http::Method;
use miroir_core::error::{Code, ErrorBody};
use miroir_core::sorted::{Sorting, fields_for_nodes, selected};
use miroir_core::unmet::GEO;
use miroir_core::{json, strip};
use serde_json::Value;

use super::browse::{BrowseRequest, Fetch, fetch_body, page, shards_of_ids};
use super::doubt::Named;
use super::read::Target;
use super::search::all_shards;
use super::versions::Reading;
use super::{Answer, Cluster, Error};
use crate::node::Call;

impl Cluster {
    /// A page of documents in this order.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when shards are unavailable.
    pub(super) async fn browse_sorted(
        &self,
        index: &Reading,
        request: &BrowseRequest,
        sort: &[String],
        filter: Option<&Value>,
    ) -> Result<Answer, Error> {
        let unreadable = || {
            let message = "The sort of this request cannot be read.";
            Error::Refused { status: 400, body: ErrorBody::new(Code::InvalidDocumentSort, message) }
        };
        let sorting = Sorting::parse(sort).ok_or_else(unreadable)?;
        let shards = match &request.ids {
            None => all_shards(index),
            Some(ids) => shards_of_ids(index, ids)?.1,
        };
        let primary_key = index.key().map_or("", String::as_str);
        let read: Vec<&str> = sorting.attributes().chain([primary_key]).collect();
        let fields = request.fields.as_deref().map(|fields| fields_for_nodes(fields, &read));
        let (path, timeout) = (format!("/indexes/{}/documents/fetch", index.physical), self.read_timeout());
        let end = request.offset.saturating_add(request.limit);
        let named = if sorting.attributes().any(|name| name == GEO) { Named::Place } else { Named::Nothing };
        let target = Target { index, shards, named };
        let gathered = self
            .gather_for(target, 0, |share| {
                let shards = &share.assignment.shards;
                let fetch = Fetch { shards: shards.clone(), offset: 0, limit: end };
                let mut body = fetch_body(request, &fetch, shards, filter);
                // On a node where no document has a place all are equally far.
                let sort: Vec<&String> = match share.unmet.contains(GEO) {
                    true => sort.iter().filter(|by| !by.starts_with("_geoPoint(")).collect(),
                    false => sort.iter().collect(),
                };
                if !sort.is_empty() {
                    body["sort"] = sort.into_iter().cloned().collect();
                }
                if let Some(fields) = &fields {
                    body["fields"] = fields.as_slice().into();
                }
                Call::json("documents", Method::POST, path.clone(), body.to_string().into_bytes(), timeout)
            })
            .await?;
        let mut nodes: Vec<Vec<&[u8]>> = Vec::with_capacity(gathered.parts.len());
        let mut total: u64 = 0;
        for part in &gathered.parts {
            let malformed = |why: &str| Error::answer(&part.assignment.node, why);
            let member = |name| json::get(&part.reply.body, name).ok().flatten();
            let documents =
                member("results").and_then(|results| json::elements(results).ok()?.collect::<Result<_, _>>().ok());
            nodes.push(documents.ok_or_else(|| malformed("not a page of documents"))?);
            let of_node = member("total").and_then(|raw| serde_json::from_slice::<u64>(raw).ok());
            total = total.saturating_add(of_node.ok_or_else(|| malformed("a page without a total"))?);
        }
        let bound = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let malformed = |why: json::SyntaxError| Error::Answer { node: "(any)".into(), why: why.to_string() };
        let found =
            sorting.merge(&nodes, primary_key, bound(request.offset), bound(request.limit)).map_err(malformed)?;
        let mut documents: Vec<Bytes> = Vec::with_capacity(found.len());
        for raw in found {
            let mut clean = Vec::with_capacity(raw.len());
            match &request.fields {
                Some(fields) => selected(raw, fields, request.retrieve_vectors, &mut clean).map_err(malformed)?,
                None => strip::document(raw, &mut clean).map_err(malformed)?,
            }
            documents.push(clean.into());
        }
        Ok(Answer { body: page(&documents, request, total).into(), degraded: gathered.degraded })
    }
}
