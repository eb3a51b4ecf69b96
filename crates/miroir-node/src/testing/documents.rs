//! A node that keeps documents and settings in memory, as far as tests of what stands before nodes need one: tasks are done
//! one after the other, each takes its time, and searches find everything that their shards hold. What a real server
//! answers is shown by the end-to-end tests, and not here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::FakeNode;

/// When everything happens.
const AT: &str = "2026-01-01T00:00:00Z";

/// An index of the node.
#[derive(Clone, Default)]
struct Stored {
    primary_key: Option<String>,
    settings: Map<String, Value>,
    documents: BTreeMap<String, Value>,
}

/// What a task does when its time has come.
enum Change {
    Create(Option<String>),
    Add { documents: Vec<Value>, primary_key: Option<String>, merges: bool },
    Delete(Vec<String>),
    Set(Map<String, Value>),
    Drop,
}

struct Pending {
    uid: u64,
    index: String,
    at: Instant,
    change: Change,
}

#[derive(Default)]
struct Contents {
    indexes: BTreeMap<String, Stored>,
    tasks: Vec<Value>,
    pending: Vec<Pending>,
    /// How long a task takes.
    busy: Duration,
    /// Settings that it takes and does not keep.
    forgets: Option<&'static str>,
    /// Settings that it fails to apply.
    rejects: Option<&'static str>,
}

/// What a node of tests holds.
#[derive(Clone, Default)]
pub struct Documents(Arc<Mutex<Contents>>);

impl Documents {
    /// A node that holds nothing yet, and what it will hold.
    pub fn node() -> (FakeNode, Self) {
        let documents = Self::default();
        let held = documents.clone();
        (FakeNode::reading(move |method, path, body| held.contents().answer(method, path, body)), documents)
    }

    /// From now on each task takes so long.
    pub fn takes(&self, busy: Duration) {
        self.contents().busy = busy;
    }

    /// From now on it reports this setting as changed and keeps what it had; `None`: it keeps all.
    pub fn forgets(&self, setting: Option<&'static str>) {
        self.contents().forgets = setting;
    }

    /// From now on its tasks that change this setting fail; `None`: none does.
    pub fn rejects(&self, setting: Option<&'static str>) {
        self.contents().rejects = setting;
    }

    /// Whether all its tasks have ended.
    pub fn is_idle(&self) -> bool {
        let mut contents = self.contents();
        contents.advance();
        contents.pending.is_empty()
    }

    /// The documents of an index that its tasks have stored by now, by id and without fields of Miroir's own; `None`: there
    /// is no such index.
    pub fn of(&self, index: &str) -> Option<BTreeMap<String, Value>> {
        let mut contents = self.contents();
        contents.advance();
        let documents = contents.indexes.get(index)?.documents.iter();
        Some(documents.map(|(id, document)| (id.clone(), shown(document))).collect())
    }

    /// A setting that an index has by now.
    pub fn setting(&self, index: &str, name: &str) -> Option<Value> {
        let mut contents = self.contents();
        contents.advance();
        contents.indexes.get(index)?.settings.get(name).cloned()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error as nodes word theirs.
fn error(code: &str, message: &str) -> Value {
    json!({ "message": message, "code": code, "type": "invalid_request", "link": "" })
}

fn no_index(uid: &str) -> Value {
    error("index_not_found", &format!("Index `{uid}` not found."))
}

/// A document as clients see it.
fn shown(document: &Value) -> Value {
    let members = document.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| !name.starts_with("_miroir_"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The text of an id.
fn text_of(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

fn id_in(document: &Value, primary_key: Option<&str>) -> Option<String> {
    document.get(primary_key.unwrap_or("id")).map(text_of)
}

/// Documents as an array, one, or several in lines.
fn documents_in(body: &[u8]) -> Vec<Value> {
    let values = serde_json::Deserializer::from_slice(body).into_iter::<Value>().map_while(Result::ok);
    values.flat_map(|value| if let Value::Array(list) = value { list } else { vec![value] }).collect()
}

/// Whether a filter, which names the stored forms of shards where it confines, lets a document pass.
fn passes(filter: &Value, document: &Value) -> bool {
    let Some(shard) = document.get("_miroir_shard").and_then(Value::as_str) else { return true };
    let text = filter.to_string();
    !text.contains("_miroir_shard") || text.contains(shard)
}

impl Contents {
    /// Do what is due by now.
    fn advance(&mut self) {
        let now = Instant::now();
        while self.pending.first().is_some_and(|pending| pending.at <= now) {
            let Pending { uid, index, change, .. } = self.pending.remove(0);
            let error = self.apply(&index, change);
            let Some(task) = usize::try_from(uid).ok().and_then(|uid| self.tasks.get_mut(uid)) else { continue };
            task["status"] = json!(if error.is_some() { "failed" } else { "succeeded" });
            task["error"] = json!(error);
            task["startedAt"] = json!(AT);
            task["finishedAt"] = json!(AT);
        }
    }

    /// Returns what went wrong; the index is then as before.
    fn apply(&mut self, uid: &str, change: Change) -> Option<Value> {
        match change {
            Change::Create(_) if self.indexes.contains_key(uid) => {
                return Some(error("index_already_exists", &format!("Index `{uid}` already exists.")));
            }
            Change::Create(primary_key) => {
                self.indexes.insert(uid.to_owned(), Stored { primary_key, ..Stored::default() });
            }
            Change::Add { documents, primary_key, merges } => {
                let index = self.indexes.entry(uid.to_owned()).or_default();
                index.primary_key = index.primary_key.take().or(primary_key);
                for document in documents {
                    let Some(id) = id_in(&document, index.primary_key.as_deref()) else { continue };
                    match index.documents.get_mut(&id).and_then(Value::as_object_mut) {
                        Some(old) if merges => old.extend(document.as_object().cloned().unwrap_or_default()),
                        _ => drop(index.documents.insert(id, document)),
                    }
                }
            }
            Change::Delete(ids) => {
                let Some(index) = self.indexes.get_mut(uid) else {
                    return Some(no_index(uid));
                };
                index.documents.retain(|id, _| !ids.contains(id));
            }
            Change::Set(settings) => {
                if self.rejects.is_some_and(|name| settings.contains_key(name)) {
                    return Some(error("invalid_settings", "the test says no"));
                }
                let forgets = self.forgets;
                let index = self.indexes.entry(uid.to_owned()).or_default();
                for (name, value) in settings {
                    if forgets == Some(name.as_str()) {
                        continue;
                    }
                    if value.is_null() {
                        drop(index.settings.remove(&name))
                    } else {
                        drop(index.settings.insert(name, value))
                    }
                }
            }
            Change::Drop => drop(self.indexes.remove(uid)),
        }
        None
    }

    fn enqueue(&mut self, index: &str, kind: &str, change: Change) -> (StatusCode, Value) {
        let uid = self.tasks.len() as u64;
        let begins = self.pending.last().map_or_else(Instant::now, |last| last.at.max(Instant::now()));
        let task = json!({
            "uid": uid, "batchUid": null, "indexUid": index, "status": "enqueued", "type": kind, "canceledBy": null,
            "details": {}, "error": null, "duration": null, "enqueuedAt": AT,
            "startedAt": null, "finishedAt": null,
        });
        self.tasks.push(task);
        self.pending.push(Pending { uid, index: index.to_owned(), at: begins + self.busy, change });
        let summary = json!({
            "taskUid": uid, "indexUid": index, "status": "enqueued", "type": kind, "enqueuedAt": AT,
        });
        (StatusCode::ACCEPTED, summary)
    }

    fn answer(&mut self, method: &str, path: &str, body: &[u8]) -> (StatusCode, Value) {
        self.advance();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let sent = || serde_json::from_slice::<Value>(body).unwrap_or_default();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method, segments.as_slice()) {
            ("GET", ["health"]) => (StatusCode::OK, json!({ "status": "available" })),
            ("GET", ["version"]) => {
                (StatusCode::OK, json!({ "commitSha": "test", "commitDate": "test", "pkgVersion": "1.50.0" }))
            }
            ("GET", ["tasks"]) => (StatusCode::OK, self.listed(parameter("uids"), parameter("limit"))),
            ("POST", ["multi-search"]) => {
                let queries = sent()["queries"].as_array().cloned().unwrap_or_default();
                let mut results = Vec::new();
                for query in queries {
                    let uid = query["indexUid"].as_str().unwrap_or_default().to_owned();
                    let (status, mut answer) = self.search(&uid, &query);
                    if status != StatusCode::OK {
                        return (status, answer);
                    }
                    answer["indexUid"] = json!(uid);
                    results.push(answer);
                }
                (StatusCode::OK, json!({ "results": results }))
            }
            ("POST", ["indexes"]) => {
                let sent = sent();
                let key = sent["primaryKey"].as_str().map(str::to_owned);
                self.enqueue(sent["uid"].as_str().unwrap_or_default(), "indexCreation", Change::Create(key))
            }
            ("POST" | "PUT", ["indexes", uid, "documents"]) => {
                let primary_key = parameter("primaryKey").map(str::to_owned);
                let change = Change::Add { documents: documents_in(body), primary_key, merges: method == "PUT" };
                self.enqueue(uid, "documentAdditionOrUpdate", change)
            }
            ("POST", ["indexes", uid, "documents", "delete-batch"]) => {
                let ids = sent().as_array().into_iter().flatten().map(text_of).collect();
                self.enqueue(uid, "documentDeletion", Change::Delete(ids))
            }
            ("PATCH", ["indexes", uid, "settings"]) => {
                self.enqueue(uid, "settingsUpdate", Change::Set(sent().as_object().cloned().unwrap_or_default()))
            }
            ("DELETE", ["indexes", uid]) => self.enqueue(uid, "indexDeletion", Change::Drop),
            (_, ["indexes", uid, ..]) if !self.indexes.contains_key(*uid) => (StatusCode::NOT_FOUND, no_index(uid)),
            ("GET", ["indexes", uid]) => {
                let key = self.indexes[*uid].primary_key.clone();
                (StatusCode::OK, json!({ "uid": uid, "createdAt": AT, "updatedAt": AT, "primaryKey": key }))
            }
            ("GET", ["indexes", uid, "settings"]) => {
                (StatusCode::OK, Value::Object(self.indexes[*uid].settings.clone()))
            }
            ("POST", ["indexes", uid, "search"]) => self.search(uid, &sent()),
            _ => {
                let message = format!("{method} {path}: a node of tests does not know this");
                (StatusCode::NOT_FOUND, error("not_found", &message))
            }
        }
    }

    /// Tasks by their numbers, or the newest.
    fn listed(&self, uids: Option<&str>, limit: Option<&str>) -> Value {
        let wanted: Option<Vec<u64>> = uids.map(|uids| {
            uids.split(',').flat_map(|uids| uids.split("%2C")).filter_map(|uid| uid.parse().ok()).collect()
        });
        let limit = limit.and_then(|limit| limit.parse().ok()).unwrap_or(20);
        let is_wanted = |task: &&Value| {
            wanted.as_ref().is_none_or(|wanted| task["uid"].as_u64().is_some_and(|uid| wanted.contains(&uid)))
        };
        let results: Vec<&Value> = self.tasks.iter().rev().filter(is_wanted).take(limit).collect();
        let from = results.first().map(|task| task["uid"].clone());
        json!({ "results": results, "total": self.tasks.len(), "limit": limit, "from": from, "next": null })
    }

    fn search(&self, uid: &str, search: &Value) -> (StatusCode, Value) {
        let Some(index) = self.indexes.get(uid) else {
            return (StatusCode::NOT_FOUND, no_index(uid));
        };
        let found = index.documents.values().filter(|document| passes(&search["filter"], document));
        let mut hits: Vec<Value> = found.cloned().collect();
        let total = hits.len();
        let number = |name: &str| search[name].as_u64().and_then(|number| usize::try_from(number).ok());
        hits.truncate(number("limit").or(number("hitsPerPage")).unwrap_or(20));
        for hit in &mut hits {
            if search["showRankingScoreDetails"] == true {
                hit["_rankingScoreDetails"] = json!({});
            }
            if search["showRankingScore"] == true {
                hit["_rankingScore"] = json!(1.0);
            }
        }
        let mut answer =
            json!({ "hits": hits, "query": search["q"].as_str().unwrap_or_default(), "processingTimeMs": 0 });
        if let Some(per_page) = number("hitsPerPage") {
            answer["hitsPerPage"] = json!(per_page);
            answer["page"] = json!(number("page").unwrap_or(1));
            answer["totalPages"] = json!(total.div_ceil(per_page.max(1)));
            answer["totalHits"] = json!(total);
        } else {
            answer["limit"] = json!(number("limit").unwrap_or(20));
            answer["offset"] = json!(0);
            answer["estimatedTotalHits"] = json!(total);
        }
        (StatusCode::OK, answer)
    }
}
