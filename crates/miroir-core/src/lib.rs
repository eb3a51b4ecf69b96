//! The decisions of Miroir, and nothing else: no I/O, no async, no clock of its own, no locks.
//!
//! Where a document goes, which nodes cover a query, how two hits compare, whether a write
//! reached quorum: each is a pure function here, named after its concept.

pub mod access;
pub mod base;
pub mod config;
pub mod document;
pub mod membership;
pub mod read;
pub mod replica;
pub mod rules;
pub mod settings;
pub mod write;
