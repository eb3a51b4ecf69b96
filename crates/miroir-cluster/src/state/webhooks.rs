//! Webhooks: who is told of finished tasks, and what waits to be told. `task::webhooks` tells it.
//!
//! Invariant: each webhook has a queue of its own, and somebody who empties it, so that one nobody answers for delays and drops only what
//! is its own. Tasks are told in the order in which they end. What cannot be delivered after a few attempts, and what ends
//! while too much waits already, is told to nobody, and counted: the registry of tasks is the truth, webhooks are a
//! courtesy.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use miroir_core::config::Config;
use miroir_core::write::task::Task;
use miroir_core::write::webhook::{Webhook, WebhookError};
use miroir_store::{Records, Store, StoreError, Table, TypedTable, View};
use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::state::follow::Follow;
use crate::{Error, State};

/// Finished tasks that wait to be told to one webhook, and their bytes. More than these are not told.
const QUEUE: usize = 10_000;
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Tasks told in one request.
const TOGETHER: usize = 1000;

const TABLE: TypedTable<Webhook> = TypedTable::new(Table::Webhooks);

type Hooks = BTreeMap<Uuid, Webhook>;

/// Who is told, and what they are still to be told.
pub struct Webhooks {
    pub(crate) hooks: View<Webhook, Hooks>,
    /// Of those that were told anything.
    queues: Mutex<HashMap<Uuid, Queue>>,
    /// Queues that have nobody yet who tells what is in them: no more than there are webhooks.
    begun: mpsc::UnboundedSender<(Uuid, Waiting)>,
    /// Taken by who has them told.
    pub(crate) beginning: Mutex<Option<mpsc::UnboundedReceiver<(Uuid, Waiting)>>>,
}

/// Where tasks are put for one webhook.
struct Queue {
    tasks: mpsc::Sender<Bytes>,
    bytes: Arc<AtomicUsize>,
}

/// Where they are taken from.
pub(crate) struct Waiting {
    tasks: mpsc::Receiver<Bytes>,
    bytes: Arc<AtomicUsize>,
}

fn queue() -> (Queue, Waiting) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let bytes = Arc::new(AtomicUsize::new(0));
    (Queue { tasks: sender, bytes: bytes.clone() }, Waiting { tasks: receiver, bytes })
}

impl Queue {
    /// Whether there was room.
    fn put(&self, task: Bytes) -> bool {
        let length = task.len();
        let fits = self.bytes.fetch_add(length, Ordering::AcqRel) + length <= QUEUE_BYTES;
        let put = fits && self.tasks.try_send(task).is_ok();
        if !put {
            self.bytes.fetch_sub(length, Ordering::AcqRel);
        }
        put
    }
}

impl Waiting {
    /// The next tasks; none: there will be no more.
    pub(crate) async fn take(&mut self) -> Option<Vec<Bytes>> {
        let mut tasks = Vec::new();
        if self.tasks.recv_many(&mut tasks, TOGETHER).await == 0 {
            return None;
        }
        self.bytes.fetch_sub(tasks.iter().map(Bytes::len).sum(), Ordering::AcqRel);
        Some(tasks)
    }
}

impl Webhooks {
    /// What the store remembers, and the one that the configuration names.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Arc<dyn Store>, config: &Config) -> Result<Self, StoreError> {
        let configured = config.task_webhook.url.as_ref().map(|url| {
            let secret = config.task_webhook.authorization_header.iter();
            let headers = secret.map(|value| ("Authorization".to_owned(), value.expose().to_owned())).collect();
            (Uuid::nil(), Webhook { url: url.clone(), headers })
        });
        let hooks = move |records: &Records<Webhook>| {
            let stored = records.iter().filter_map(|(uuid, record)| Some((uuid.parse().ok()?, record.value.clone())));
            stored.chain(configured.clone()).collect()
        };
        let (begun, beginning) = mpsc::unbounded_channel();
        let hooks = View::load(store, TABLE, hooks).await?;
        Ok(Self { hooks, queues: Mutex::default(), begun, beginning: Mutex::new(Some(beginning)) })
    }

    /// The webhooks as the store has them, for whoever follows its changes.
    pub(crate) fn follow(&self) -> &impl Follow {
        &self.hooks
    }
}

impl State {
    /// `GET /webhooks`.
    pub fn webhooks(&self) -> Value {
        let hooks = self.webhooks.hooks.now();
        let results: Vec<Value> = hooks.iter().map(|(uuid, hook)| hook.view(*uuid)).collect();
        serde_json::json!({ "results": results })
    }

    /// `GET /webhooks/{uuid}`.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`].
    pub fn webhook(&self, uuid: Uuid) -> Result<Value, Error> {
        let hooks = self.webhooks.hooks.now();
        let hook = hooks.get(&uuid).ok_or(WebhookError::NotFound(uuid));
        hook.map(|hook| hook.view(uuid)).map_err(refused)
    }

    /// Somebody is to be told.
    pub(crate) fn has_webhooks(&self) -> bool {
        !self.webhooks.hooks.now().is_empty()
    }

    /// These tasks have ended, and that is in the store.
    pub(crate) fn announce<'a>(&self, tasks: impl IntoIterator<Item = &'a Task>) {
        let hooks = self.webhooks.hooks.snapshot();
        let mut queues = self.webhooks.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|uuid, _| {
            let is_there = hooks.contains_key(uuid);
            if !is_there {
                self.metrics.outside().webhook_is_gone(*uuid);
            }
            is_there
        });
        if hooks.is_empty() {
            return;
        }
        for task in tasks {
            let view = Bytes::from(task.view());
            for uuid in hooks.keys() {
                let queue = queues.entry(*uuid).or_insert_with(|| {
                    let (queue, waiting) = queue();
                    // There is nobody to tell once the instance stops.
                    let _ = self.webhooks.begun.send((*uuid, waiting));
                    queue
                });
                if !queue.put(view.clone()) {
                    self.not_told(*uuid, 1);
                }
            }
        }
    }

    pub(crate) fn not_told(&self, uuid: Uuid, tasks: usize) {
        tracing::warn!(webhook = %uuid, tasks, "finished tasks are not told");
        self.metrics.outside().webhook_dropped(uuid, tasks);
    }
}

pub(crate) fn refused(error: WebhookError) -> Error {
    Error::Invalid(error.body())
}
