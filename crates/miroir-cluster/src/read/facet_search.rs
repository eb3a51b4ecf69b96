//! Facet search: every shard's values, counted together.

use std::time::Instant;

use bytes::Bytes;
use http::Method;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::IndexUid;
use miroir_core::base::strip;
use miroir_core::read::facet_search::FacetSearchRequest;
use miroir_core::read::scope::Scope;
use miroir_core::settings::Floor;
use miroir_node::Call;

use crate::read::doubt::Named;
use crate::read::refusal::{Original, Read, Unread};
use crate::read::scatter::Target;
use crate::read::search::{Facts, elapsed_ms};
use crate::state::catalog::all_shards;
use crate::{Answer, Error, Reads};

impl Reads {
    /// `POST /indexes/{uid}/facet-search`, confined to what `rule` lets the client see.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when shards are unavailable.
    pub async fn facet_search(
        &self,
        uid: &IndexUid,
        body: Bytes,
        rule: Option<&[u8]>,
        floor: Floor,
    ) -> Result<Answer, Error> {
        let start = Instant::now();
        let timeout = self.state.read_timeout();
        let mut original = Original::body(Read::FacetSearch, &body);
        let index = self.index_to_read(uid, floor, &original).await?;
        let path = format!("/indexes/{}/facet-search", index.physical);
        let Ok(mut request) = FacetSearchRequest::from_body(&body) else {
            return Err(self.refuse_unread(Unread::read(&original, uid)).await);
        };
        if let Some(fault) = request.filter_fault() {
            let refusal = Error::Invalid(ErrorBody::new(Code::InvalidSearchFilter, fault));
            return Err(self.reworded(&index, &original, refusal).await);
        }
        if let Some(filter) = request.filter()
            && let Some(joined) = self.joined_filter(&index, filter, Code::InvalidSearchFilter).await?
        {
            request =
                request.with_filter(&joined).map_err(|_| Error::Internal("a joined filter is no filter".into()))?;
            original = Original::body(Read::FacetSearch, &Bytes::copy_from_slice(request.body()));
        }
        let rule = self.joined_rule(&index, rule).await?;
        let rule = rule.as_deref();
        self.check_filter(request.filter(), Code::InvalidSearchFilter)?;
        if strip::is_ours(request.facet_name().as_bytes()) {
            let message = format!("Attribute `{}` is not facet-searchable.", request.facet_name());
            return Err(Error::Invalid(ErrorBody::new(Code::InvalidFacetSearchFacetName, message)));
        }
        let searched_on = || request.searched_on();
        let target = Target { index: &index, shards: all_shards(&index), named: Named::SearchedOn(&searched_on) };
        let gathered = self
            .gather_for(target, 0, |share| {
                let shards = share.filter();
                let scope = Scope { shards: shards.as_deref(), rule, unmet: Some(&share.unmet) };
                let body = request.node_body(&scope);
                Call::json("facet-search", Method::POST, path.clone(), body, timeout)
            })
            .await;
        // Lists in the text of a refusal are about the nodes' settings.
        let gathered = self.in_clients_words(&index, gathered, &original).await?;
        let answers: Vec<&Bytes> = gathered.parts.iter().map(|part| &part.reply.body).collect();
        let facts = Facts::of(&index);
        let body = request.merge(&facts.view(&index), &answers, elapsed_ms(start))?;
        Ok(Answer { body: body.into(), degraded: gathered.degraded })
    }
}
