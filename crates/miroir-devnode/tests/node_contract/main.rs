//! What Miroir relies on in a node, stated over HTTP.
//!
//! Every test starts a node of its own: a devnode inside this process, or, when `MEILISEARCH_BIN` names a Meilisearch
//! binary, that server. The same statements hold for both.

mod deletion;
mod documents;
mod errors;
mod facets;
mod indexes;
mod inert;
mod ranking;
mod reads;
mod search;
mod server;
mod settings;
mod tasks;
mod vectors;
