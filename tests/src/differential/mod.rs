//! Generated requests, valid and not, sent to a cluster and to one server: what must be equal, and the smallest request
//! that shows where it is not.

mod compare;
mod generate;
mod request;

pub use compare::{difference, normalised};
pub use generate::{Generator, INDEX, documents, settings};
pub use request::{Body, Request};
