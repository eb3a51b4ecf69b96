//! What nodes answered to the patches that they were sent.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::decide::Policy;
use super::record::{BroadcastRecord, Stage};
use crate::base::error::ErrorBody;
use crate::base::id::NodeId;

/// What a node answered to a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchResponse {
    /// 202: with the number of its task.
    Accepted(u64),
    /// It refused the patch: any 4xx that is about the patch (not 408, not 429).
    Refused(ErrorBody),
    /// Anything else, also no answer: it may have accepted it.
    Lost,
}

impl BroadcastRecord {
    /// The record after these nodes were sent the change without it having been saved before that they would be.
    #[must_use]
    pub fn after_telling(
        mut self,
        answers: BTreeMap<NodeId, PatchResponse>,
        now: OffsetDateTime,
        policy: &Policy,
    ) -> Self {
        self.parts.iter_mut().filter(|(node, _)| answers.contains_key(*node)).for_each(|(_, part)| part.touched = true);
        self.after_sending(answers, now, policy)
    }

    /// The record after [`super::BroadcastStep::Send`]: what came of it is to be saved before anything else is decided.
    #[must_use]
    pub fn after_sending(
        mut self,
        answers: BTreeMap<NodeId, PatchResponse>,
        now: OffsetDateTime,
        policy: &Policy,
    ) -> Self {
        for (node, answer) in answers {
            let Some(part) = self.parts.get_mut(&node) else { continue };
            part.silent_since = None;
            match answer {
                PatchResponse::Accepted(task) => part.stage = Stage::Accepted { task },
                PatchResponse::Refused(error) => part.stage = Stage::Rejected { error },
                PatchResponse::Lost => part.in_vain(now, policy),
            }
        }
        self
    }
}
