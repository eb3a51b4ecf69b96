//! What is not compared, each with its reason: what depends on how documents lie on servers, and what development nodes
//! do not do.

use serde_json::Value;

use super::generate::OTHER;
use super::{Body, Request};
use crate::binaries;

/// Members of a batch's statistics that tell how long each step took, how large each table was and how busy a queue:
/// all are a node's own, and a server leaves them out as well when it has nothing to say.
const UNTOLD: [&str; 3] = ["progressTrace", "internalDatabaseSizes", "writeChannelCongestion"];

/// Whether a member of an answer is left out of the comparison. Development nodes give no number to a search.
pub fn is_untold(member: &str) -> bool {
    UNTOLD.contains(&member) || (member == "requestUid" && binaries::meilisearch().is_none())
}

/// Whether two servers can be expected to answer alike.
pub fn is_comparable(request: &Request) -> bool {
    if binaries::meilisearch().is_none() && is_beyond_development_nodes(request) {
        return false;
    }
    match &request.body {
        Body::Json(body) => {
            !has_unordered_page(request, body) && !counts_by_offset(body) && !is_estimate(request, body)
        }
        Body::None | Body::Raw(..) => true,
    }
}

/// Servers list documents in orders of their own: only whole lists, empty ones and sorted ones can be compared.
fn has_unordered_page(request: &Request, body: &Value) -> bool {
    request.path.ends_with("/documents/fetch")
        && body.is_object()
        && !matches!(body["limit"].as_u64(), Some(0 | 1000..))
        && !is_sorted(body)
}

/// Whether a sort leaves no two documents equal: `n` is a number that each has for itself.
fn is_sorted(body: &Value) -> bool {
    let keys = body["sort"].as_array().into_iter().flatten();
    keys.filter_map(Value::as_str).any(|key| key.starts_with("n:"))
}

/// Counting by offset, servers stop to weigh hits against a threshold when the page is full.
fn counts_by_offset(body: &Value) -> bool {
    let queries = body["queries"].as_array().into_iter().flatten();
    std::iter::once(body)
        .chain(queries)
        .any(|search| search.get("rankingScoreThreshold").is_some() && search.get("page").is_none())
}

/// The total of distinct hits is an estimate unless all are listed, and their facets count what is distinct per node.
fn is_estimate(request: &Request, body: &Value) -> bool {
    let whole = |paging: &Value| {
        matches!(paging["limit"].as_u64(), Some(1000..))
            && ["page", "hitsPerPage", "offset", "facets", "facetsByIndex"]
                .iter()
                .all(|name| paging.get(name).is_none())
    };
    let of_federation = body.get("federation").filter(|federation| federation.is_object());
    let queries = body["queries"].as_array().into_iter().flatten();
    let is_other = |query: &Value| query["indexUid"] == OTHER || request.path.contains(OTHER);
    std::iter::once(body).chain(queries.clone()).chain(of_federation).any(|search| {
        search.get("distinct").is_some()
            && (!whole(of_federation.unwrap_or(search)) || is_other(search) || queries.clone().any(is_other))
    })
}

/// Whether hits may be other ones, and only their number has to be the same. The graph of vectors by which development
/// nodes find them does not find each. And where a sort stands between relevance rules, nodes do not show the scores by
/// which hits of several queries compare: they are made up from those of the rules.
pub fn is_approximate(request: &Request) -> bool {
    if matches!(&request.body, Body::Json(body) if is_federation_of_sorted(body)) {
        return true;
    }
    binaries::meilisearch().is_none()
        && (request.path.ends_with("/similar")
            || matches!(&request.body, Body::Json(body) if body.get("vector").is_some()))
}

fn is_federation_of_sorted(body: &Value) -> bool {
    let queries: Vec<&Value> = body["queries"].as_array().into_iter().flatten().collect();
    let sorts = |query: &&Value| query["sort"].as_array().is_some_and(|sort| !sort.is_empty());
    body["federation"].is_object() && queries.len() > 1 && queries.iter().any(sorts)
}

/// Whether the order of `results` is part of the answer.
pub fn keeps_order(request: &Request) -> bool {
    matches!(&request.body, Body::Json(body) if is_sorted(body))
        || request.query.iter().any(|(name, value)| name == "sort" && value.contains("n:"))
}

/// Development nodes do what Miroir asks of nodes, with an older engine. They do not read documents as CSV, judge what is
/// no document, know `skipCreation`, list, cancel or delete tasks by every filter, rename indexes, or count what a
/// threshold leaves as a server does.
fn is_beyond_development_nodes(request: &Request) -> bool {
    let is_write = request.method != "GET" && request.path.ends_with("/documents");
    let documents = match &request.body {
        Body::Json(Value::Array(documents)) => documents.iter().all(Value::is_object),
        Body::Json(_) => false,
        Body::Raw(_, kind) => *kind == "application/x-ndjson",
        Body::None => true,
    };
    let threshold = matches!(&request.body, Body::Json(body) if body.to_string().contains("rankingScoreThreshold"));
    let is_plain = |(name, value): &(String, String)| name == "limit" && value.parse::<u32>().is_ok();
    let listed = request.path != "/tasks" || request.query.iter().all(is_plain);
    let odd = |(name, value): &(String, String)| {
        matches!(name.as_str(), "skipCreation" | "csvDelimiter") || (name == "sort" && value.is_empty())
    };
    // Without any query no node says that it does not number requests.
    let empty = matches!(&request.body, Body::Json(body) if body["queries"].as_array().is_some_and(Vec::is_empty));
    let renames = match &request.body {
        Body::Json(body) if request.path == "/swap-indexes" => body.to_string().contains("rename"),
        Body::Json(body) => request.method == "PATCH" && body.get("uid").is_some(),
        Body::None | Body::Raw(..) => false,
    };
    let selects = request.path.starts_with("/tasks") && request.method != "GET";
    renames || selects || (is_write && !documents) || empty || threshold || !listed || request.query.iter().any(odd)
}
