//! The doors between the wings, as `docs/architecture.md` has them: whoever names a wing stands in that wing or above it.

use std::path::{Path, PathBuf};

/// The line of the page that lists the wings, the lowest first.
const LINE: &str = "state <- ";

/// The struct of each wing.
const STRUCTS: [(&str, &str); 7] = [
    ("state", "State"),
    ("read", "Reads"),
    ("write", "Writes"),
    ("task", "Tasks"),
    ("settings", "SharedSettings"),
    ("replica", "Replicas"),
    ("membership", "Membership"),
];

fn wings() -> Vec<String> {
    let page = include_str!("../../../docs/architecture.md");
    let line = page.lines().find_map(|line| line.find(LINE).map(|at| &line[at..])).expect("the page lists the wings");
    let line = line.split('`').next().unwrap_or_default();
    line.split("<-").map(|wing| wing.trim().to_owned()).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let files = paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] });
    files.filter(|path| path.file_name().is_some_and(|name| name != "tests.rs")).collect()
}

/// The code of a file without its unit tests and comments: tests may build a whole instance.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The wings that this code names, by their modules or their structs, and `Cluster`, which is above all of them.
fn named(code: &str) -> Vec<&str> {
    let by_module = code.match_indices("crate::").filter_map(|(at, found)| words(&code[at + found.len()..]).next());
    let by_struct = words(code).filter_map(|word| {
        let found = STRUCTS.iter().find(|(_, name)| *name == word);
        found.map(|(wing, _)| *wing).or_else(|| (word == "Cluster").then_some(word))
    });
    by_module.chain(by_struct).collect()
}

#[test]
fn the_page_lists_the_wings_that_there_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders: Vec<String> = std::fs::read_dir(folder)
        .expect("the sources")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    let (mut listed, mut known) = (wings(), STRUCTS.map(|(wing, _)| wing.to_owned()).to_vec());
    for names in [&mut folders, &mut listed, &mut known] {
        names.sort();
    }
    assert_eq!(folders, listed);
    assert_eq!(folders, known);
}

#[test]
fn a_wing_knows_only_itself_and_those_below_it() {
    let wings = wings();
    let mut looked_at = 0;
    for (height, wing) in wings.iter().enumerate() {
        for path in files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(wing)) {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            let code = code_of(&text);
            for name in named(&code) {
                let is_above = name == "Cluster" || wings.iter().skip(height + 1).any(|above| above == name);
                assert!(!is_above, "{} is in `{wing}` and names `{name}`, which is above it", path.display());
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 50, "{looked_at} files were looked at");
}

#[test]
fn a_wing_is_a_type_of_its_own_and_nobody_elses_is_extended() {
    for (wing, _) in STRUCTS {
        for path in files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(wing)) {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            for (other, name) in STRUCTS.iter().filter(|(other, _)| *other != wing) {
                let extends = text.lines().any(|line| line.starts_with(&format!("impl {name} ")));
                assert!(!extends, "{} extends `{name}`, which is of `{other}`", path.display());
            }
        }
    }
}

#[test]
fn a_name_of_a_wing_above_is_found_wherever_it_stands() {
    let found = |code: &str| named(code).contains(&"task");
    for code in ["use crate::task::reconcile::finish;", "let x: Arc<Tasks> = y;", "crate::task::finish()"] {
        assert!(found(&code_of(code)), "{code}");
    }
    for code in [
        "// crate::task",
        "let tasks = 1;",
        "use miroir_core::task::Task;",
        "#[cfg(test)]\nmod tests {\nuse crate::task;",
    ] {
        assert!(!found(&code_of(code)), "{code}");
    }
}
