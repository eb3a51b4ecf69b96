//! Changes that wait in the line behind another one.

use http::Method;
use miroir_core::settings::broadcast::{Line, Pending, SettingsRequest};
use miroir_core::write::task::TaskStatus;
use miroir_store::Typed;
use miroir_work::led::{self, Operation};
use serde_json::Value;
use time::OffsetDateTime;

use super::Broadcasting;
use crate::read::refusal::Unread;
use crate::state::catalog::all_shards;
use crate::state::index_lock::IndexGuard;
use crate::write::fan_out::{Accepted, Change, Sent};
use crate::{Degraded, Error, Index, SharedSettings, Writer};

impl SharedSettings {
    /// Put a change into the line. It has a task at once; nodes are told when its turn has come.
    pub(super) async fn line_up(
        &self,
        writer: &Writer,
        guard: &IndexGuard,
        index: &Index,
        request: &SettingsRequest,
        stored: Option<Typed<Operation<Line>>>,
    ) -> Result<Accepted, Error> {
        let at = OffsetDateTime::now_utc();
        self.check_settings(index, &self.proposal(index, request)?.patch).await?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        let pending = Pending { token: token.clone(), born: index.created_at, request: request.clone() };
        let subject = Some(index.physical.as_str());
        let full = || Error::Overloaded("changes of the settings of this index");
        let write = match stored {
            None => {
                let line = Line::default().joined(pending, at).ok_or_else(full)?;
                led::start::<Broadcasting>(subject, line)?
            }
            Some(Typed { version, value: Operation { id, started_at, record: line }, .. }) => {
                let record = line.joined(pending, at).ok_or_else(full)?;
                led::replace::<Broadcasting>(subject, &Operation { id, started_at, record }, version)?
            }
        };
        let change = Change { writes: vec![write], ..self.task_of_change(guard, index, request, token) };
        let sent = Sent { at, node_tasks: Vec::new(), missed: Vec::new() };
        writer.register(change, Some(index), sent, TaskStatus::Enqueued, Degraded::default()).await
    }

    /// Let a node judge a change without applying it: what is malformed is refused at once, in its own words.
    async fn check_settings(&self, index: &Index, patch: &Value) -> Result<(), Error> {
        let change = Unread::change("settings", Method::PATCH, "settings", patch.to_string().into());
        let unasked = Error::NoQuorum { shards: all_shards(index).into_iter().collect() };
        self.reads.check_change(change, unasked).await.map_err(|error| error.naming(index))
    }
}
