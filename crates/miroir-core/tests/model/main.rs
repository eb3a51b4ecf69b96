//! A checker for the protocol: the machines of the core, driven by random schedules over a model of nodes.
//!
//! Each schedule is determined by its seed, which a failure prints; `MIROIR_MODEL_SEED=<seed>` replays that one alone, and
//! `MIROIR_MODEL_RUNS=<n>` sets how many are tried, and `MIROIR_MODEL_TRACE=1` tells what happens.

mod healing;
mod mirrors;
mod moving;
mod node;
mod repair;
mod rng;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use miroir_core::config::{SelectionConfig, SelectionStrategy};
use world::Happened;

/// Tell what happens, when `MIROIR_MODEL_TRACE` is set.
fn trace(what: impl FnOnce() -> String) {
    static WANTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    if *WANTED.get_or_init(|| std::env::var("MIROIR_MODEL_TRACE").is_ok()) {
        eprintln!("{}", what());
    }
}

/// How replicas are chosen.
fn selection() -> SelectionConfig {
    SelectionConfig {
        strategy: SelectionStrategy::Random,
        latency_weight: 1.0,
        inflight_weight: 1.0,
        error_weight: 1.0,
        ewma_half_life: std::time::Duration::from_secs(1),
        exploration_epsilon: 0.0,
    }
}

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
    schedules("healing", 6000, healing::run, |seen| {
        total.healed += seen.healed;
        total.paused += seen.paused;
        total.trusted += seen.trusted;
        total.crashed += seen.crashed;
        total.outrun += seen.outrun;
        total.acknowledged += seen.acknowledged;
        total.repaired += seen.repaired;
        total.happened.left += seen.happened.left;
        total.happened.late += seen.happened.late;
        total.happened.lingered += seen.happened.lingered;
        total.happened.lost_turn += seen.happened.lost_turn;
        total.happened.killed += seen.happened.killed;
        total.happened.undecided += seen.happened.undecided;
    });
    println!("{total:?}");
    if std::env::var("MIROIR_MODEL_SEED").is_err() {
        // A checker that comes across nothing checks nothing.
        let Happened { left, late, lingered, lost_turn, killed, undecided } = total.happened;
        let all = [total.paused, total.trusted, total.crashed, total.outrun, total.repaired];
        let all = [all.as_slice(), &[left, late, lingered, lost_turn, killed, undecided]].concat();
        assert!(total.healed > 100 && all.iter().all(|count| *count > 0), "{total:?}");
    }
}

#[test]
fn the_cluster_changes_its_members_while_clients_write() {
    let mut total = moving::Seen::default();
    schedules("moving", 2000, moving::run, |seen| {
        total.finished += seen.finished;
        total.canceled += seen.canceled;
        total.moved += seen.moved;
        total.leaders += seen.leaders;
        total.refused += seen.refused;
        total.outrun += seen.outrun;
    });
    println!("{total:?}");
    if std::env::var("MIROIR_MODEL_SEED").is_err() {
        let all = [total.finished, total.canceled, total.moved, total.leaders, total.refused, total.outrun];
        assert!(all.iter().all(|count| *count > 0), "{total:?}");
    }
}
