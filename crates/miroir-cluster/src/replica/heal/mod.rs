//! Healing: replicas that are known as stale are mirrored from the fresh ones until they are equal to them.
//!
//! What comes next is decided by `core::mirror`; a mirror is run by `mirror`, from what `facts` looks at. Healing a node is
//! led: one instance at a time mirrors to it, several shards at once (`pool`), and saves how far it is (`machine`). Whoever
//! notices that a live node has stale replicas begins it (`begin`). Others see the progress in what is saved (`progress`).
//!
//! Invariant: a replica is taken off the list of stale ones under the write lock of its index, under the token of the
//! operation, and only if the list says of it what it said when the mirror's last round began.

mod begin;
mod facts;
mod machine;
mod mirror;
mod pool;
mod progress;
mod write_pause;

pub use machine::Healing;
