//! The merge of what nodes answered to a federation: several queries, over one or several indexes, as one list.
//!
//! A node returns the hits of all its queries as one list. They are taken apart by query first: hits of one query compare
//! as those of any search, rule by rule, and make the list that one server would have for that query. These lists are then
//! merged by weighted scores, as one server merges its own.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::vec::IntoIter;

use thiserror::Error;

use super::MergeError;
use super::distinct::Taken;
use super::hit::{Edits, Head};
use super::pinned::order;
use super::rest::{Timed, member_into, paging_into, performance_into};
use crate::base::json::visit::{each_member, take_value};
use crate::base::json::{self, Scanner, SyntaxError};
use crate::read::facet::{self, Facets, NodeFacets};
use crate::read::multi_search::FederationRequest;
use crate::read::rank::{Weighted, number};
use crate::read::search::{IndexView, SearchRequest};
use crate::rules::{Pinned, Queue};

/// One query of a federation.
#[derive(Clone, Copy, Debug)]
pub struct FederatedQuery<'a> {
    /// As it was asked.
    pub request: &'a SearchRequest,
    /// Its index; the uid is the client's.
    pub index: IndexView<'a>,
    /// The nodes' name of the index.
    pub physical: &'a str,
    /// What scores are multiplied by.
    pub weight: f64,
}

/// A node's 200 answer to a federation.
#[derive(Clone, Copy, Debug)]
pub struct FederatedAnswer<'a> {
    /// The body.
    pub body: &'a [u8],
    /// Which of the client's queries the node was asked, in the order in which it was.
    pub queries: &'a [usize],
}

/// Why answers could not be merged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FederatedError {
    /// An answer is not that of a federation.
    #[error(transparent)]
    Answer(#[from] MergeError),
    /// Indexes order the values of a facet that is to be merged in different ways.
    #[error("indexes order the values of `{0}` in different ways")]
    FacetOrder(String),
}

/// Merges the answers, in the order of the plan, into the body of the client's answer.
///
/// # Errors
/// [`FederatedError`].
pub fn merge_federated(
    federation: &FederationRequest,
    queries: &[FederatedQuery<'_>],
    answers: &[FederatedAnswer<'_>],
    elapsed_ms: u64,
    request_uid: &str,
) -> Result<Vec<u8>, FederatedError> {
    let edits: Vec<Edits<'_>> = queries.iter().map(|query| Edits::federated(query.request, &query.index)).collect();
    let mut around = Vec::with_capacity(answers.len());
    let mut lists: Vec<Vec<Vec<Entry<'_>>>> = queries.iter().map(|_| Vec::new()).collect();
    for (position, answer) in answers.iter().enumerate() {
        let failed = |fault| MergeError { answer: position, fault };
        let read = read_answer(answer).map_err(failed)?;
        for (query, entries) in read_hits(&read, answer, position, queries, &edits).map_err(failed)? {
            if let Some(list) = lists.get_mut(query) {
                list.push(entries);
            }
        }
        around.push(read);
    }
    let pinned = take_pinned(&mut lists, queries);
    let streams: Vec<Stream<'_>> = lists.into_iter().zip(queries).map(|(nodes, query)| stream(nodes, query)).collect();
    let duplicates: u64 = streams.iter().map(|stream| stream.duplicates).sum();
    let streams = streams.into_iter().map(|stream| stream.hits).collect();
    let mut out = b"{\"hits\":[".to_vec();
    let mut merged = hits_into(federation, queries, &edits, streams, pinned, &mut out)?;
    // A node returns a document once, for one query: none was counted before.
    merged.duplicates += duplicates;
    out.push(b']');
    let rest = Rest { federation, queries, answers, around: &around, merged: &merged };
    rest.write(elapsed_ms, request_uid, &mut out)?;
    Ok(out)
}

/// A node's answer, taken apart.
#[derive(Default)]
struct Around<'a> {
    hits: Option<&'a [u8]>,
    total: Option<u64>,
    facets_by_index: Option<&'a [u8]>,
    query_vectors: Option<&'a [u8]>,
    is_semantic: bool,
    has_request_uid: bool,
    performance: Option<Timed<'a>>,
}

/// A hit on its way.
struct Entry<'a> {
    answer: usize,
    raw: &'a [u8],
    head: Head<'a>,
    weighted: Weighted<'a>,
    /// As the node wrote it.
    score: &'a [u8],
}

/// What the merge of the hits found out.
struct Merged {
    semantic: u64,
    duplicates: u64,
}

fn read_answer<'a>(answer: &FederatedAnswer<'a>) -> Result<Around<'a>, SyntaxError> {
    let mut around = Around::default();
    let (mut elapsed_ms, mut performance) = (0, None);
    let mut scanner = Scanner::new(answer.body, 0);
    if std::str::from_utf8(answer.body).is_err() {
        return scanner.error("an answer that is not UTF-8");
    }
    scanner.space();
    each_member(&mut scanner, |scanner, key, _| {
        let raw = take_value(scanner)?;
        match key {
            b"hits" => around.hits = Some(raw),
            b"estimatedTotalHits" | b"totalHits" => around.total = number(raw).map(|total| total as u64),
            b"facetsByIndex" => around.facets_by_index = Some(raw),
            b"queryVectors" => around.query_vectors = Some(raw),
            b"semanticHitCount" => around.is_semantic = true,
            b"requestUid" => around.has_request_uid = true,
            b"processingTimeMs" => elapsed_ms = number(raw).map_or(0, |elapsed_ms| elapsed_ms as u64),
            b"performanceDetails" => performance = Some(raw),
            _ => {}
        }
        Ok(())
    })?;
    around.performance = performance.map(|details| Timed { elapsed_ms, details });
    if around.total.is_none() {
        return scanner.error("an answer without a total");
    }
    Ok(around)
}

/// A node's hits by query, each query's in the node's order.
fn read_hits<'a>(
    around: &Around<'a>,
    answer: &FederatedAnswer<'a>,
    position: usize,
    queries: &[FederatedQuery<'a>],
    edits: &[Edits<'a>],
) -> Result<HashMap<usize, Vec<Entry<'a>>>, SyntaxError> {
    let fault = |reason| SyntaxError { offset: 0, reason };
    let mut by_query: HashMap<usize, Vec<Entry<'a>>> = HashMap::new();
    for raw in json::elements(around.hits.ok_or_else(|| fault("an answer without hits"))?)? {
        let raw = raw?;
        let (mut federation, mut details): (Option<&[u8]>, &[u8]) = (None, b"{}");
        for member in json::members(raw)? {
            let member = member?;
            match member.key {
                b"_federation" => federation = Some(member.value),
                b"_rankingScoreDetails" => details = member.value,
                _ => {}
            }
        }
        let federation = federation.ok_or_else(|| fault("a hit without its query"))?;
        let member = |name| json::get(federation, name);
        let asked = member("queriesPosition")?.and_then(number).map(|position| position as usize);
        let query = asked.and_then(|asked| answer.queries.get(asked)).copied();
        let score = member("weightedRankingScore")?;
        let (Some(query), Some(score)) = (query, score) else {
            return Err(fault("a hit of an unknown query"));
        };
        let (Some(of_query), Some(edits)) = (queries.get(query), edits.get(query)) else {
            return Err(fault("a hit of an unknown query"));
        };
        let mut head = Head::default();
        edits.read(&mut Scanner::new(raw, 0), &mut head)?;
        let weighted = Weighted::read(details, head.rank.score.unwrap_or_default(), of_query.weight)?;
        by_query.entry(query).or_default().push(Entry { answer: position, raw, head, weighted, score });
    }
    Ok(by_query)
}

/// Takes the pinned hits out of the nodes' lists. One server places those of all queries by position; of those that want
/// one position, by index, by query, and in the order of rules.
fn take_pinned<'a>(lists: &mut [Vec<Vec<Entry<'a>>>], queries: &[FederatedQuery<'a>]) -> Queue<(usize, Entry<'a>)> {
    let mut found = Vec::new();
    for (number, (nodes, query)) in lists.iter_mut().zip(queries).enumerate() {
        if query.index.pins.is_none() {
            continue;
        }
        for entries in nodes {
            let (pinned, others) =
                std::mem::take(entries).into_iter().partition(|entry| entry.head.rank.pin().is_some());
            *entries = others;
            let pinned: Vec<Entry<'a>> = pinned;
            for entry in pinned {
                let position = entry.head.rank.pin().unwrap_or_default();
                let order = order(query.request, &query.index, &entry.head, position);
                found.push(((query.index.uid, number, order), position, (number, entry)));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let pins = found.into_iter().enumerate().map(|(order, (_, position, hit))| Pinned { order, position, hit });
    Queue::new(pins.collect())
}

/// One query's hits from all nodes.
struct Stream<'a> {
    hits: IntoIter<Entry<'a>>,
    /// Hits dropped because a better one of the query has their distinct value.
    duplicates: u64,
}

/// One query's hits from all nodes, as one server would list them.
fn stream<'a>(nodes: Vec<Vec<Entry<'a>>>, query: &FederatedQuery<'a>) -> Stream<'a> {
    let ratio = query.request.semantic_ratio();
    let mut nodes: Vec<_> = nodes.into_iter().map(|entries| entries.into_iter().peekable()).collect();
    let mut merged = Vec::new();
    let mut taken = Taken::default();
    let mut duplicates = 0;
    let distinct = query.request.distinct(&query.index);
    loop {
        let mut best: Option<usize> = None;
        for position in 0..nodes.len() {
            let Some((before, rest)) = nodes.split_at_mut_checked(position) else { break };
            let Some(candidate) = rest.first_mut().and_then(|node| node.peek()) else { continue };
            let leader = best.and_then(|best| before.get_mut(best)).and_then(|node| node.peek());
            let leads =
                leader.is_none_or(|leader| candidate.head.rank.compare(&leader.head.rank, ratio) == Ordering::Less);
            if leads {
                best = Some(position);
            }
        }
        let Some(entry) = best.and_then(|best| nodes.get_mut(best)).and_then(Iterator::next) else { break };
        // Within a query each value counts once, whatever the federation demands besides.
        if distinct.is_none_or(|path| taken.admits(path, &entry.head.distinct)) {
            merged.push(entry);
        } else {
            duplicates += 1;
        }
    }
    Stream { hits: merged.into_iter(), duplicates }
}

/// Appends the hits of the client's page.
fn hits_into<'a>(
    federation: &FederationRequest,
    queries: &[FederatedQuery<'a>],
    edits: &[Edits<'a>],
    mut streams: Vec<IntoIter<Entry<'a>>>,
    mut pinned: Queue<(usize, Entry<'a>)>,
    out: &mut Vec<u8>,
) -> Result<Merged, MergeError> {
    let window = federation.paging.window(usize::MAX);
    let mut merged = Merged { semantic: 0, duplicates: 0 };
    let mut taken = Taken::default();
    let mut of_index: HashMap<&str, usize> = HashMap::new();
    let mut rank = 0;
    loop {
        let best = best(&streams);
        let pin = if rank < window.end { pinned.at(rank, best.is_some()) } else { None };
        let is_pinned = pin.is_some();
        let next = pin.or_else(|| best.and_then(|query| Some((query, streams.get_mut(query)?.next()?))));
        let Some((query, entry)) = next else { break };
        let Some((of_query, edits)) = queries.get(query).zip(edits.get(query)) else { break };
        if !is_pinned {
            // No index gives more hits than it may, nor more than the page could show.
            let given = of_index.entry(of_query.physical).or_default();
            if *given >= window.end.min(of_query.index.max_total_hits) {
                continue;
            }
            let admits = federation.distinct.as_deref().is_none_or(|path| taken.admits(path, &entry.head.distinct));
            if !admits {
                merged.duplicates += 1;
                continue;
            }
            *given += 1;
        }
        if window.contains(&rank) {
            if rank > window.start {
                out.push(b',');
            }
            let failed = |fault| MergeError { answer: entry.answer, fault };
            edits.write(entry.raw, &entry.head, out).map_err(failed)?;
            federation_into(of_query, query, entry.score, out);
            merged.semantic += u64::from(entry.head.rank.semantic);
        }
        rank += 1;
        if rank >= window.end && federation.distinct.is_none() {
            break;
        }
    }
    Ok(merged)
}

/// Which query has the best next hit; the earlier one on a tie.
fn best(streams: &[IntoIter<Entry<'_>>]) -> Option<usize> {
    let mut heads = streams.iter().enumerate().filter_map(|(query, stream)| Some((query, stream.as_slice().first()?)));
    let mut best = heads.next()?;
    for candidate in heads {
        if candidate.1.weighted.compare(&best.1.weighted) == Ordering::Less {
            best = candidate;
        }
    }
    Some(best.0)
}

/// Puts `_federation` behind the last member of the hit that was just written.
fn federation_into(query: &FederatedQuery<'_>, position: usize, score: &[u8], out: &mut Vec<u8>) {
    out.pop();
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.extend_from_slice(b"\"_federation\":{\"indexUid\":");
    json::quote_into(query.index.uid, out);
    member_into("queriesPosition", position as u64, out);
    out.extend_from_slice(b",\"weightedRankingScore\":");
    out.extend_from_slice(score);
    out.extend_from_slice(b"}}");
}

/// What stands behind the hits.
struct Rest<'a, 'b> {
    federation: &'b FederationRequest,
    queries: &'b [FederatedQuery<'a>],
    answers: &'b [FederatedAnswer<'a>],
    around: &'b [Around<'a>],
    merged: &'b Merged,
}

impl<'a> Rest<'a, '_> {
    fn write(&self, elapsed_ms: u64, request_uid: &str, out: &mut Vec<u8>) -> Result<(), FederatedError> {
        self.query_vectors_into(out)?;
        member_into("processingTimeMs", elapsed_ms, out);
        let sum = self.around.iter().fold(0u64, |sum, answer| sum.saturating_add(answer.total.unwrap_or_default()));
        let total = sum.saturating_sub(self.merged.duplicates);
        paging_into(self.federation.paging, total, out);
        self.facets_into(total, out)?;
        if self.around.iter().all(|answer| answer.has_request_uid) {
            out.extend_from_slice(b",\"requestUid\":");
            json::quote_into(request_uid, out);
        }
        if self.around.iter().any(|answer| answer.is_semantic) {
            member_into("semanticHitCount", self.merged.semantic, out);
        }
        performance_into(self.around.iter().filter_map(|answer| answer.performance), out);
        out.push(b'}');
        Ok(())
    }

    /// By the client's position of the query, as the first node has it.
    fn query_vectors_into(&self, out: &mut Vec<u8>) -> Result<(), MergeError> {
        if self.around.iter().all(|answer| answer.query_vectors.is_none()) {
            return Ok(());
        }
        let mut vectors: BTreeMap<usize, &[u8]> = BTreeMap::new();
        for (answer, (around, asked)) in self.around.iter().zip(self.answers).enumerate() {
            let failed = |fault| MergeError { answer, fault };
            for member in json::members(around.query_vectors.unwrap_or(b"{}")).map_err(failed)? {
                let member = member.map_err(failed)?;
                let query = number(member.key).and_then(|at| asked.queries.get(at as usize));
                if let Some(query) = query {
                    vectors.entry(*query).or_insert(member.value);
                }
            }
        }
        out.extend_from_slice(b",\"queryVectors\":{");
        for (position, (query, vector)) in vectors.into_iter().enumerate() {
            out.extend_from_slice(format!("{}\"{query}\":", if position > 0 { "," } else { "" }).as_bytes());
            out.extend_from_slice(vector);
        }
        out.push(b'}');
        Ok(())
    }

    fn facets_into(&self, total: u64, out: &mut Vec<u8>) -> Result<(), FederatedError> {
        let mut by_index: Vec<(&str, Facets<'_>, &IndexView<'_>)> = Vec::new();
        let mut wanted: Vec<&(String, Option<Vec<u8>>)> = self.federation.facets_by_index.iter().collect();
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        for (uid, facets) in wanted {
            let query = self.queries.iter().find(|query| query.index.uid == uid).filter(|_| facets.is_some());
            let Some(query) = query else { continue };
            by_index.push((query.index.uid, self.facets_of(query, total)?, &query.index));
        }
        if by_index.is_empty() {
            return Ok(());
        }
        let Some(bound) = self.federation.merge_facets else {
            out.extend_from_slice(b",\"facetsByIndex\":{");
            for (position, (uid, facets, _)) in by_index.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                json::quote_into(uid, out);
                out.extend_from_slice(b":{");
                facets.write("distribution", "stats", out);
                out.push(b'}');
            }
            out.push(b'}');
            return Ok(());
        };
        let facets = facet::join(by_index.into_iter().map(|(_, facets, index)| (facets, index)), bound)
            .map_err(FederatedError::FacetOrder)?;
        out.push(b',');
        facets.write("facetDistribution", "facetStats", out);
        Ok(())
    }

    /// One index's facets, from all nodes.
    fn facets_of(&self, query: &FederatedQuery<'_>, total: u64) -> Result<Facets<'a>, MergeError> {
        let mut nodes = Vec::with_capacity(self.around.len());
        let mut positions = Vec::with_capacity(self.around.len());
        for (answer, around) in self.around.iter().enumerate() {
            let failed = |fault| MergeError { answer, fault };
            let all = around.facets_by_index.unwrap_or(b"{}");
            let Some(of_index) = json::get(all, query.physical).map_err(failed)? else { continue };
            let member = |name| json::get(of_index, name).map(|raw| raw.unwrap_or(b"{}")).map_err(failed);
            let candidates = around.total.unwrap_or_default();
            nodes.push(NodeFacets { distribution: member("distribution")?, stats: member("stats")?, candidates });
            positions.push(answer);
        }
        let failed = |(node, fault): (usize, SyntaxError)| MergeError {
            answer: positions.get(node).copied().unwrap_or_default(),
            fault,
        };
        facet::merged(&nodes, total, &query.index).map_err(failed)
    }
}

#[cfg(test)]
mod tests;
