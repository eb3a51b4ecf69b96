//! What was accepted comes to its end: the tasks of nodes are followed, and those that no node does are done here.

pub(crate) mod adopt;
pub(crate) mod builtin_tasks;
pub(crate) mod cancel;
pub(crate) mod complete;
pub(crate) mod connect;
pub mod reconcile;
pub(crate) mod rules;
pub(crate) mod webhooks;

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
