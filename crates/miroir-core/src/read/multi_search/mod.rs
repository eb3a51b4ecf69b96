//! Several searches in one request, each answered by itself or all merged into one list.

mod federation;
mod names;
mod request;
mod results;

pub use federation::{FederationRequest, MergeFacets};
pub use names::renamed;
pub use request::{MultiSearchRequest, Query};
pub use results::{results, write_results};

#[cfg(test)]
mod tests;
