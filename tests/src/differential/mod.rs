//! Generated requests, valid and not, sent to a cluster and to one server: what must be equal, and the smallest request
//! that shows where it is not.

mod compare;
mod exceptions;
mod generate;
mod request;

pub use compare::{difference, normalised};
pub use exceptions::is_comparable;
pub use generate::{Generator, load};
pub use request::{Body, Caller, Request, Server};
