//! What all nodes hold alike: settings, experimental features, search rules; and nodes that hold something else.

pub mod broadcast;
pub mod change;
pub mod drift;
pub mod features;
pub mod rules;
pub mod suspects;

use std::sync::Arc;

use crate::{Reads, State, Tasks, Writes};
use drift::Drifted;

/// What keeps settings, features and rules alike on all nodes.
pub struct SharedSettings {
    pub(crate) state: Arc<State>,
    pub(crate) reads: Arc<Reads>,
    pub(crate) writes: Arc<Writes>,
    pub(crate) tasks: Arc<Tasks>,
    drifted: Drifted,
}

impl SharedSettings {
    pub(crate) fn new(state: Arc<State>, reads: Arc<Reads>, writes: Arc<Writes>, tasks: Arc<Tasks>) -> Self {
        Self { state, reads, writes, tasks, drifted: Drifted::default() }
    }
}
