//! What all else is made of: identifiers, errors, JSON as it is written, hashes, and text of others.

pub mod address;
pub mod error;
pub mod hash;
pub mod id;
pub mod inert;
pub mod json;
pub mod strip;
pub mod text;
