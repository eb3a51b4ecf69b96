//! Raw JSON: finding the members of an object or the elements of an array without building values.
//!
//! Everything here works on borrowed bytes and reports what it finds as slices of them. Acceptance is that of
//! `serde_json` reading a value, except that nesting is bounded by [`MAX_DEPTH`] instead of 127: what is read may be a
//! node's answer around a document of the greatest depth a client may send.
//!
//! **UTF-8 is the caller's check**, done once for a whole text with [`std::str::from_utf8`], which is much faster than
//! checking string by string. Bytes outside ASCII are accepted here wherever a string may hold them.

mod described;
mod scan;
mod text;
pub(crate) mod visit;
mod walk;

pub use described::described;
pub use scan::{MAX_DEPTH, SyntaxError, value_range};
pub(crate) use scan::{Scanner, at_most};
pub use text::{quote_into, unquote};
pub use walk::{Elements, Member, Members, copy_without, elements, get, last_members, members};

#[cfg(test)]
mod tests;
