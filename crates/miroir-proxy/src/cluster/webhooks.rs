//! Webhooks: who is told of finished tasks. The registry is in the store; the sender is background work.
//!
//! Tasks are told in the order in which they end, in batches, each webhook apart from the others. What cannot be delivered
//! after a few attempts, and what ends while too much waits already, is told to nobody: the registry of tasks is the
//! truth, webhooks are a courtesy.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use miroir_core::config::Config;
use miroir_core::task::Task;
use miroir_core::webhook::{MAX_WEBHOOKS, Webhook, WebhookError, WebhookPatch};
use miroir_store::{Edit, Records, Store, StoreError, Table, TypedTable, View};
use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::follow::Follow;
use super::{Cluster, Error};

/// Finished tasks that wait to be told. More than these are not told.
const QUEUE: usize = 10_000;
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
    waiting: mpsc::Sender<Bytes>,
    /// Taken by the sender.
    queue: std::sync::Mutex<Option<mpsc::Receiver<Bytes>>>,
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
        let (waiting, queue) = mpsc::channel(QUEUE);
        let hooks = View::load(store, TABLE, hooks).await?;
        Ok(Self { hooks, waiting, queue: std::sync::Mutex::new(Some(queue)) })
    }

    /// The webhooks as the store has them, for whoever follows its changes.
    pub(super) fn follow(&self) -> &impl Follow {
        &self.hooks
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
    /// As [`Cluster::create_webhook`].
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
    /// As [`Cluster::create_webhook`].
    pub async fn delete_webhook(&self, uuid: Uuid) -> Result<(), Error> {
        let plan = |hooks: &Records<Webhook>| {
            editable(hooks, uuid)?;
            Ok((Edit::delete(uuid.to_string()), ()))
        };
        self.webhooks.hooks.change(plan).await.map(drop)
    }

    /// Somebody is to be told.
    pub(super) fn has_webhooks(&self) -> bool {
        !self.webhooks.hooks.now().is_empty()
    }

    /// These tasks have ended, and that is in the store.
    pub(super) fn announce<'a>(&self, tasks: impl IntoIterator<Item = &'a Task>) {
        if !self.has_webhooks() {
            return;
        }
        for task in tasks {
            if self.webhooks.waiting.try_send(Bytes::from(task.view())).is_err() {
                tracing::warn!(task = %task.uid, "too many finished tasks wait for webhooks: this one is not told");
            }
        }
    }

    /// Tell all webhooks of finished tasks, for ever.
    pub async fn tell_webhooks(self: Arc<Self>) {
        let queue = self.webhooks.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let Some(mut queue) = queue else { return };
        let client = client();
        let mut tasks = Vec::new();
        while queue.recv_many(&mut tasks, TOGETHER).await > 0 {
            let hooks = self.webhooks.hooks.snapshot();
            let Some(body) = compressed(&tasks) else { break };
            tasks.clear();
            join_all(hooks.iter().map(|(uuid, hook)| tell(&client, *uuid, hook, &body))).await;
        }
    }
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

type Sender = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client() -> Sender {
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(connector)
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

async fn tell(client: &Sender, uuid: Uuid, hook: &Webhook, body: &Bytes) {
    let mut pause = PAUSE;
    for attempt in 1..=ATTEMPTS {
        match post(client, hook, body).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(webhook = %uuid, attempt, error, "a webhook could not be told"),
        }
        if attempt < ATTEMPTS {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
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
