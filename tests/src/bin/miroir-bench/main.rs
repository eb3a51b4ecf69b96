//! Measures the orchestrator against what it stands in front of, in one run on one machine, so that ratios mean
//! something: search latency against the node asked directly, CPU per search against nginx passing through, ingest
//! throughput and small writes against one node, filling a replica against a plain copy, and peak memory.
//!
//! ```text
//! miroir-bench [documents=20000] [searches=3000] [cpu_searches=20000] [ingest_mb=200] [healing_documents=160000]
//!              [comparing_documents=1000000] [writes=5000] [only=latency,cpu,ingest,healing,comparing,writes]
//!              [out=docs/benchmarks.md]
//! ```
//!
//! Nodes are development nodes, or the server that `MEILISEARCH_BIN` names.

mod catalogue;
mod comparing;
mod cpu;
mod healing;
mod ingest;
mod latency;
mod nginx;
mod options;
mod report;
mod stub;
mod writes;

use std::process::ExitCode;

use options::Options;
use report::Report;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("miroir-bench: {problem}");
            return ExitCode::from(2);
        }
    };
    let mut report = Report::new();
    if options.runs("latency") {
        latency::measure(&options, &mut report);
    }
    if options.runs("cpu") {
        cpu::measure(&options, &mut report);
    }
    if options.runs("ingest") {
        ingest::measure(&options, &mut report);
    }
    if options.runs("healing") {
        healing::measure(&options, &mut report);
    }
    if options.runs("comparing") {
        comparing::measure(&options, &mut report);
    }
    if options.runs("writes") {
        writes::measure(&options, &mut report);
    }
    let text = report.markdown();
    println!("{text}");
    match report::store(&options.out, &text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("miroir-bench: {}: {error}", options.out.display());
            ExitCode::FAILURE
        }
    }
}
