//! Changes of experimental features: live nodes are told first, those that were away when they are back.

use std::sync::Arc;

use futures_util::future::join_all;
use http::Method;
use miroir_core::base::error::{Code, ErrorBody};
use miroir_core::settings::features::Features;
use miroir_node::{Call, Node};
use miroir_store::{Edit, Records, StoreError};
use serde_json::Value;

use crate::read::scatter::refused;
use crate::state::features::KEY;
use crate::{Error, SharedSettings, Writer};

/// Attempts of one change against those of other instances.
const ATTEMPTS: usize = 16;

impl SharedSettings {
    /// `PATCH /experimental-features`. Live nodes are told first: what one of them refuses is refused, and those that took
    /// it are told otherwise.
    ///
    /// # Errors
    /// The first refusal; [`Error::Store`].
    pub async fn change_features(&self, _writer: &Writer, patch: &Value) -> Result<Features, Error> {
        let _one_at_a_time = self.state.features.change.lock().await;
        for _ in 0..ATTEMPTS {
            if self.state.store.is_shared() {
                self.state.features.wanted.refresh(KEY, None).await?;
            }
            let before = self.state.features.wanted();
            if let Some(changed) = self.try_features(before, patch).await? {
                return Ok(changed);
            }
        }
        Err(Error::Overloaded("changes of experimental features"))
    }

    /// Change what was wanted before. Returns `None` if another instance has changed it meanwhile: the
    /// caller tells the nodes of both changes.
    async fn try_features(&self, wanted: Option<Features>, patch: &Value) -> Result<Option<Features>, Error> {
        let before = wanted.clone().unwrap_or_default();
        let next = before.patched(patch).map_err(Error::Invalid)?;
        if next == before {
            return Ok(Some(next));
        }
        let nodes = self.state.nodes();
        let live: Vec<&Arc<Node>> = nodes.values().filter(|node| node.health.state().is_live()).collect();
        let answers = join_all(live.iter().map(|node| self.tell(node, &next))).await;
        if let Some(refusal) = answers.into_iter().find_map(Result::err) {
            for undone in join_all(live.iter().map(|node| self.tell(node, &before))).await {
                if let Err(error) = undone {
                    tracing::warn!(%error, "a node keeps features that others refused until it is told again");
                }
            }
            return Err(refusal);
        }
        let plan = |records: &Records<Features>| {
            let as_planned = records.get(KEY).map(|record| &record.value) == wanted.as_ref();
            let edit = if as_planned { Edit::put(KEY, next.clone()) } else { Edit::nothing() };
            Ok::<_, StoreError>((edit, as_planned))
        };
        let (as_planned, _) = self.state.features.wanted.change(plan).await?;
        Ok(as_planned.then_some(next))
    }

    /// Tell a node what is wanted. A node that is not reached is told later.
    async fn tell(&self, node: &Node, features: &Features) -> Result<(), Error> {
        let id = &node.member.id;
        let body = features.for_nodes().to_string().into_bytes();
        let call = Call::json("features", Method::PATCH, "/experimental-features", body, self.state.read_timeout());
        match node.call(call).await {
            Ok(reply) if reply.status == 200 => {
                self.state.features.record_sent(id, Some(features));
                Ok(())
            }
            Ok(reply) if reply.status == 404 || reply.status == 405 => {
                let message = format!("Node `{id}` does not know experimental features.");
                Err(Error::Invalid(ErrorBody::new(Code::MiroirUnsupported, message)))
            }
            // "Not implemented" is a decision, too.
            Ok(reply) if reply.status < 500 || reply.status == 501 => Err(refused(&reply)),
            Ok(reply) => {
                self.state.features.record_sent(id, None);
                tracing::warn!(node = %id, status = reply.status, "a node could not be told of features");
                Ok(())
            }
            Err(error) => {
                self.state.features.record_sent(id, None);
                tracing::warn!(node = %id, %error, "a node could not be told of features");
                Ok(())
            }
        }
    }

    /// Tell a node that missed it what is wanted.
    ///
    /// # Errors
    /// The node's refusal.
    pub async fn catch_up_features(&self, node: &Node) -> Result<(), Error> {
        let id = &node.member.id;
        if !node.health.state().is_live() {
            self.state.features.record_sent(id, None);
            return Ok(());
        }
        self.bring_features_to(node).await
    }

    /// The same, of a node that does not count yet.
    pub(crate) async fn bring_features_to(&self, node: &Node) -> Result<(), Error> {
        let _one_at_a_time = self.state.features.change.lock().await;
        let Some(wanted) = self.state.features.wanted() else { return Ok(()) };
        let id = &node.member.id;
        if self.state.features.was_told(id, &wanted) { Ok(()) } else { self.tell(node, &wanted).await }
    }
}
