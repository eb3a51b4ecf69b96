//! Changes of the membership: nodes and groups come and go while clients read and write.
//!
//! What comes next is decided by `core::transition`. Here a change is begun by whoever is asked for it (`begin`), after
//! a preflight of the candidate nodes (`preflight`), and driven from there by one instance (`machine`): it looks at
//! what the next decision has to know (`observe`), gives joining nodes the indexes (`prepare`), writes each step down
//! together with the topology and the stale replicas (`save`), deletes what replicas leave behind (`clean`), and
//! decommissions the nodes that are members no longer (`decommission`). Nothing is copied here: a replica that is to
//! come into being is a stale one, and is healed as any other.
//!
//! Invariant: the record, the topology and the list of stale replicas change in one commit, and only if the topology is
//! still the one that was decided on.

mod begin;
mod clean;
mod decommission;
mod machine;
mod observe;
mod preflight;
mod prepare;
mod record;
mod replace;
mod save;
mod status;

pub use machine::Rebalancing;
pub use replace::Replacing;
pub use status::{change_view, intent_view};

use std::time::Duration;

use miroir_store::StoreError;
use miroir_work::led;

use crate::Membership;

/// Between two looks while there is something to wait for.
const LOOK: Duration = Duration::from_millis(100);

impl Membership {
    /// Whether a change of the membership is under way.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_rebalancing(&self) -> Result<bool, StoreError> {
        Ok(led::find::<Rebalancing>(&*self.state.store, None).await?.is_some())
    }
}
