//! Documents on their way in: finding and checking each document's id, and which shard's body it goes to.
//!
//! Invariant: a batch is taken whole or not at all. Whatever is wrong with one document is found before any document is
//! handed on, because the shards of a batch go to different nodes, which could not undo each other's part.

mod checks;
mod count;
mod csv;
mod error;
mod faults;
mod geo;
mod geojson;
pub mod id;
mod lacking;
mod malformed;
mod primary_key;
mod split;
mod stored;
mod vectors;

pub use checks::{Checks, Embedder};
pub use count::count;
pub use error::{DocumentError, PayloadError, SplitError};
pub use id::{document_id, route_ids};
pub use lacking::{Lacking, no_vectors};
pub use primary_key::infer_primary_key;
pub use split::{Format, Method, ReservedFields, Split, SplitRequest, split};
pub use stored::id_text;

#[cfg(test)]
mod tests;
