//! Who of several takes care of a thing, without asking anybody: rendezvous hashing over those who are alive.

use xxhash_rust::xxh64::xxh64;

/// The owner of a thing among these; none when there is nobody. Each is asked for its score, and the highest wins: when
/// one goes, only its own things go to others.
pub fn owner<'a>(thing: &str, alive: &'a [impl AsRef<str>]) -> Option<&'a str> {
    let seed = xxh64(thing.as_bytes(), 0);
    let scored = alive.iter().map(|id| (xxh64(id.as_ref().as_bytes(), seed), id.as_ref()));
    scored.max().map(|(_, id)| id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nobody_owns_nothing() {
        assert_eq!(owner("x", &[] as &[&str]), None);
        assert_eq!(owner("x", &["a"]), Some("a"));
    }

    #[test]
    fn things_are_shared_about_evenly() {
        let alive = ["a", "b", "c"];
        for id in alive {
            let owned = (0..3000).filter(|n| owner(&format!("thing {n}"), &alive) == Some(id)).count();
            assert!((800..1200).contains(&owned), "{id} owns {owned} of 3000");
        }
    }

    proptest! {
        #[test]
        fn when_one_goes_only_its_own_things_move(
            thing in ".*", mut alive in prop::collection::btree_set("[a-z]{1,4}", 1..8), gone in any::<prop::sample::Index>(),
        ) {
            let all: Vec<String> = alive.iter().cloned().collect();
            let before = owner(&thing, &all).map(str::to_owned);
            let gone = all[gone.index(all.len())].clone();
            alive.remove(&gone);
            let left: Vec<String> = alive.into_iter().rev().collect();
            let after = owner(&thing, &left).map(str::to_owned);
            if before.as_ref() == Some(&gone) {
                prop_assert!(after.as_ref() != Some(&gone));
            } else {
                prop_assert_eq!(before, after, "whatever the order");
            }
        }
    }
}
