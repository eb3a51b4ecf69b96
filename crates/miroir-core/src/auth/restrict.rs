//! A client's filter and a rule's filter, both of which a document must pass.

use crate::json;

/// The filter that is both, as JSON text: their clauses side by side in an array, which is ANDed. Texts are never pasted
/// together, so that no clause can end the other's.
///
/// Either may be any JSON; what is no filter stays for a node to refuse.
pub fn restrict(client: Option<&[u8]>, rule: &str) -> Vec<u8> {
    let Some(client) = client.filter(|raw| *raw != b"null") else { return rule.as_bytes().to_vec() };
    let mut both = Vec::with_capacity(client.len() + rule.len() + 3);
    both.push(b'[');
    clauses_into(client, &mut both);
    clauses_into(rule.as_bytes(), &mut both);
    both.push(b']');
    both
}

/// The elements of an array, or the one clause that anything else is.
fn clauses_into(filter: &[u8], out: &mut Vec<u8>) {
    let mut add = |clause: &[u8]| {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(clause);
    };
    let clauses = json::elements(filter).and_then(|elements| elements.collect::<Result<Vec<_>, _>>());
    match clauses {
        Ok(clauses) => clauses.into_iter().for_each(&mut add),
        Err(_) => add(filter),
    }
}
