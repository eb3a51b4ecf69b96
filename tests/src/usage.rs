//! What a process has used, from `/proc`.

use std::fs::read_to_string;

/// CPU seconds, user and kernel, of a process and of the children that still run; 0 for one that is gone.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold blanks; utime and stime are the 12th and 13th fields after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let own = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    let children = read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    own + children.split_whitespace().filter_map(|child| child.parse().ok()).map(cpu_seconds).sum::<f64>()
}

/// The most resident memory that a process ever had, in bytes.
pub fn peak_memory(pid: u32) -> u64 {
    let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Have a process, with all threads that it has or will have, run on this core alone.
pub fn pin(pid: u32, core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let id = thread.file_name().to_str().and_then(|name| name.parse().ok()).and_then(rustix::thread::Pid::from_raw);
        // A thread may have ended in the meantime.
        let _ = rustix::thread::sched_setaffinity(id, &cores);
    }
}

/// Have the peak begin anew. Returns the bytes in use by now.
pub fn forget_peak(pid: u32) -> u64 {
    // Where that is not permitted, the peak is that of the process's whole life.
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
    peak_memory(pid)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_used_something() {
        let start = std::time::Instant::now();
        while super::cpu_seconds(std::process::id()) == 0.0 {
            assert!(start.elapsed().as_secs() < 20, "no CPU time is counted");
        }
        assert!(super::peak_memory(std::process::id()) > 1 << 20);
    }
}
