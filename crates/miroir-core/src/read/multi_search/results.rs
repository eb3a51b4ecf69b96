//! The answers to the queries of a multi-search, side by side.

use crate::base::json::visit::take_value;
use crate::base::json::{self, Scanner, SyntaxError};

const HEAD: &[u8] = b"{\"results\":[";

/// A node's raw answers, one a query.
///
/// # Errors
/// When the body is not the answer to a multi-search.
pub fn results(body: &[u8]) -> Result<Vec<&[u8]>, SyntaxError> {
    // What a node writes has one member, so that one walk over its elements is a walk over it all.
    if !body.starts_with(HEAD) {
        let fault = SyntaxError { offset: 0, reason: "an answer without results" };
        return json::elements(json::get(body, "results")?.ok_or(fault)?)?.collect();
    }
    let mut scanner = Scanner::new(body, HEAD.len());
    let mut found = Vec::new();
    scanner.space();
    while scanner.peek() != Some(b']') {
        if !found.is_empty() {
            scanner.expect(b',', "expected `,` or `]`")?;
            scanner.space();
        }
        found.push(take_value(&mut scanner)?);
        scanner.space();
    }
    Ok(found)
}

/// The client's answer: each index by the client's name, with what was merged for the query, a JSON object.
pub fn write_results<'a>(results: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut out = HEAD.to_vec();
    for (position, (uid, result)) in results.enumerate() {
        out.extend_from_slice(if position > 0 { b",{\"indexUid\":" } else { b"{\"indexUid\":" });
        json::quote_into(uid, &mut out);
        out.push(b',');
        out.extend_from_slice(result.get(1..).unwrap_or_default());
    }
    out.extend_from_slice(b"]}");
    out
}
