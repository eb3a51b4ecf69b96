//! What the command says and does before it serves.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_miroir-proxy"));
    command.env_clear().args(arguments).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn defaults_are_printed_and_their_file_is_checked() {
    let printed = run(&["config", "print-defaults"]);
    assert!(printed.status.success());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("miroir.yaml");
    std::fs::write(&file, &printed.stdout).expect("written");
    let file = file.to_str().expect("UTF-8");
    let checked = run(&["--config", file, "--set", "server.port=nonsense", "config", "check"]);
    assert!(!checked.status.success());
    assert!(text(&checked.stderr).contains("server.port"), "{}", text(&checked.stderr));
}

#[test]
fn a_missing_file_is_named() {
    let missing = run(&["config", "check"]);
    assert!(!missing.status.success());
    assert_eq!(text(&missing.stderr), "miroir-proxy: --config FILE is missing\n");
    let nowhere = run(&["--config", "/nowhere/miroir.yaml", "config", "check"]);
    assert!(text(&nowhere.stderr).starts_with("miroir-proxy: cannot read the configuration /nowhere/miroir.yaml: "));
}
