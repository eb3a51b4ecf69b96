//! What was accepted comes to its end: the tasks of nodes are followed, and those that no node does are done here.

pub mod adopt;
pub mod builtin_tasks;
pub mod cancel;
pub mod complete;
pub mod reconcile;
pub mod rules;
pub mod webhooks;

use std::sync::Arc;

use crate::{Reads, State, Writes};
use complete::Completing;

/// What ends the tasks that were accepted.
pub struct Tasks {
    pub(crate) state: Arc<State>,
    pub(crate) reads: Arc<Reads>,
    pub(crate) writes: Arc<Writes>,
    completing: Completing,
}

impl Tasks {
    pub(crate) fn new(state: Arc<State>, reads: Arc<Reads>, writes: Arc<Writes>) -> Self {
        Self { state, reads, writes, completing: Completing::default() }
    }
}
