//! One instance: what it knows of nodes, indexes and replicas, and what it does with them. What to do is decided in
//! `miroir_core`; here it is done.
//!
//! It is made of wings, each a struct that names the wings below it: [`State`] is what is known, [`Reads`] answer clients from
//! nodes, [`Writes`] change documents and indexes, [`Tasks`] end what was accepted, [`SharedSettings`] keep what all nodes hold
//! alike, [`Replicas`] keep replicas equal, and [`Membership`] moves shards. Who is asked for something above it is told by
//! a notification of the state.

mod clock;
mod error;
mod membership;
#[cfg(test)]
#[path = "../../miroir-store/tests/observed/mod.rs"]
mod observed;
mod outbound;
mod read;
mod replica;
mod settings;
mod state;
mod task;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
#[path = "../tests/wings/mod.rs"]
mod wings;
mod write;

pub use clock::rfc3339;
pub use error::Error;
pub use membership::Membership;
pub use membership::transition::{Rebalancing, Replacing, change_view, intent_view};
pub use read::Reads;
pub use read::browse::{BrowseRequest, Unreadable};
pub use read::degraded::{Answer, Degraded};
pub use read::multi_search::AccessFilter;
pub use read::pages::Pages;
pub use read::search::{OverFetch, Wants};
pub use read::similar::Similar;
pub use read::versions::SettingsSeen;
pub use replica::Replicas;
pub use replica::anti_entropy::PassCursor;
pub use replica::heal::Healing;
pub use replica::promote::Wanted;
pub use settings::SharedSettings;
pub use settings::broadcast::{Broadcasting, repair_view};
pub use state::State;
pub use state::catalog::{Index, Pair};
pub use state::discovery::Discovery;
pub use state::keys::Keys;
pub use state::peers::Peers;
pub use state::stale::StaleReplica;
pub use task::Tasks;
pub use task::reconcile::TaskReconciler;
pub use write::Writes;
pub use write::delete::Deletion;
pub use write::edit::Edition;
pub use write::ingest::Ingest;
pub use write::rename::Swap;
pub use write::undertake::Writer;

use std::sync::Arc;

use miroir_core::config::Config;
use miroir_node::NodeClient;
use miroir_store::{Store, StoreError};
use miroir_telemetry::Metrics;

/// All wings of one instance, for whoever serves clients and operators. No wing knows it.
pub struct Cluster {
    /// What is known.
    pub state: Arc<State>,
    /// What answers clients from nodes.
    pub reads: Arc<Reads>,
    /// What changes documents and indexes.
    pub writes: Arc<Writes>,
    /// What ends the tasks that were accepted.
    pub tasks: Arc<Tasks>,
    /// What keeps settings, features and rules alike on all nodes.
    pub settings: Arc<SharedSettings>,
    /// What keeps replicas equal.
    pub replicas: Arc<Replicas>,
    /// What moves shards between nodes.
    pub membership: Arc<Membership>,
}

impl Cluster {
    /// Load what the store remembers; at first start, seed the topology from the configuration.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn open(
        config: Arc<Config>,
        store: Arc<dyn Store>,
        client: NodeClient,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        let debts = Arc::default();
        let state = Arc::new(State::load(config, store, client, metrics, Arc::clone(&debts) as _).await?);
        let reads = Arc::new(Reads::new(state.clone()));
        let writes = Arc::new(Writes::new(state.clone(), reads.clone(), debts));
        let tasks = Arc::new(Tasks::new(state.clone(), reads.clone(), writes.clone()));
        let settings = Arc::new(SharedSettings::new(state.clone(), reads.clone(), writes.clone(), tasks.clone()));
        let replicas = Arc::new(Replicas::new(state.clone(), reads.clone(), writes.clone(), settings.clone()));
        let membership = Arc::new(Membership::new(state.clone(), writes.clone(), settings.clone()));
        Ok(Self { state, reads, writes, tasks, settings, replicas, membership })
    }
}
