//! Reads: which nodes a request needs, what each of them is asked, and how their answers become those of one server.

pub mod browse;
pub mod cover;
pub mod coverage;
pub mod facet;
pub mod facet_search;
pub mod fields;
pub mod filter;
pub mod hidden;
pub mod join;
pub mod merge;
pub mod multi_search;
pub mod patience;
pub mod rank;
pub mod scope;
pub mod search;
pub mod similar;
pub mod sorted;
pub mod stats;
pub mod tally;
pub mod unmet;
