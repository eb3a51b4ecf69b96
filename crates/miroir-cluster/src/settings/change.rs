//! What clients ask to be changed of settings. Each change is a broadcast.

use miroir_core::base::id::IndexUid;
use miroir_core::settings::broadcast::SettingsRequest;
use serde_json::{Value, json};

use crate::write::fan_out::Accepted;
use crate::{Error, SharedSettings, Writer};

impl SharedSettings {
    /// Every settings route that changes something: `patch` is what `PATCH /settings` would take. An unknown index comes
    /// into being if the client may create it; if not, that is a task that fails.
    ///
    /// # Errors
    /// As `SharedSettings::change_settings`.
    pub async fn update_settings(
        &self,
        writer: &Writer,
        uid: &IndexUid,
        patch: Value,
        may_create: bool,
    ) -> Result<Accepted, Error> {
        self.change_settings(writer, uid, SettingsRequest::Patch(patch), may_create).await
    }

    /// `DELETE /settings` and its parts: one setting, or everything, back to its default. That does not create an index:
    /// an unknown one is a task that fails.
    ///
    /// # Errors
    /// As `SharedSettings::change_settings`.
    pub async fn reset_settings(&self, writer: &Writer, uid: &IndexUid, key: Option<&str>) -> Result<Accepted, Error> {
        let known = self.state.catalog.get(uid).is_some();
        let request = match key {
            Some(key) if known => SettingsRequest::Patch(json!({ key: null })),
            Some(_) | None => SettingsRequest::Reset,
        };
        self.change_settings(writer, uid, request, false).await
    }
}
