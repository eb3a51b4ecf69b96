//! No server outlives the tests, whatever ends them.
//!
//! Clusters are shared through statics, which are never dropped, and a test run may be killed. So one small shell per
//! test process keeps a list of servers and directories, told through its standard input; when that pipe closes, it
//! ends the servers and removes the directories that are still on the list.

use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

const SCRIPT: &str = r#"
trap '' INT TERM
pids=' '
dirs=' '
while read -r verb what; do
  case $verb in
    watch) pids="$pids$what " ;;
    forget) pids="${pids%%" $what "*} ${pids#*" $what "}" ;;
    sweep) dirs="$dirs$what " ;;
    swept) dirs="${dirs%%" $what "*} ${dirs#*" $what "}" ;;
  esac
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
for dir in $dirs; do rm -rf "$dir"; done
"#;

static REAPER: Mutex<Option<(Child, ChildStdin)>> = Mutex::new(None);

fn tell(line: &str) {
    let mut guard = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.is_none() {
        let shell = Command::new("sh").arg("-c").arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        *guard = shell.ok().and_then(|mut shell| shell.stdin.take().map(|pipe| (shell, pipe)));
    }
    if let Some((_, pipe)) = guard.as_mut() {
        // A reaper that is gone costs only the tidying up.
        let _ = pipe.write_all(line.as_bytes());
    }
}

/// End the process `pid` when the tests end.
pub fn watch(pid: u32) {
    tell(&format!("watch {pid}\n"));
}

/// The process `pid` was ended and waited for; its number may be reused by others.
pub fn forget(pid: u32) {
    tell(&format!("forget {pid}\n"));
}

/// Remove the directory when the tests end.
pub fn sweep(dir: &Path) {
    tell(&format!("sweep {}\n", dir.display()));
}

/// The directory is gone already.
pub fn swept(dir: &Path) {
    tell(&format!("swept {}\n", dir.display()));
}
