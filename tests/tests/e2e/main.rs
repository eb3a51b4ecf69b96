//! End to end: nodes and instances are started, and spoken to as clients and operators do.
//!
//! One program for all of them, so that they are linked once, and fast tests run while slow ones wait.

mod admin_access;
mod anti_entropy;
mod background;
mod backlog;
mod bad_input;
mod broadcast;
mod confinement;
mod differential;
mod documents;
mod dynamic_search_rules;
mod edge;
mod failures;
mod first_keys;
mod first_writes;
mod headers;
mod healing;
mod hostile;
mod index_admin;
mod indexes;
mod instances;
mod invisible;
mod keys;
mod membership;
mod membership_failures;
mod membership_refused;
mod operations;
mod other_routes;
mod parity;
mod reads;
mod refusals;
mod restart;
mod returning;
mod settings;
mod settings_operators;
mod silence;
mod sizes_and_deletions;
mod stopping;
mod storm;
mod tasks;
mod tasks_admin;
mod undertakings;
mod versions;
mod webhooks;
