//! Multi-search: all queries planned together, each node asked once for all that it answers.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::base::id::IndexUid;
use miroir_core::read::merge::{merge, tell_of_query};
use miroir_core::read::multi_search::{MultiSearchRequest, Query, renamed, results, write_results};
use miroir_core::read::scope::Scope;
use miroir_core::read::search::SearchRequest;
use miroir_core::settings::Floor;
use miroir_node::Call;

use crate::read::doubt::Named;
use crate::read::join::Joining;
use crate::read::refusal::{Unread, nowhere, unreadable};
use crate::read::scatter::{JointPart, Share, Target};
use crate::read::search::{Facts, Wants, elapsed_ms, metadata, new_uid};
use crate::read::versions::Reading;
use crate::state::catalog::all_shards;
use crate::{Answer, Degraded, Error, Reads};

/// Queries that go to a node in one request; it answers them one after the other.
const TOGETHER: usize = 32;
/// Such requests of one multi-search in flight at a time.
const AT_ONCE: usize = 4;

/// What a client may see of an index: nothing at all ([`Error`]), what a raw JSON filter finds, or all of it.
pub type AccessFilter<'a> = &'a (dyn Fn(&IndexUid) -> Result<Option<Bytes>, Error> + Sync);

/// A query that can be asked.
pub(crate) struct Planned<'a> {
    /// Its index.
    pub index: Reading,
    /// As the client sent it.
    pub query: &'a Query,
    /// As it is asked and merged.
    pub search: SearchRequest,
    /// What a merge needs to know of the index.
    pub facts: Facts,
    /// What the client may see.
    pub rule: Option<Bytes>,
}

/// A multi-search as the client wrote it, and what the client may see.
pub(crate) struct Searches<'a> {
    body: &'a [u8],
    rule: AccessFilter<'a>,
}

impl Searches<'_> {
    /// With the indexes called as nodes call them, and the names put in with those that they stand for. What the client
    /// may not see is called what no index is, wherever it is named.
    fn named(&self, reads: &Reads) -> (Vec<u8>, BTreeMap<String, String>) {
        let suffix = uuid::Uuid::new_v4();
        let names = std::cell::RefCell::new(BTreeMap::new());
        let name = |known: &str| {
            let uid: IndexUid = known.parse().ok()?;
            let seen = (self.rule)(&uid).ok().and_then(|_| reads.state.index(&uid).ok());
            let name = seen.map_or_else(|| nowhere(&uid, suffix), |index| index.physical.to_string());
            if name == known {
                return None;
            }
            names.borrow_mut().insert(name.clone(), known.to_owned());
            Some(name)
        };
        // What was read can be walked through.
        let body = renamed(self.body, name).unwrap_or_default();
        (body, names.into_inner())
    }
}

/// The queries up to the first one that is refused without asking, in order.
pub(crate) struct QueryPlan<'a> {
    /// They come before `refused`.
    pub queries: Vec<Planned<'a>>,
    /// The error of the query that follows them.
    pub refused: Option<Error>,
}

/// What the queries of one request to each node came to.
struct Batch {
    /// The merged answer of each query.
    answers: Vec<Vec<u8>>,
    degraded: Degraded,
}

impl Reads {
    /// `POST /multi-search`; `rule` says what the client may see of each index.
    ///
    /// # Errors
    /// As Meilisearch refuses, naming the first query at fault, or when shards are unavailable.
    pub async fn multi_search(
        &self,
        body: Bytes,
        rule: AccessFilter<'_>,
        wants: Wants,
        floor: Floor,
    ) -> Result<Answer, Error> {
        let start = Instant::now();
        let most = self.state.config.multi_search.max_queries_per_batch.get();
        if MultiSearchRequest::has_more_than(&body, most) {
            let message =
                format!("A multi-search may have {most} queries at most (`multi_search.max_queries_per_batch`).");
            return Err(Error::Invalid(ErrorBody::new(Code::BadRequest, message)));
        }
        let Ok(request) = MultiSearchRequest::from_body(&body) else {
            return Err(match Unread::searches(&body) {
                Some(unread) => self.refuse_unread(unread).await,
                None => unreadable(),
            });
        };
        // Rights come before anything else, for all queries.
        let rules: Vec<Option<Bytes>> = (request.queries.iter().enumerate())
            .map(|(position, query)| rule(&query.uid).map_err(|error| inside(position, error)))
            .collect::<Result<_, _>>()?;
        let readings = self.begin_reads(&request, floor).await?;
        let request = self.joined_queries(request, &readings).await?;
        let rules = self.joined_rules(rules, &readings).await?;
        let mut plan = self.plan_queries(&request, rules, readings);
        for query in &mut plan.queries {
            query.search.over_fetch(self.over_fetch(wants.over_fetch));
        }
        let original = Searches { body: request.body(), rule };
        let outcome = match (&request.federation, plan.refused.is_some()) {
            // Which of several faults is told depends on the order in which a server looks at the indexes.
            (Some(_), true) => None,
            (Some(federation), false) => Some(self.federate(&original, federation, &plan, wants, start).await),
            (None, _) => Some(self.search_side_by_side(&plan, wants, start).await),
        };
        let error = match (outcome, plan.refused) {
            // Positions and lists in the text are about what nodes were sent: let a node speak of the client's own.
            (Some(Err(refusal @ Error::Refused { .. })), _) | (None, Some(refusal)) | (Some(Ok(_)), Some(refusal)) => {
                self.refusal_of(&original).await.unwrap_or(refusal)
            }
            (Some(Err(error)), _) => error,
            (Some(Ok(answer)), None) => return Ok(answer),
            (None, None) => Error::Internal("a multi-search without an outcome".into()),
        };
        Err(self.naming_its_index(&request, error))
    }

    /// The same, calling the index of the query that it is about as clients do.
    fn naming_its_index(&self, request: &MultiSearchRequest, error: Error) -> Error {
        let Error::Refused { status, mut body } = error else { return error };
        let position = body.message.strip_prefix("Inside `.queries[").and_then(|rest| rest.split_once(']'));
        let query = position.and_then(|(position, _)| request.queries.get(position.parse::<usize>().ok()?));
        match query.map(|query| (query, self.state.index(&query.uid))) {
            Some((_, Ok(index))) => Error::Refused { status, body }.naming(&index),
            Some((query, Err(_))) if body.code == Code::IndexNotFound.name() => {
                let before = body.message.split("Index `").next().unwrap_or_default();
                body.message = format!("{before}{}", Error::IndexNotFound(query.uid.to_string()));
                Error::Refused { status, body }
            }
            Some(_) | None => Error::Refused { status, body },
        }
    }

    pub(crate) fn multi_search_call(&self, body: impl Into<miroir_node::Chunks>) -> Call {
        Call::json("multi-search", Method::POST, "/multi-search", body, self.state.read_timeout())
    }

    /// What a node has against the client's own request.
    pub(crate) async fn refusal_of(&self, searches: &Searches<'_>) -> Option<Error> {
        let (body, names) = searches.named(self);
        let refusal = self.refusal_of_searches(body).await?;
        let Error::Refused { status, mut body } = refusal else { return Some(refusal) };
        for (name, known) in &names {
            body.message = body.message.replace(&format!("`{name}`"), &format!("`{known}`"));
            body.message = body.message.replace(&format!(".facetsByIndex.{name}"), &format!(".facetsByIndex.{known}"));
        }
        Some(Error::Refused { status, body })
    }

    /// The index of each query, once for all queries of it; what is missing is told where it is asked for.
    async fn begin_reads(
        &self,
        request: &MultiSearchRequest,
        floor: Floor,
    ) -> Result<Vec<Result<Reading, Error>>, Error> {
        let mut known: BTreeMap<&IndexUid, Reading> = BTreeMap::new();
        let mut readings = Vec::with_capacity(request.queries.len());
        for uid in request.queries.iter().map(|query| &query.uid) {
            if !known.contains_key(uid) {
                // Through another instance it may have come a moment ago.
                match self.state.find_index(uid).await {
                    Ok(index) => drop(known.insert(uid, self.begin_read(index, floor).await?)),
                    Err(missing) => {
                        readings.push(Err(missing));
                        continue;
                    }
                }
            }
            readings.push(known.get(uid).cloned().ok_or_else(|| Error::IndexNotFound(uid.to_string())));
        }
        Ok(readings)
    }

    /// The same queries with what is found in place of their conditions on other indexes.
    async fn joined_queries(
        &self,
        request: MultiSearchRequest,
        readings: &[Result<Reading, Error>],
    ) -> Result<MultiSearchRequest, Error> {
        let mut filters = BTreeMap::new();
        for (position, (query, index)) in request.queries.iter().zip(readings).enumerate() {
            let (Some(filter), Ok(index)) = (query.search.filter(), index) else { continue };
            match self.joined_filter(index, filter, Code::InvalidSearchFilter).await {
                Ok(Some(joined)) => drop(filters.insert(position, joined)),
                Ok(None) => {}
                // Of another index than the query's own it is said as of one that is named by the path.
                Err(Error::IndexNotFound(uid)) => {
                    let body = ErrorBody::new(Code::IndexNotFound, Error::IndexNotFound(uid).to_string());
                    return Err(inside(position, Error::Refused { status: 404, body }));
                }
                Err(error) => return Err(inside(position, error)),
            }
        }
        if filters.is_empty() {
            return Ok(request);
        }
        request.with_filters(&filters).map_err(|_| Error::Internal("a joined filter is no filter".into()))
    }

    async fn joined_rules(
        &self,
        rules: Vec<Option<Bytes>>,
        readings: &[Result<Reading, Error>],
    ) -> Result<Vec<Option<Bytes>>, Error> {
        let mut joined = Vec::with_capacity(rules.len());
        for (position, (rule, index)) in rules.into_iter().zip(readings).enumerate() {
            joined.push(match index {
                Ok(index) => {
                    let rule = self.joined_rule(index, rule.as_deref()).await;
                    rule.map_err(|error| inside(position, error))?.map(Bytes::from)
                }
                Err(_) => rule,
            });
        }
        Ok(joined)
    }

    fn plan_queries<'a>(
        &self,
        request: &'a MultiSearchRequest,
        rules: Vec<Option<Bytes>>,
        readings: Vec<Result<Reading, Error>>,
    ) -> QueryPlan<'a> {
        let mut plan = QueryPlan { queries: Vec::with_capacity(rules.len()), refused: None };
        let distinct = request.federation.as_ref().and_then(|federation| federation.distinct.as_deref());
        for (((position, query), rule), index) in request.queries.iter().enumerate().zip(rules).zip(readings) {
            match self.plan_query(query, index, request.federation.is_some(), distinct, rule) {
                Ok(planned) => plan.queries.push(planned),
                Err(error) => {
                    plan.refused = Some(inside(position, error));
                    break;
                }
            }
        }
        plan
    }

    fn plan_query<'a>(
        &self,
        query: &'a Query,
        index: Result<Reading, Error>,
        is_federated: bool,
        distinct: Option<&str>,
        rule: Option<Bytes>,
    ) -> Result<Planned<'a>, Error> {
        if query.options.is_some() && !is_federated {
            let message = "Using `federationOptions` is not allowed in a non-federated search.\n - Hint: remove `federationOptions` from the query or add `federation` to the request.";
            return Err(Error::Invalid(ErrorBody::new(Code::InvalidMultiSearchFederationOptions, message)));
        }
        let index = index?;
        let mut search = query.search.clone();
        if let Some(distinct) = distinct.filter(|_| search.own_distinct().is_none()) {
            search.demand_distinct(distinct);
        }
        match self.refusal(&index, &search) {
            Some(refusal) => Err(Error::Invalid(refusal)),
            None => {
                Ok(Planned { facts: Facts::with_rules(&index, self.state.active_rules()), index, query, search, rule })
            }
        }
    }

    async fn search_side_by_side(&self, plan: &QueryPlan<'_>, wants: Wants, start: Instant) -> Result<Answer, Error> {
        let mut degraded = Degraded::default();
        let mut answers = Vec::with_capacity(plan.queries.len());
        let batches: Vec<&[Planned<'_>]> = plan.queries.chunks(TOGETHER).collect();
        for at_once in batches.chunks(AT_ONCE) {
            let mut asked = Vec::with_capacity(at_once.len());
            for queries in at_once {
                asked.push(self.search_together(queries, start));
            }
            for batch in join_all(asked).await {
                let batch = batch?;
                degraded = degraded.and(batch.degraded);
                answers.extend(batch.answers);
            }
        }
        if wants.metadata {
            for (query, answer) in plan.queries.iter().zip(&mut answers) {
                tell_of_query(&metadata(&query.index, query.search.given_query(), &new_uid()), answer);
            }
        }
        let named = plan.queries.iter().zip(&answers).map(|(query, answer)| (query.index.uid.as_str(), &answer[..]));
        Ok(Answer { body: write_results(named).into(), degraded })
    }

    /// Each node is asked once for all queries; equal ones are asked once.
    async fn search_together(&self, queries: &[Planned<'_>], start: Instant) -> Result<Batch, Error> {
        let same_as: Vec<usize> = (0..queries.len()).map(|position| first_like(queries, position)).collect();
        let (targets, of_target) = targets(queries, |position| same_as.get(position) == Some(&position));
        let call = |shares: &[Share]| {
            let mut body = b"{\"queries\":[".to_vec();
            let mut asked = 0;
            for share in shares {
                let filter = share.filter();
                for query in of_target.get(share.target).into_iter().flatten().filter_map(|n| queries.get(*n)) {
                    let (rule, unmet) = (query.rule.as_deref(), Some(&share.unmet));
                    let scope = Scope { shards: filter.as_deref(), rule, unmet };
                    body.extend_from_slice(if asked > 0 { b",{\"indexUid\":" } else { b"{\"indexUid\":" });
                    miroir_core::base::json::quote_into(query.index.physical.as_str(), &mut body);
                    body.push(b',');
                    let search = query.search.node_body(&query.facts.view(&query.index), &scope);
                    body.extend_from_slice(search.get(1..).unwrap_or_default());
                    asked += 1;
                }
            }
            body.extend_from_slice(b"]}");
            self.multi_search_call(body).searching(asked)
        };
        let joint = self.gather_jointly(&targets, fingerprint(queries), call).await?;
        let mut found: Vec<Vec<&[u8]>> = queries.iter().map(|_| Vec::new()).collect();
        for part in &joint.parts {
            sort_in(part, &of_target, &mut found)?;
        }
        let request_uid = new_uid();
        let mut answers: Vec<Vec<u8>> = Vec::with_capacity(queries.len());
        let mut degraded = joint.degraded;
        for ((query, same), found) in queries.iter().zip(&same_as).zip(&found) {
            let answer = match answers.get(*same) {
                Some(known) => known.clone(),
                None => {
                    let view = query.facts.view(&query.index);
                    let merged = merge(&query.search, &view, found, elapsed_ms(start), Some(&request_uid))?;
                    let (answer, joined) = self.hydrated(Joining::Of(&query.index), merged).await?;
                    degraded = degraded.and(joined);
                    answer
                }
            };
            answers.push(answer);
        }
        Ok(Batch { answers, degraded })
    }
}

/// The first query that is the same as the one at `position`.
fn first_like(queries: &[Planned<'_>], position: usize) -> usize {
    let same = |a: &Planned<'_>, b: &Planned<'_>| a.index.uid == b.index.uid && a.search.is_same(&b.search);
    let this = queries.get(position);
    queries.iter().position(|other| this.is_some_and(|this| same(this, other))).unwrap_or(position)
}

/// The indexes of the queries, each once, and the positions of each one's queries that are to be asked.
pub(crate) fn targets<'a>(
    queries: &'a [Planned<'_>],
    is_asked: impl Fn(usize) -> bool,
) -> (Vec<Target<'a>>, Vec<Vec<usize>>) {
    let (mut targets, mut of_target): (Vec<Target<'a>>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
    for (position, query) in queries.iter().enumerate().filter(|(position, _)| is_asked(*position)) {
        let known = targets.iter().position(|target| target.index.physical == query.index.physical);
        let at = known.unwrap_or(targets.len());
        if known.is_none() {
            let named = Named::SearchedOnBy(Vec::new());
            targets.push(Target { index: &query.index, shards: all_shards(&query.index), named });
            of_target.push(Vec::new());
        }
        if let Some(positions) = of_target.get_mut(at) {
            positions.push(position);
        }
        if let Some(Target { named: Named::SearchedOnBy(searches), .. }) = targets.get_mut(at) {
            searches.push(&query.search);
        }
    }
    (targets, of_target)
}

/// Equal multi-searches, their pages aside, ask equal nodes.
pub(crate) fn fingerprint(queries: &[Planned<'_>]) -> u64 {
    queries.iter().fold(0, |sum: u64, query| sum.rotate_left(7) ^ query.search.fingerprint())
}

/// Hands a node's answers to the queries that they are for.
fn sort_in<'a>(part: &'a JointPart, of_target: &[Vec<usize>], found: &mut [Vec<&'a [u8]>]) -> Result<(), Error> {
    let malformed = |why: String| Error::Answer { node: part.node().into(), why };
    let answers = results(&part.reply.body).map_err(|error| malformed(error.to_string()))?;
    let asked: Vec<usize> =
        part.shares.iter().filter_map(|share| of_target.get(share.target)).flatten().copied().collect();
    if answers.len() != asked.len() {
        return Err(malformed(format!("{} answers to {} queries", answers.len(), asked.len())));
    }
    for (query, answer) in asked.into_iter().zip(answers) {
        if let Some(found) = found.get_mut(query) {
            found.push(answer);
        }
    }
    Ok(())
}

/// An error of one query as the error of the whole, as Meilisearch words it: the index is not named by the path, so that
/// one that is missing is a bad request.
fn inside(position: usize, error: Error) -> Error {
    let prefixed = |mut body: ErrorBody| {
        body.message = format!("Inside `.queries[{position}]`: {}", body.message);
        body
    };
    if matches!(error, Error::IndexNotFound(_)) {
        let body = ErrorBody::new(Code::IndexNotFound, error.to_string());
        return Error::Refused { status: 400, body: prefixed(body) };
    }
    if let Error::Invalid(body) = error {
        return Error::Invalid(prefixed(body));
    }
    if let Error::Refused { status, body } = error {
        return Error::Refused { status, body: prefixed(body) };
    }
    error
}
