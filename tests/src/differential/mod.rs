//! Generated requests, valid and not, sent to a cluster and to one server: what must be equal, and the smallest request
//! that shows where it is not.

mod compare;
mod exceptions;
mod generate;
mod recorded;
mod request;

pub use compare::{Seen, compared_headers, difference, normalised};
pub use exceptions::is_comparable;
pub use generate::{Generator, load, load_little};
pub use recorded::Recorded;
pub use request::{Body, Caller, Request, Server};
