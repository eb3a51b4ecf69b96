//! The doors between the wings, and between the rooms of core, as `docs/architecture.md` has them: whoever names one stands in
//! it or above it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How the lines of the page begin that list the wings, and the rooms of core, the lowest first.
const WINGS: &str = "state <- ";
const ROOMS: &str = "base <- ";
/// What holds all wings, and stands above them.
const WHOLE: &str = "Cluster";
/// What every wing may name: errors, times, and the client for requests to where somebody else wants them sent.
const SHARED: [&str; 3] = ["error", "clock", "outbound"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn source_of_core() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../miroir-core/src")
}

fn wings() -> Vec<String> {
    listed(WINGS)
}

fn listed(start: &str) -> Vec<String> {
    let page = include_str!("../../../docs/architecture.md");
    let line = page.lines().find_map(|line| line.find(start).map(|at| &line[at..])).expect("the page lists them");
    let line = line.split('`').next().unwrap_or_default();
    line.split("<-").map(|wing| wing.trim().to_owned()).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let files = paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] });
    files.filter(|path| path.file_name().is_some_and(|name| name != "tests.rs")).collect()
}

/// The code of a file without comments and without its unit tests, which may build a whole instance.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn first_word(code: &str) -> &str {
    let code = code.trim_start();
    code.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The items of `{a::b, c::{d, e}}`, without the braces within them.
fn items(group: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut items) = (0, 1, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 1 => {
                items.push(&group[begin..at]);
                begin = at + 1;
            }
            '}' if depth == 1 => {
                items.push(&group[begin..at]);
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    items
}

/// What stands behind `crate::`, one by one or in a group.
fn named(code: &str) -> Vec<&str> {
    let places = code.match_indices("crate::").filter(|(at, _)| !code[..*at].ends_with("_"));
    let behind = places.map(|(at, found)| &code[at + found.len()..]);
    behind.flat_map(|code| if code.starts_with('{') { items(code) } else { vec![code] }).map(first_word).collect()
}

/// What the root of the crate re-exports, by the wing that it is of.
fn exported() -> BTreeMap<String, String> {
    let root = std::fs::read_to_string(source().join("lib.rs")).expect("UTF-8").replace("\n    ", "");
    let lines = root.lines().filter_map(|line| line.strip_prefix("pub use ")?.strip_suffix(';'));
    let exports = lines.flat_map(|line| {
        let wing = first_word(line).to_owned();
        let names = match line.find('{') {
            Some(at) => items(&line[at..]).into_iter().map(first_word).map(str::to_owned).collect(),
            None => vec![line.rsplit("::").next().unwrap_or_default().to_owned()],
        };
        names.into_iter().map(move |name| (name, wing.clone()))
    });
    exports.collect()
}

#[test]
fn the_page_lists_the_wings_and_rooms_that_there_are() {
    for (source, start) in [(source(), WINGS), (source_of_core(), ROOMS)] {
        let entries = std::fs::read_dir(source).expect("the sources").map(|entry| entry.expect("an entry").path());
        let folders = entries.filter(|path| path.is_dir());
        let name = |path: PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
        let (mut folders, mut listed): (Vec<String>, _) = (folders.map(name).collect(), listed(start));
        folders.sort();
        listed.sort();
        assert_eq!(folders, listed);
    }
}

/// Whoever stands in one of `folders`, the lowest first, names only that one and those below it. `of` says whose a name is;
/// `None`: everybody's.
fn assert_doors(source: &Path, folders: &[String], of: impl Fn(&str) -> Option<String>) {
    let height = |folder: &str| folders.iter().position(|known| known == folder);
    let mut looked_at = 0;
    for folder in folders {
        for path in files_below(&source.join(folder)) {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            let (code, shown) = (code_of(&text), path.display());
            for name in named(&code) {
                let Some(of) = of(name) else { continue };
                let above = height(&of).unwrap_or_else(|| panic!("{shown}: whose is `crate::{name}`?"))
                    > height(folder).expect("listed");
                assert!(!above, "{shown} is in `{folder}` and names `{name}` of `{of}`, which is above it");
            }
            // By no other way: not up to the root by `super`, and not by another name of it.
            let below = path.strip_prefix(source).expect("below it").components().count();
            assert!(!code.contains(&"super::".repeat(below)), "{shown} climbs to the root");
            assert!(!code.contains("crate as "), "{shown} gives the crate another name");
            looked_at += 1;
        }
    }
    assert!(looked_at > 100, "{looked_at} files were looked at");
}

#[test]
fn a_room_of_core_knows_only_itself_and_those_below_it() {
    assert_doors(&source_of_core(), &listed(ROOMS), |name| Some(name.to_owned()));
}

#[test]
fn a_wing_knows_only_itself_and_those_below_it() {
    let exported = exported();
    assert_doors(&source(), &wings(), |name| {
        assert_ne!(name, WHOLE, "a wing names what holds all wings");
        let of = exported.get(name).map_or(name, String::as_str);
        (!SHARED.contains(&of)).then(|| of.to_owned())
    });
}

#[test]
fn what_every_wing_may_name_knows_no_wing_but_the_state() {
    let exported = exported();
    for name in SHARED {
        let text = std::fs::read_to_string(source().join(format!("{name}.rs"))).expect("UTF-8");
        for named in named(&code_of(&text)) {
            let of = exported.get(named).map_or(named, String::as_str);
            assert!(of == "state" || SHARED.contains(&of), "{name}.rs names `{named}` of `{of}`");
        }
    }
}

#[test]
fn a_wing_is_a_type_of_its_own_and_nobody_elses_is_extended() {
    let exported = exported();
    let structs = ["State", "Reads", "Writes", "Tasks", "SharedSettings", "Replicas", "Membership", "Writer"];
    for wing in wings() {
        for path in files_below(&source().join(&wing)) {
            let code = code_of(&std::fs::read_to_string(&path).expect("UTF-8"));
            for name in structs.iter().filter(|name| exported[**name] != wing) {
                let extends = code.lines().any(|line| {
                    let head = line.strip_prefix("impl").map(|rest| rest.split('{').next().unwrap_or_default());
                    // What implements a trait of core by the same name extends no wing.
                    head.is_some_and(|head| head.split(" for ").last().map(str::trim) == Some(name))
                });
                assert!(!extends, "{} extends `{name}`, which is of `{}`", path.display(), exported[*name]);
            }
        }
    }
}

#[test]
fn a_name_is_found_wherever_it_stands() {
    for code in [
        "use crate::task::reconcile::finish;",
        "use crate::{state::x, task::finish};",
        "use crate::{\n    Error,\n    task::{reconcile::{a, b}, c},\n};",
        "crate::task::finish()",
        "fn f(x: &crate::task::X)",
    ] {
        assert!(named(&code_of(code)).contains(&"task"), "{code}");
    }
    for code in [
        "// crate::task",
        "let tasks = 1;",
        "use miroir_core::write::task::Task;",
        "#[cfg(test)]\nmod tests {\nuse crate::task;",
    ] {
        assert!(!named(&code_of(code)).contains(&"task"), "{code}");
    }
    assert_eq!(exported().get("Writer").map(String::as_str), Some("write"));
    assert_eq!(exported().get("OverFetch").map(String::as_str), Some("read"));
}
