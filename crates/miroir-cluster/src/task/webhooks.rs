//! Telling webhooks of finished tasks, and changes of who is told.

use std::io::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{Method, Request};
use miroir_core::base::text::{SHOWN_VALUE, shown};
use miroir_core::write::webhook::{MAX_WEBHOOKS, Webhook, WebhookError, WebhookPatch};
use miroir_store::{Edit, Records};
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::outbound::Outbound;
use crate::state::webhooks::{Waiting, refused};
use crate::{Error, Tasks, Writer};

/// Between the attempts to tell one webhook of one batch. Chance makes each up to twice as long.
const PAUSES: ExponentialBuilder =
    ExponentialBuilder::new().with_jitter().with_min_delay(Duration::from_millis(250)).with_max_times(3);

impl Tasks {
    /// `POST /webhooks`.
    ///
    /// # Errors
    /// As Meilisearch refuses; [`Error::Store`].
    pub async fn create_webhook(&self, _writer: &Writer, patch: WebhookPatch) -> Result<Value, Error> {
        let uuid = Uuid::new_v4();
        let plan = |hooks: &Records<Webhook>| {
            if hooks.len() >= MAX_WEBHOOKS {
                return Err(refused(WebhookError::TooMany));
            }
            let hook = patch.clone().create(uuid).map_err(refused)?;
            Ok::<_, Error>((Edit::put(uuid.to_string(), hook.clone()), hook))
        };
        let (hook, _) = self.state.webhooks.hooks.change(plan).await?;
        Ok(hook.view(uuid))
    }

    /// `PATCH /webhooks/{uuid}`.
    ///
    /// # Errors
    /// As [`Tasks::create_webhook`].
    pub async fn change_webhook(&self, _writer: &Writer, uuid: Uuid, patch: WebhookPatch) -> Result<Value, Error> {
        let plan = |hooks: &Records<Webhook>| {
            let hook = patch.clone().apply(uuid, editable(hooks, uuid)?).map_err(refused)?;
            Ok::<_, Error>((Edit::put(uuid.to_string(), hook.clone()), hook))
        };
        let (hook, _) = self.state.webhooks.hooks.change(plan).await?;
        Ok(hook.view(uuid))
    }

    /// `DELETE /webhooks/{uuid}`.
    ///
    /// # Errors
    /// As [`Tasks::create_webhook`].
    pub async fn delete_webhook(&self, _writer: &Writer, uuid: Uuid) -> Result<(), Error> {
        let plan = |hooks: &Records<Webhook>| {
            editable(hooks, uuid)?;
            Ok((Edit::delete(uuid.to_string()), ()))
        };
        self.state.webhooks.hooks.change(plan).await.map(drop)
    }

    /// Tell all webhooks of finished tasks, for ever.
    pub async fn tell_webhooks(self: Arc<Self>) {
        let beginning = self.state.webhooks.beginning.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut beginning) = beginning else { return };
        let client = Outbound::new(self.state.config.address_policy.webhooks.clone());
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

    async fn tell_one(self: Arc<Self>, client: Outbound, uuid: Uuid, mut waiting: Waiting) {
        while let Some(tasks) = waiting.take().await {
            let Some(body) = compressed(&tasks) else { return };
            match self.tell_webhook(&client, uuid, &body).await {
                Delivery::Done => {}
                Delivery::Failed => self.state.not_told(uuid, tasks.len()),
                Delivery::Gone => return,
            }
        }
    }

    /// As the webhook is now: it may have been changed, or deleted, since the tasks ended.
    async fn tell_webhook(&self, client: &Outbound, uuid: Uuid, body: &Bytes) -> Delivery {
        let attempt = || async {
            let Some(hook) = self.state.webhooks.hooks.now().get(&uuid).cloned() else { return Ok(Delivery::Gone) };
            post(client, &hook, body).await.map(|()| Delivery::Done).inspect_err(|error| {
                let error = shown(error, SHOWN_VALUE);
                tracing::warn!(webhook = %uuid, %error, "a webhook could not be told");
            })
        };
        attempt.retry(PAUSES).await.unwrap_or(Delivery::Failed)
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

/// One task a line, as gzip.
fn compressed(tasks: &[Bytes]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for task in tasks {
        // Writing to memory cannot fail.
        encoder.write_all(task).and_then(|()| encoder.write_all(b"\n")).ok()?;
    }
    encoder.finish().ok().map(Bytes::from)
}

async fn post(client: &Outbound, hook: &Webhook, body: &Bytes) -> Result<(), String> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&hook.url)
        .header(CONTENT_ENCODING, "gzip")
        .header(CONTENT_TYPE, "application/x-ndjson");
    for (name, value) in &hook.headers {
        request = request.header(name, value);
    }
    let request = request.body(body.clone()).map_err(|error| error.to_string())?;
    let status = client.send(request).await.map_err(|error| error.to_string())?;
    if status.is_success() { Ok(()) } else { Err(format!("status {status}")) }
}
