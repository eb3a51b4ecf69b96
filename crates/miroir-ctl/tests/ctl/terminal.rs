//! What is different where somebody sits before a terminal.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::commands::{ENDED, MOVING, TOPOLOGY};
use crate::stub::{Stub, home};

/// How a command ended, and everything that the terminal showed.
struct Seen {
    code: Option<i32>,
    screen: String,
}

/// Runs the binary on a terminal of 100 columns, where somebody types this.
fn at_terminal(home: &Path, arguments: &[&str], typed: &str) -> Seen {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("a terminal");
    let name = ptsname(&terminal, Vec::new()).expect("its name");
    let name = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let side = OpenOptions::new().read(true).write(true).open(name).expect("its other side");
    tcsetwinsize(&side, Winsize { ws_row: 25, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).expect("its size");
    let stdio = || Stdio::from(side.try_clone().expect("its other side"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_miroir-ctl"));
    command.env_clear().env("HOME", home).env("TERM", "xterm").args(arguments);
    let mut child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().expect("it runs");
    drop((command, side));
    let mut terminal = File::from(terminal);
    terminal.write_all(typed.as_bytes()).expect("it takes keys");
    let mut screen = Vec::new();
    let mut piece = [0; 4096];
    // The read fails once nobody is at the other side any more.
    while let Ok(length @ 1..) = terminal.read(&mut piece) {
        screen.extend_from_slice(&piece[..length]);
    }
    let code = child.wait().expect("it ends").code();
    Seen { code, screen: String::from_utf8_lossy(&screen).into_owned() }
}

#[test]
fn a_table_is_ruled_and_no_wider_than_the_terminal() {
    let stub = Stub::start(&[("/_miroir/topology", 200, TOPOLOGY)]);
    let seen = at_terminal(home().path(), &["topology", "--url", &stub.url], "");
    assert_eq!(seen.code, Some(0), "{}", seen.screen);
    assert!(seen.screen.contains("────"), "{}", seen.screen);
    assert!(seen.screen.lines().all(|line| line.trim_end().chars().count() <= 100), "{}", seen.screen);
    let seen = at_terminal(home().path(), &["topology", "--url", &stub.url, "--output", "json"], "");
    assert!(seen.screen.starts_with('{') && !seen.screen.contains('─'), "{}", seen.screen);
}

#[test]
fn long_work_is_a_bar() {
    const BEGUN: &str = r#"{"id":"t-1","change":{"type":"addNode","node":"meili-3","replicaGroup":0},"replicas":8}"#;
    let stub = Stub::start(&[
        ("/_miroir/nodes", 202, BEGUN),
        ("/_miroir/rebalance/status", 200, MOVING),
        ("/_miroir/rebalance/status", 200, ENDED),
    ]);
    let add = ["node", "add", "meili-3", "http://x:1", "--wait", "--url", &stub.url];
    let seen = at_terminal(home().path(), &add, "");
    assert_eq!(seen.code, Some(0), "{}", seen.screen);
    assert!(seen.screen.contains("[=====") && seen.screen.contains("3 of 8 replicas moved"), "{}", seen.screen);
    let end = "done: add node meili-3 to group 0, 8 replicas moved, 120 documents\r\n";
    assert!(seen.screen.ends_with(end), "{}", seen.screen);
}

const REMOVING: &str = r#"{"id":"t-2","change":{"type":"removeNode","node":"meili-1","replicaGroup":0},"replicas":10}"#;

#[test]
fn somebody_at_a_terminal_is_asked_before_a_node_or_a_group_goes() {
    for (arguments, path, question) in [
        (
            ["node", "remove", "meili-1"],
            "/_miroir/nodes/meili-1",
            "Remove node meili-1 (http://127.0.0.1:7702, failed, 10",
        ),
        (["group", "remove", "0"], "/_miroir/groups/0", "Remove replica group 0 with meili-0, meili-1 from http://127"),
    ] {
        let stub = Stub::start(&[
            ("/_miroir/topology", 200, TOPOLOGY),
            ("/_miroir/nodes/meili-1", 202, REMOVING),
            ("/_miroir/groups/0", 202, REMOVING),
        ]);
        let home = home();
        let run = |more: &[&str], typed: &str| {
            at_terminal(home.path(), &[&arguments[..], &["--url", &stub.url], more].concat(), typed)
        };
        let asked = || stub.asked.try_iter().map(|(path, _)| path).collect::<Vec<_>>();
        for refusal in ["no\r", "\r", "maybe\rn\r"] {
            let seen = run(&[], refusal);
            assert!(seen.screen.contains(question) && seen.screen.contains("nothing was done"), "{}", seen.screen);
            assert_eq!((seen.code, asked()), (Some(1), vec!["/_miroir/topology".to_owned()]), "{refusal:?}");
        }
        let seen = run(&[], "yes\r");
        assert_eq!(seen.code, Some(0), "{}", seen.screen);
        assert_eq!(asked(), ["/_miroir/topology", path]);
        let seen = run(&["--yes"], "");
        assert_eq!(seen.code, Some(0), "{}", seen.screen);
        assert!(!seen.screen.contains('?'), "{}", seen.screen);
        assert_eq!(asked(), [path]);
    }
}
