//! Changes of API keys.

use std::sync::Arc;

use miroir_core::access::Key;
use miroir_core::base::error::ErrorBody;

use crate::{Error, Writer};

impl Writer {
    /// `POST /keys`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when its uid is taken; [`Error::Store`] when it cannot be recorded: then nothing changed.
    pub async fn create_key(&self, key: Key) -> Result<Arc<Key>, Error> {
        self.state.keys.create(key).await
    }

    /// `PATCH /keys/{key}`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none or `change` refuses; [`Error::Store`] as [`Writer::create_key`].
    pub async fn update_key(
        &self,
        text: &str,
        change: impl Fn(&Key) -> Result<Key, ErrorBody> + Send,
    ) -> Result<Arc<Key>, Error> {
        self.state.keys.update(text, change).await
    }

    /// `DELETE /keys/{key}`.
    ///
    /// # Errors
    /// As [`Writer::update_key`].
    pub async fn delete_key(&self, text: &str) -> Result<(), Error> {
        self.state.keys.delete(text).await
    }
}
