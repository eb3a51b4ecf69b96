//! Replicas that are equal: nodes that returned are looked at, stale replicas are filled, fresh ones are compared.

pub mod anti_entropy;
pub mod heal;
pub mod promote;
pub mod recovery;

use std::sync::Arc;

use crate::{Reads, SharedSettings, State, Writes};

/// What keeps replicas equal.
pub struct Replicas {
    pub(crate) state: Arc<State>,
    pub(crate) reads: Arc<Reads>,
    pub(crate) writes: Arc<Writes>,
    pub(crate) settings: Arc<SharedSettings>,
    /// Held while replicas of a node that was looked at become known as stale.
    marking: tokio::sync::Mutex<()>,
}

impl Replicas {
    pub(crate) fn new(
        state: Arc<State>,
        reads: Arc<Reads>,
        writes: Arc<Writes>,
        settings: Arc<SharedSettings>,
    ) -> Self {
        Self { state, reads, writes, settings, marking: tokio::sync::Mutex::default() }
    }
}
