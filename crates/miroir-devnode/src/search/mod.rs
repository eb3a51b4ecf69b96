//! Searching one index: the request, the run, and how hits and facets are shown.

pub mod documents;
pub mod facets;
pub mod federated;
pub mod filter;
pub mod hits;
pub mod index_fields;
mod pinned;
pub mod query;
pub mod run;
pub mod sorted;
pub mod values;
