//! Several searches in one request, each answered by itself or all merged into one list.

mod federation;
mod request;
mod results;

pub use federation::{FederationRequest, MergeFacets};
pub(crate) use request::last_members;
pub use request::{MultiSearchRequest, Query};
pub use results::{results, write_results};

#[cfg(test)]
mod tests;
