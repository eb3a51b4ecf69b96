//! Search: rewrite for the nodes, scatter, merge.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Method;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::IndexUid;
use miroir_core::base::strip;
use miroir_core::read::facet;
use miroir_core::read::merge::{QueryMetadata, merge, tell_of_query};
use miroir_core::read::scope::Scope;
use miroir_core::read::search::{IndexView, SearchRequest, Unreadable};
use miroir_core::rules::{Pins, RuleSet};
use miroir_core::settings::Floor;
use miroir_core::settings::SortBy;
use miroir_node::Call;
use time::OffsetDateTime;

use crate::read::doubt::Named;
use crate::read::join::Joining;
use crate::read::refusal::{Original, Read, Unread};
use crate::read::scatter::Target;
use crate::read::versions::Reading;
use crate::state::catalog::all_shards;
use crate::{Answer, Error, Index, Reads};

/// What a request says in place of `vector_search.over_fetch_factor`.
pub type OverFetch = Option<NonZeroU32>;

/// What the headers of a search ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// `X-Miroir-Over-Fetch`.
    pub over_fetch: OverFetch,
    /// `Meili-Include-Metadata`: whether to tell of the query, too.
    pub metadata: bool,
}

impl Reads {
    /// `POST /indexes/{uid}/search`, confined to what `rule`, a raw JSON filter, lets the client see.
    ///
    /// # Errors
    /// As Meilisearch refuses, or when shards are unavailable.
    pub async fn search_body(
        &self,
        uid: &IndexUid,
        body: Bytes,
        rule: Option<&[u8]>,
        wants: Wants,
        floor: Floor,
    ) -> Result<Answer, Error> {
        let original = Original::body(Read::Search, &body);
        let index = self.index_to_read(uid, floor, &original).await?;
        self.search(&index, SearchRequest::from_body(&body), rule, wants, &original).await
    }

    /// `GET /indexes/{uid}/search`.
    ///
    /// # Errors
    /// As [`Reads::search_body`].
    pub async fn search_query(
        &self,
        uid: &IndexUid,
        query: &str,
        rule: Option<&[u8]>,
        wants: Wants,
        floor: Floor,
    ) -> Result<Answer, Error> {
        let original = Original::query(Read::Search, query);
        let index = self.index_to_read(uid, floor, &original).await?;
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        self.search(&index, SearchRequest::from_query(&pairs), rule, wants, &original).await
    }

    /// A search confined to what `rule`, a raw JSON filter, lets the client see.
    async fn search(
        &self,
        index: &Reading,
        request: Result<SearchRequest, Unreadable>,
        rule: Option<&[u8]>,
        wants: Wants,
        original: &Original,
    ) -> Result<Answer, Error> {
        let start = Instant::now();
        let Ok(mut request) = request else {
            return Err(self.refuse_unread(Unread::read(original, &index.uid)).await);
        };
        request.over_fetch(self.over_fetch(wants.over_fetch));
        let (path, timeout) = (format!("/indexes/{}/search", index.physical), self.state.read_timeout());
        let as_joined;
        let mut original = original;
        if let Some(filter) = request.filter()
            && let Some(joined) = self.joined_filter(index, filter, Code::InvalidSearchFilter).await?
        {
            request.replace_filter(&joined);
            as_joined = Original::body(Read::Search, &Bytes::copy_from_slice(request.body()));
            original = &as_joined;
        }
        let rule = self.joined_rule(index, rule).await?;
        let rule = rule.as_deref();
        if let Some(refusal) = self.refusal(index, &request) {
            // What else is wrong with the request is said before.
            let code = refusal.code.clone();
            return Err(self.said_before(index, original, Error::Invalid(refusal), &code).await);
        }
        let facts = Facts::with_rules(index, self.state.active_rules());
        let view = facts.view(index);
        let searched_on = || request.searched_on();
        let target = Target { index, shards: all_shards(index), named: Named::SearchedOn(&searched_on) };
        let gathered = self
            .gather_for(target, request.fingerprint(), |share| {
                let filter = share.filter();
                let scope = Scope { shards: filter.as_deref(), rule, unmet: Some(&share.unmet) };
                Call::json("search", Method::POST, path.clone(), request.node_body(&view, &scope), timeout)
            })
            .await;
        // Positions and lists in the text of a refusal are about the rewritten request.
        let gathered = self.in_clients_words(index, gathered, original).await?;
        let answers: Vec<&Bytes> = gathered.parts.iter().map(|part| &part.reply.body).collect();
        let elapsed = elapsed_ms(start);
        let request_uid = new_uid();
        let mut body = merge(&request, &view, &answers, elapsed, Some(&request_uid))?;
        if wants.metadata {
            tell_of_query(&metadata(index, request.given_query(), &new_uid()), &mut body);
        }
        let (body, joined) = self.hydrated(Joining::Of(index), body).await?;
        Ok(Answer { body: body.into(), degraded: gathered.degraded.and(joined) })
    }

    /// Nodes know our fields and our filterable rule, and would answer about them; to clients they do not exist. And what
    /// takes all hits in one place a node would do with its own.
    pub(crate) fn refusal(&self, index: &Index, request: &SearchRequest) -> Option<ErrorBody> {
        if !request.facets().is_empty()
            && let Some(refusal) = facet::refusal(request.facets(), index.settings.filterable())
        {
            return Some(refusal);
        }
        if let Some(fault) = request.filter_fault() {
            return Some(ErrorBody::new(Code::InvalidSearchFilter, fault));
        }
        if let Err(refusal) = self.check_filter(request.filter(), Code::InvalidSearchFilter) {
            return Some(refusal.body());
        }
        if request.personalizes() {
            return Some(personalized());
        }
        let distinct = request.own_distinct().filter(|distinct| strip::is_ours(distinct.as_bytes()))?;
        Some(ErrorBody::new(Code::InvalidSearchDistinct, format!("Attribute `{distinct}` is not filterable.")))
    }

    /// How many times as many hits nodes are asked for where vectors take part.
    pub(crate) fn over_fetch(&self, of_request: OverFetch) -> usize {
        of_request.unwrap_or(self.state.config.vector_search.over_fetch_factor).get() as usize
    }
}

/// A number that nothing else has.
pub fn new_uid() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// What is told of a query of an index.
pub fn metadata<'a>(index: &'a Index, query: Option<&'a str>, query_uid: &'a str) -> QueryMetadata<'a> {
    QueryMetadata { query, query_uid, index_uid: index.uid.as_str(), primary_key: index.primary_key.as_deref() }
}

/// What a merge needs to know of an index, read from its settings once.
pub struct Facts {
    displayed: Option<Vec<String>>,
    sort_facet_values_by: BTreeMap<String, SortBy>,
    rules: Option<Arc<RuleSet>>,
    now: OffsetDateTime,
}

impl Facts {
    /// As the settings are now.
    pub fn of(index: &Index) -> Self {
        let settings = &index.settings;
        Self {
            displayed: settings.displayed(),
            sort_facet_values_by: settings.sort_facet_values_by(),
            rules: None,
            now: OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// Likewise for a search, to which rules apply.
    pub fn with_rules(index: &Index, rules: Option<Arc<RuleSet>>) -> Self {
        let now = if rules.is_some() { OffsetDateTime::now_utc() } else { OffsetDateTime::UNIX_EPOCH };
        Self { rules, now, ..Self::of(index) }
    }

    /// For a merge.
    pub fn view<'a>(&'a self, index: &'a Index) -> IndexView<'a> {
        let settings = &index.settings;
        IndexView {
            uid: index.uid.as_str(),
            displayed: self.displayed.as_deref(),
            distinct: settings.distinct(),
            sort_facet_values_by: &self.sort_facet_values_by,
            max_values_per_facet: settings.max_values_per_facet(),
            max_total_hits: settings.max_total_hits(),
            ranks_by_attribute: settings.ranks_by_attribute(),
            pins: self
                .rules
                .as_deref()
                .and_then(|rules| Some(Pins { rules, primary_key: index.key()?.as_str(), now: self.now })),
        }
    }
}

/// Milliseconds since.
pub fn elapsed_ms(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The refusal of hits that are to be reranked.
pub fn personalized() -> ErrorBody {
    let message =
        "`personalize` is not supported: a service that reranks hits would be shown those of one node at a time.";
    ErrorBody::new(Code::MiroirUnsupported, message)
}
