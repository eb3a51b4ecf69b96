//! Telling nodes, and beginning what waited.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use miroir_core::base::id::NodeId;
use miroir_core::settings::broadcast::{BroadcastRecord, ChangeEnd, Failed, Line, LineChange, PatchResponse};
use miroir_store::Batch;
use miroir_work::led::Leadership;
use serde_json::Value;
use time::OffsetDateTime;

use super::machine::{Broadcasting, Ending};
use super::sent;
use crate::{Error, Index};

/// Between two looks at an index that is to be completed first.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Broadcasting {
    /// Tell nodes, under the index write lock: what nodes are told reaches all of them in one order with its other changes.
    pub(super) async fn send(
        &self,
        _lead: &Leadership,
        line: &Line,
        index: &Index,
        patches: &BTreeMap<NodeId, Value>,
    ) -> Result<Line, Error> {
        let Some(change) = &line.current else { return Ok(line.clone()) };
        let _guard = self.settings.writes.lock_index(&index.uid).await?;
        let now = self.settings.state.catalog.by_physical(&index.physical);
        if now.is_none_or(|now| now.created_at != index.created_at || now.uid != index.uid) {
            // A node would make an index that was deleted anew.
            return Ok(line.clone());
        }
        let told =
            patches.iter().map(|(node, patch)| async move { (node.clone(), self.tell(index, node, patch).await) });
        let answers: BTreeMap<NodeId, PatchResponse> = join_all(told).await.into_iter().collect();
        let record =
            change.record.clone().after_sending(answers, OffsetDateTime::now_utc(), &self.settings.broadcast_policy());
        Ok(Line { current: Some(LineChange { record, ..change.clone() }), queue: line.queue.clone() })
    }

    async fn tell(&self, index: &Index, node: &NodeId, patch: &Value) -> PatchResponse {
        let Some(known) = self.settings.state.node(node) else { return PatchResponse::Lost };
        let answer = sent(known.call(self.settings.settings_call(index, patch)).await);
        tracing::info!(index = %index.physical, %node, ?answer, "a node was told settings");
        answer
    }

    /// The first of the queue is under way from now on; nodes are told next.
    pub(super) async fn begin(
        &self,
        lead: &Leadership,
        line: &Line,
        index: &Index,
        ending: Ending,
    ) -> Result<Line, Error> {
        let Some(pending) = line.queue.front() else { return Ok(line.clone()) };
        let settings = &self.settings;
        if !index.ready {
            if !settings.tasks.complete(&index.physical).await? {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            return Ok(line.clone());
        }
        let proposal = match settings.proposal(index, &pending.request) {
            Ok(proposal) => proposal,
            // Over the settings that were committed since, it is about what is ours.
            Err(Error::Invalid(error)) => {
                let failed = Failed { error: Some(error), ..Failed::default() };
                return self.conclude(lead, line, ChangeEnd::Fail(Box::new(failed)), ending).await;
            }
            Err(error) => return Err(error),
        };
        let with = Batch { fences: vec![lead.fence()], ..Batch::default() };
        let changing = |index: &mut Index| index.changing = true;
        settings.state.catalog.amend(&index.physical, index.created_at, changing, with).await?;
        let change = LineChange {
            token: Some(pending.token.clone()),
            born: pending.born,
            creates_index: false,
            reserved_until: None,
            record: BroadcastRecord::new(
                proposal,
                settings.broadcast_strategy(),
                settings.state.nodes().keys().cloned(),
            ),
        };
        Ok(Line { current: Some(change), ..line.rest() })
    }
}
