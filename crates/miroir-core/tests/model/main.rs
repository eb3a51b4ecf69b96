//! A checker for the protocol: the machines of the core, driven by random schedules over a model of nodes.
//!
//! Each schedule is determined by its seed, which a failure prints; `MIROIR_MODEL_SEED=<seed>` replays that one alone, and
//! `MIROIR_MODEL_RUNS=<n>` sets how many are tried.

mod healing;
mod mirrors;
mod node;
mod rng;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Run so many schedules, or the one that is to be replayed.
fn schedules<S>(name: &str, runs: u64, run: impl Fn(u64) -> Result<S, String>, mut sum: impl FnMut(S)) {
    let variable = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let runs = variable("MIROIR_MODEL_RUNS").unwrap_or(runs);
    let seeds = match variable("MIROIR_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs,
    };
    for seed in seeds {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed)));
        match outcome {
            Ok(Ok(seen)) => sum(seen),
            Ok(Err(found)) => panic!("{name}: {found}\nreplay with MIROIR_MODEL_SEED={seed}"),
            Err(panic) => {
                eprintln!("{name}: replay with MIROIR_MODEL_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[test]
fn stale_replicas_are_healed_while_clients_write() {
    let mut total = healing::Seen::default();
    schedules("healing", 3000, healing::run, |seen| {
        total.healed += seen.healed;
        total.fenced += seen.fenced;
        total.crashed += seen.crashed;
        total.outrun += seen.outrun;
        total.acknowledged += seen.acknowledged;
    });
    println!("{total:?}");
    if std::env::var("MIROIR_MODEL_SEED").is_err() {
        // A checker that comes across nothing checks nothing.
        assert!(total.healed > 100 && total.fenced > 0 && total.crashed > 0 && total.outrun > 0, "{total:?}");
    }
}
