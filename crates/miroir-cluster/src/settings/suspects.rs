//! Nodes that refuse what others take: their settings and features are looked at.

use crate::{Pair, SharedSettings};

impl SharedSettings {
    /// Look at the settings and features of nodes that others have overruled, for ever.
    pub async fn check_suspects(&self) {
        loop {
            for pair in self.reads.suspects.next().await {
                if let Err(error) = self.check_suspect(&pair).await {
                    tracing::debug!(index = %pair.0, node = %pair.1, %error, "a node could not be looked at");
                }
            }
        }
    }

    async fn check_suspect(&self, (physical, id): &Pair) -> Result<(), crate::Error> {
        if let Some(node) = self.state.node(id) {
            self.state.features.forget(id);
            self.bring_features_to(&node).await?;
        }
        match self.state.catalog.by_physical(physical) {
            Some(index) => self.check_drift(&index, id).await,
            None => Ok(()),
        }
    }
}
