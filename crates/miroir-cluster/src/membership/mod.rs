//! Which nodes there are, and which shards they hold.

pub mod transition;

use std::sync::Arc;

use crate::{SharedSettings, State, Writes};

/// What moves shards between nodes.
pub struct Membership {
    pub(crate) state: Arc<State>,
    pub(crate) writes: Arc<Writes>,
    pub(crate) settings: Arc<SharedSettings>,
}

impl Membership {
    pub(crate) fn new(state: Arc<State>, writes: Arc<Writes>, settings: Arc<SharedSettings>) -> Self {
        Self { state, writes, settings }
    }
}
