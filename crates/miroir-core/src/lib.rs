//! The decisions of Miroir, and nothing else: no I/O, no async, no clock of its own, no locks.
//!
//! Where a document goes, which nodes cover a query, how two hits compare, whether a write
//! reached quorum: each is a pure function here, named after its concept.

pub mod address;
pub mod anti_entropy;
pub mod auth;
pub mod backlog;
pub mod browse;
pub mod config;
pub mod cover;
pub mod coverage;
pub mod digest;
pub mod document;
pub mod error;
pub mod facet;
pub mod facet_search;
pub mod features;
pub mod fields;
pub mod filter;
pub mod hash;
pub mod hidden;
pub mod id;
pub mod inert;
pub mod join;
pub mod json;
pub mod merge;
pub mod mirror;
pub mod multi_search;
pub mod ownership;
pub mod patience;
pub mod placement;
pub mod promotion;
pub mod quorum;
pub mod rank;
pub mod recovery;
pub mod rules;
pub mod scope;
pub mod search;
pub mod settings;
pub mod settlement;
pub mod similar;
pub mod sorted;
pub mod stats;
pub mod strip;
pub mod tally;
pub mod task;
pub mod text;
pub mod topology;
pub mod transition;
pub mod unmet;
pub mod webhook;
