//! Federated search: each node is sent the whole federation, confined to the shards it is asked for.

use std::time::Instant;

use miroir_core::base::error::ErrorBody;
use miroir_core::base::id::IndexUid;
use miroir_core::read::facet;
use miroir_core::read::merge::{FederatedAnswer, FederatedError, FederatedQuery, merge_federated, tell_of_queries};
use miroir_core::read::multi_search::FederationRequest;
use miroir_core::read::scope::Scope;

use crate::read::join::Joining;
use crate::read::multi_search::{Planned, QueryPlan, Searches, fingerprint, targets};
use crate::read::refusal::unreadable;
use crate::read::scatter::Share;
use crate::read::search::{Wants, elapsed_ms, metadata, new_uid, personalized};
use crate::{Answer, Error, Reads};

impl Reads {
    /// The hits of all queries as one list.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when shards are unavailable.
    pub(crate) async fn federate(
        &self,
        original: &Searches<'_>,
        federation: &FederationRequest,
        plan: &QueryPlan<'_>,
        wants: Wants,
        start: Instant,
    ) -> Result<Answer, Error> {
        let refusal = facets_refusal(federation, &plan.queries);
        if let Some(refusal) = refusal.or_else(|| federation.personalizes.then(personalized)) {
            let said = self.refusal_of(original).await.filter(|said| !said.is(&refusal.code));
            return Err(said.unwrap_or(Error::Invalid(refusal)));
        }
        // What is not sent to nodes may still be a reason to refuse the request: a node is asked about all of it first.
        let has_unused_facets = federation.facets_by_index.iter().any(|(uid, _)| !names(&plan.queries, uid));
        if (has_unused_facets || plan.queries.iter().any(|query| query.query.is_doubtful))
            && let Some(refusal) = self.refusal_of(original).await
        {
            return Err(refusal);
        }
        let (targets, of_target) = targets(&plan.queries, |_| true);
        let asked = |shares: &[Share]| -> Vec<usize> {
            shares.iter().filter_map(|share| of_target.get(share.target)).flatten().copied().collect()
        };
        let call = |shares: &[Share]| {
            let mut body = b"{\"queries\":[".to_vec();
            let mut first = true;
            for share in shares {
                let filter = share.filter();
                for query in of_target.get(share.target).into_iter().flatten().filter_map(|n| plan.queries.get(*n)) {
                    if !std::mem::take(&mut first) {
                        body.push(b',');
                    }
                    let (rule, unmet) = (query.rule.as_deref(), Some(&share.unmet));
                    let scope = Scope { shards: filter.as_deref(), rule, unmet };
                    let (view, options) = (query.facts.view(&query.index), query.query.options.as_deref());
                    query.search.federated_body(&view, &scope, query.index.physical.as_str(), options, &mut body);
                }
            }
            body.extend_from_slice(b"],\"federation\":");
            let of_node: Vec<&Planned<'_>> = asked(shares).into_iter().filter_map(|n| plan.queries.get(n)).collect();
            let physical = |uid: &str| {
                let query = of_node.iter().find(|query| query.index.uid.as_str() == uid)?;
                Some(query.index.physical.to_string())
            };
            let pins = of_node.iter().find_map(|query| query.facts.view(&query.index).pins);
            federation.node_body(physical, pins, of_node.len(), &mut body);
            body.push(b'}');
            self.multi_search_call(body).searching(of_node.len())
        };
        let joint = self.gather_jointly(&targets, fingerprint(&plan.queries), call).await?;
        if let Some(refusal) = self.unused_facets_refusal(federation, &plan.queries) {
            return Err(Error::Invalid(refusal));
        }
        let positions: Vec<Vec<usize>> = joint.parts.iter().map(|part| asked(&part.shares)).collect();
        let answers: Vec<FederatedAnswer<'_>> = joint
            .parts
            .iter()
            .zip(&positions)
            .map(|(part, queries)| FederatedAnswer { body: &part.reply.body, queries })
            .collect();
        let queries: Vec<FederatedQuery<'_>> = plan
            .queries
            .iter()
            .map(|query| FederatedQuery {
                request: &query.search,
                index: query.facts.view(&query.index),
                physical: query.index.physical.as_str(),
                weight: query.query.weight,
            })
            .collect();
        let request_uid = new_uid();
        match merge_federated(federation, &queries, &answers, elapsed_ms(start), &request_uid) {
            Ok(mut body) => {
                if wants.metadata {
                    let uids: Vec<String> = plan.queries.iter().map(|_| new_uid()).collect();
                    let told = plan
                        .queries
                        .iter()
                        .zip(&uids)
                        .map(|(query, uid)| metadata(&query.index, query.search.given_query(), uid));
                    tell_of_queries(told, &mut body);
                }
                let indexes = plan.queries.iter().map(|query| &*query.index).collect();
                let (body, joined) = self.hydrated(Joining::Federated(indexes), body).await?;
                Ok(Answer { body: body.into(), degraded: joint.degraded.and(joined) })
            }
            Err(FederatedError::Answer(error)) => Err(error.into()),
            Err(error @ FederatedError::FacetOrder(_)) => {
                tracing::debug!(%error, "a federation's facets cannot be joined");
                Err(self.refusal_of(original).await.unwrap_or_else(unreadable))
            }
        }
    }
}

impl Reads {
    /// As [`facets_refusal`], of indexes that no query is about: a server looks at them last.
    fn unused_facets_refusal(&self, federation: &FederationRequest, queries: &[Planned<'_>]) -> Option<ErrorBody> {
        federation.facets_by_index.iter().filter(|(uid, _)| !names(queries, uid)).find_map(|(uid, facets)| {
            let index = self.state.index(&uid.parse().ok()?).ok()?;
            let facets: Vec<String> = serde_json::from_slice(facets.as_deref()?).ok()?;
            let mut refusal = facet::refusal(&facets, index.settings.filterable())?;
            refusal.message = format!(
                "Inside `.federation.facetsByIndex.{uid}`: {}\n - Note: index `{uid}` is not used in queries",
                refusal.message
            );
            Some(refusal)
        })
    }
}

fn names(queries: &[Planned<'_>], uid: &str) -> bool {
    queries.iter().any(|query| query.index.uid.as_str() == uid)
}

/// The refusal of facets that only our own rule among the filterable attributes would allow.
fn facets_refusal(federation: &FederationRequest, queries: &[Planned<'_>]) -> Option<ErrorBody> {
    federation.facets_by_index.iter().find_map(|(uid, facets)| {
        let position = queries.iter().position(|query| query.index.uid.as_str() == uid)?;
        let facets: Vec<String> = serde_json::from_slice(facets.as_deref()?).ok()?;
        let mut refusal = facet::refusal(&facets, queries.get(position)?.index.settings.filterable())?;
        let uid: IndexUid = uid.parse().ok()?;
        refusal.message =
            format!("Inside `.queries[{position}]`: Inside `.federation.facetsByIndex.{uid}`: {}", refusal.message);
        Some(refusal)
    })
}
