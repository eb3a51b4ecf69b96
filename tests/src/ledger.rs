//! Clients that write, update and delete all the time, and what must be there when they have stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::rng::Rng;
use crate::wait::{self, AtLast};

/// Documents of one batch.
const BATCH: usize = 20;
/// Batches of one writer, so that an index does not grow for ever.
const MOST: usize = 2000;
/// Between two writes of a writer: many small writes, but no more than the nodes can do at one time.
const PACE: Duration = Duration::from_millis(40);
/// After so many writes a writer waits for the last of them, so that nodes are never far behind.
const AHEAD: usize = 4;
/// The longest that it waits; an instance may have been killed.
const CATCH_UP: Duration = Duration::from_secs(10);
const BOUND: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
struct Entries {
    /// What was acknowledged last of each id.
    documents: BTreeMap<String, Value>,
    /// Nobody knows what became of the last write of these. They are not written again.
    unsure: BTreeSet<String>,
    refused: Vec<String>,
}

/// What writers were told.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<Entries>,
    stop: AtomicBool,
    acknowledged: AtomicUsize,
}

/// What a write does to documents.
enum Change {
    Put(Vec<Value>),
    Delete(Vec<String>),
}

impl Ledger {
    /// The index that they write to, with what they need.
    pub fn prepare(client: &Client, index: &str) {
        client.create(index, "id");
        client.configure(index, &json!({ "filterableAttributes": ["writer", "batch"] }));
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Documents that were there before, by id.
    pub fn knows(&self, documents: &[Value]) {
        let named = documents.iter().map(|document| (id_of(document), document.clone()));
        self.entries().documents.extend(named);
    }

    /// When it goes, writers stop after the write that they are at.
    pub fn writing(&self) -> AtLast<'_> {
        AtLast(&self.stop)
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Writes that were refused, in words.
    pub fn refused(&self) -> Vec<String> {
        self.entries().refused.clone()
    }

    /// Wait until so many more writes were acknowledged.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn progress(&self, by: usize) {
        let before = self.acknowledged();
        wait::eventually("writes go on", BOUND, || (self.acknowledged() >= before + by).then_some(()));
    }

    /// Write through these clients in turn, until told to stop: new documents, updates, deletions by id and by filter.
    pub fn write(&self, clients: &[Client], index: &str, writer: usize) {
        let mut rng = Rng::new(writer as u64 + 1);
        let mut own: Vec<usize> = Vec::new();
        for n in 0..MOST {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let client = &clients[(writer + n) % clients.len()];
            let batch = if own.is_empty() { 0 } else { own[rng.below(own.len())] };
            match rng.below(10) {
                0..=4 => {
                    own.push(n);
                    self.put(client, index, writer, n);
                }
                5..=6 => self.merge(client, index, writer, batch, n),
                7..=8 => self.delete(client, index, writer, batch, rng.below(BATCH)),
                _ if own.len() > 3 => {
                    own.retain(|other| *other != batch);
                    self.delete_batch(client, index, writer, batch);
                }
                _ => self.merge(client, index, writer, batch, n),
            }
            std::thread::sleep(PACE);
            if n % AHEAD == 0 {
                wait::poll(CATCH_UP, || {
                    let open = client.try_send("GET", "/tasks?statuses=enqueued,processing&limit=1", None, &[]).ok()?;
                    (open.body["total"].as_u64()? < 2 * AHEAD as u64).then_some(())
                });
            }
        }
    }

    /// Those of a batch that are there for certain.
    fn there(&self, writer: usize, batch: usize) -> Vec<Value> {
        let entries = self.entries();
        let ids = (0..BATCH).map(|i| name(writer, batch, i)).filter(|id| !entries.unsure.contains(id));
        ids.filter_map(|id| entries.documents.get(&id).cloned()).collect()
    }

    fn put(&self, client: &Client, index: &str, writer: usize, batch: usize) {
        let document = |i| {
            let id = name(writer, batch, i);
            json!({ "id": id, "writer": writer, "batch": batch, "text": format!("lasting word {i}"), "n": 0 })
        };
        let documents: Vec<Value> = (0..BATCH).map(document).collect();
        let body = Value::from(documents.clone());
        self.send(client, "POST", &format!("/indexes/{index}/documents"), &body, Change::Put(documents));
    }

    fn merge(&self, client: &Client, index: &str, writer: usize, batch: usize, n: usize) {
        let mut documents = self.there(writer, batch);
        documents.truncate(5);
        if documents.is_empty() {
            return;
        }
        let body: Value = documents.iter().map(|document| json!({ "id": document["id"], "n": n })).collect();
        documents.iter_mut().for_each(|document| document["n"] = json!(n));
        self.send(client, "PUT", &format!("/indexes/{index}/documents"), &body, Change::Put(documents));
    }

    fn delete(&self, client: &Client, index: &str, writer: usize, batch: usize, from: usize) {
        let ids: Vec<String> = self.there(writer, batch).iter().skip(from).take(3).map(id_of).collect();
        if !ids.is_empty() {
            let path = format!("/indexes/{index}/documents/delete-batch");
            self.send(client, "POST", &path, &json!(ids), Change::Delete(ids.clone()));
        }
    }

    fn delete_batch(&self, client: &Client, index: &str, writer: usize, batch: usize) {
        let ids = (0..BATCH).map(|i| name(writer, batch, i)).collect();
        let body = json!({ "filter": format!("writer = {writer} AND batch = {batch}") });
        self.send(client, "POST", &format!("/indexes/{index}/documents/delete"), &body, Change::Delete(ids));
    }

    fn send(&self, client: &Client, method: &str, path: &str, body: &Value, change: Change) {
        let headers = [("content-type", "application/json")];
        let answer = client.try_send(method, path, Some(body.to_string().as_bytes()), &headers);
        let mut entries = self.entries();
        match answer {
            Ok(answer) if answer.status == 202 => {
                match change {
                    Change::Put(documents) => {
                        entries.documents.extend(documents.into_iter().map(|document| (id_of(&document), document)));
                    }
                    Change::Delete(ids) => ids.iter().for_each(|id| _ = entries.documents.remove(id)),
                }
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(answer) => entries.refused.push(format!("{method} {path}: {}", answer.text)),
            // An instance was killed.
            Err(_) => {}
        }
        match change {
            Change::Put(documents) => entries.unsure.extend(documents.iter().map(id_of)),
            Change::Delete(ids) => entries.unsure.extend(ids),
        }
    }

    /// Wait until every task has ended, then: what must be there, and of which ids nobody knows.
    ///
    /// # Panics
    /// When a task has failed.
    #[track_caller]
    pub fn settle(&self, client: &Client) -> (BTreeMap<String, Value>, BTreeSet<String>) {
        client.all_ended(BOUND);
        let failed = client.get("/tasks?statuses=failed,canceled").expect(200);
        assert_eq!(failed.body["total"], 0, "{}", failed.text);
        let entries = self.entries();
        let certain = entries.documents.iter().filter(|(id, _)| !entries.unsure.contains(*id));
        (certain.map(|(id, document)| (id.clone(), document.clone())).collect(), entries.unsure.clone())
    }
}

fn name(writer: usize, batch: usize, i: usize) -> String {
    format!("w{writer}-{batch}-{i}")
}

fn id_of(document: &Value) -> String {
    document["id"].as_str().map_or_else(|| document["id"].to_string(), str::to_owned)
}
