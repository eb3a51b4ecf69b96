//! Webhooks: who is told of finished tasks. The registry is in the store; telling is background work.
//!
//! Invariant: each webhook has a queue and a teller of its own, so that one nobody answers for delays and drops only what
//! is its own. Tasks are told in the order in which they end. What cannot be delivered after a few attempts, and what ends
//! while too much waits already, is told to nobody, and counted: the registry of tasks is the truth, webhooks are a
//! courtesy.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use miroir_core::address::AddressPolicy;
use miroir_core::config::Config;
use miroir_core::task::Task;
use miroir_core::text::{SHOWN_VALUE, shown};
use miroir_core::webhook::{MAX_WEBHOOKS, Webhook, WebhookError, WebhookPatch};
use miroir_store::{Edit, Records, Store, StoreError, Table, TypedTable, View};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::connect::Guarded;
use super::follow::Follow;
use super::{Cluster, Error, Writer};

/// Finished tasks that wait to be told to one webhook, and their bytes. More than these are not told.
const QUEUE: usize = 10_000;
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Tasks told in one request.
const TOGETHER: usize = 1000;
/// Attempts to tell one webhook of one batch, and the pause after the first; each further pause is twice as long.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);
/// From connecting to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of an answer, to keep the connection. Nobody looks at it.
const MAX_ANSWER: usize = 64 * 1024;

const TABLE: TypedTable<Webhook> = TypedTable::new(Table::Webhooks);

type Hooks = BTreeMap<Uuid, Webhook>;

/// Who is told, and what they are still to be told.
pub struct Webhooks {
    hooks: View<Webhook, Hooks>,
    /// Of those that were told anything.
    queues: Mutex<HashMap<Uuid, Queue>>,
    /// Queues that have nobody yet who tells what is in them: no more than there are webhooks.
    begun: mpsc::UnboundedSender<(Uuid, Waiting)>,
    /// Taken by who has them told.
    beginning: Mutex<Option<mpsc::UnboundedReceiver<(Uuid, Waiting)>>>,
}

/// Where tasks are put for one webhook.
struct Queue {
    tasks: mpsc::Sender<Bytes>,
    bytes: Arc<AtomicUsize>,
}

/// Where they are taken from.
struct Waiting {
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
    async fn take(&mut self) -> Option<Vec<Bytes>> {
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
    pub(super) fn follow(&self) -> &impl Follow {
        &self.hooks
    }
}

impl Writer {
    /// `POST /webhooks`.
    ///
    /// # Errors
    /// As Meilisearch refuses; [`Error::Store`].
    pub async fn create_webhook(&self, patch: WebhookPatch) -> Result<Value, Error> {
        let uuid = Uuid::new_v4();
        let plan = |hooks: &Records<Webhook>| {
            if hooks.len() >= MAX_WEBHOOKS {
                return Err(refused(WebhookError::TooMany));
            }
            let hook = patch.clone().create(uuid).map_err(refused)?;
            Ok::<_, Error>((Edit::put(uuid.to_string(), hook.clone()), hook))
        };
        let (hook, _) = self.webhooks.hooks.change(plan).await?;
        Ok(hook.view(uuid))
    }

    /// `PATCH /webhooks/{uuid}`.
    ///
    /// # Errors
    /// As [`Writer::create_webhook`].
    pub async fn change_webhook(&self, uuid: Uuid, patch: WebhookPatch) -> Result<Value, Error> {
        let plan = |hooks: &Records<Webhook>| {
            let hook = patch.clone().apply(uuid, editable(hooks, uuid)?).map_err(refused)?;
            Ok::<_, Error>((Edit::put(uuid.to_string(), hook.clone()), hook))
        };
        let (hook, _) = self.webhooks.hooks.change(plan).await?;
        Ok(hook.view(uuid))
    }

    /// `DELETE /webhooks/{uuid}`.
    ///
    /// # Errors
    /// As [`Writer::create_webhook`].
    pub async fn delete_webhook(&self, uuid: Uuid) -> Result<(), Error> {
        let plan = |hooks: &Records<Webhook>| {
            editable(hooks, uuid)?;
            Ok((Edit::delete(uuid.to_string()), ()))
        };
        self.webhooks.hooks.change(plan).await.map(drop)
    }
}

impl Cluster {
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
    pub(super) fn has_webhooks(&self) -> bool {
        !self.webhooks.hooks.now().is_empty()
    }

    /// These tasks have ended, and that is in the store.
    pub(super) fn announce<'a>(&self, tasks: impl IntoIterator<Item = &'a Task>) {
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

    fn not_told(&self, uuid: Uuid, tasks: usize) {
        tracing::warn!(webhook = %uuid, tasks, "finished tasks are not told");
        self.metrics.outside().webhook_dropped(uuid, tasks);
    }

    /// Tell all webhooks of finished tasks, for ever.
    pub async fn tell_webhooks(self: Arc<Self>) {
        let beginning = self.webhooks.beginning.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut beginning) = beginning else { return };
        let client = client(self.config.address_policy.webhooks.clone());
        let mut tellers = JoinSet::new();
        loop {
            tokio::select! {
                begun = beginning.recv() => match begun {
                    Some((uuid, waiting)) => drop(tellers.spawn(self.clone().tell_one(client.clone(), uuid, waiting))),
                    None => return,
                },
                Some(_) = tellers.join_next() => {}
            }
        }
    }

    async fn tell_one(self: Arc<Self>, client: Sender, uuid: Uuid, mut waiting: Waiting) {
        while let Some(tasks) = waiting.take().await {
            let Some(body) = compressed(&tasks) else { return };
            match self.tell_webhook(&client, uuid, &body).await {
                Delivery::Done => {}
                Delivery::Failed => self.not_told(uuid, tasks.len()),
                Delivery::Gone => return,
            }
        }
    }

    /// As the webhook is now: it may have been changed, or deleted, since the tasks ended.
    async fn tell_webhook(&self, client: &Sender, uuid: Uuid, body: &Bytes) -> Delivery {
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let Some(hook) = self.webhooks.hooks.now().get(&uuid).cloned() else { return Delivery::Gone };
            match post(client, &hook, body).await {
                Ok(()) => return Delivery::Done,
                Err(error) => {
                    let error = shown(&error, SHOWN_VALUE);
                    tracing::warn!(webhook = %uuid, attempt, %error, "a webhook could not be told");
                }
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        Delivery::Failed
    }
}

/// How a delivery to a webhook ended.
enum Delivery {
    Done,
    /// Every attempt failed.
    Failed,
    /// There is no such webhook any more.
    Gone,
}

/// A webhook that is not the configuration's.
fn editable(hooks: &Records<Webhook>, uuid: Uuid) -> Result<Webhook, Error> {
    if uuid.is_nil() {
        return Err(refused(WebhookError::Immutable(uuid)));
    }
    let hook = hooks.get(&uuid.to_string()).map(|record| record.value.clone());
    hook.ok_or_else(|| refused(WebhookError::NotFound(uuid)))
}

fn refused(error: WebhookError) -> Error {
    Error::Invalid(error.body())
}

type Sender = Client<HttpsConnector<Guarded>, Full<Bytes>>;

/// Answers that point elsewhere are not followed: they are no success.
fn client(policy: AddressPolicy) -> Sender {
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1();
    Client::builder(TokioExecutor::new()).build(connector.wrap_connector(Guarded::new(policy)))
}

/// One task a line, as gzip.
fn compressed(tasks: &[Bytes]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for task in tasks {
        // Writing to memory cannot fail.
        encoder.write_all(task).and_then(|()| encoder.write_all(b"\n")).ok()?;
    }
    encoder.finish().ok().map(Bytes::from)
}

async fn post(client: &Sender, hook: &Webhook, body: &Bytes) -> Result<(), String> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&hook.url)
        .header(CONTENT_ENCODING, "gzip")
        .header(CONTENT_TYPE, "application/x-ndjson");
    for (name, value) in &hook.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(body.clone())).map_err(|error| error.to_string())?;
    let exchange = async {
        let response = client.request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        // The connection is kept only when the answer was read.
        drop(Limited::new(response.into_body(), MAX_ANSWER).collect().await);
        if status.is_success() { Ok(()) } else { Err(format!("status {status}")) }
    };
    tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}")))
}
