//! Several clusters, each with a profile in the credentials file.

use std::fs::{Permissions, create_dir_all, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::commands::TOPOLOGY;
use crate::stub::{Stub, ctl, home, text};

/// Writes `text` as a credentials file below this directory, for nobody else to read.
fn credentials(config: &Path, text: &str) -> PathBuf {
    let directory = config.join("miroir");
    create_dir_all(&directory).expect("a directory");
    private(directory.join("credentials"), text)
}

fn private(path: PathBuf, text: &str) -> PathBuf {
    write(&path, text).expect("a file");
    set_permissions(&path, Permissions::from_mode(0o600)).expect("its mode");
    path
}

fn stub() -> Stub {
    Stub::start(&[("/_miroir/topology", 200, TOPOLOGY)])
}

/// The key that the stub was shown last.
fn key(stub: &Stub) -> Option<String> {
    stub.asked.try_iter().last().expect("a request").1
}

#[test]
fn a_profile_has_the_address_and_the_key_of_its_cluster() {
    let (one, two, home) = (stub(), stub(), home());
    let config = home.path().join(".config");
    let profile = |name, url, key| format!("[profile.{name}]\nurl = \"{url}\"\n{key}\n");
    let file = credentials(
        &config,
        &[
            "admin_key = \"general\"".into(),
            profile("one", &one.url, "admin_key = \"first\""),
            profile("two", &two.url, "admin_key_file = \"two.key\""),
            profile("bare", &two.url, ""),
        ]
        .join("\n"),
    );
    private(config.join("miroir/two.key"), "second\n");
    // Neither the address nor the key of the environment plays a part: they are another cluster's.
    let other = [("MIROIR_URL", "http://127.0.0.1:1"), ("MIROIR_ADMIN_API_KEY", "other")];
    let out = ctl(home.path(), &["topology", "--profile", "one"], &other);
    assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(0), ""));
    assert_eq!(key(&one).as_deref(), Some("Bearer first"));
    let out = ctl(home.path(), &["topology"], &[&other[..], &[("MIROIR_PROFILE", "two")]].concat());
    assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(0), ""));
    assert_eq!(key(&two).as_deref(), Some("Bearer second"));
    let out = ctl(home.path(), &["--profile", "one", "topology", "--url", &two.url], &[("MIROIR_PROFILE", "two")]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(key(&two).as_deref(), Some("Bearer first"));
    let out = ctl(home.path(), &["topology", "--profile", "bare"], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(key(&two).as_deref(), Some("Bearer general"));

    let out = ctl(home.path(), &["topology", "--profile", "tow"], &[]);
    let told = format!("miroir-ctl: there is no profile tow in {}; there are bare, one, two\n", file.display());
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(2), told));
}

#[test]
fn a_profile_without_a_file_is_wrong_usage() {
    let home = home();
    let out = ctl(home.path(), &["topology", "--profile", "one"], &[]);
    let told = text(&out.stderr);
    assert!(out.status.code() == Some(2) && told.contains(".config/miroir/credentials does not exist"), "{told}");
    let out = ctl(Path::new(""), &["topology", "--profile", "one"], &[]);
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
}

#[test]
fn the_file_is_where_xdg_says_or_where_it_always_was() {
    let (stub, home) = (stub(), home());
    let ask = |environment: &[(&str, &str)]| {
        let out = ctl(home.path(), &["topology", "--url", &stub.url], environment);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        key(&stub)
    };
    let elsewhere = home.path().join("elsewhere");
    let xdg = [("XDG_CONFIG_HOME", elsewhere.to_str().expect("UTF-8"))];
    credentials(&home.path().join(".config"), "admin_key = \"old\"");
    assert_eq!(ask(&xdg).as_deref(), Some("Bearer old"));
    credentials(&elsewhere, "admin_key = \"new\"");
    assert_eq!(ask(&xdg).as_deref(), Some("Bearer new"));
    assert_eq!(ask(&[]).as_deref(), Some("Bearer old"));
}

#[test]
fn a_key_that_others_may_read_is_said() {
    let (stub, home) = (stub(), home());
    let ask = |arguments: &[&str]| {
        let out = ctl(home.path(), &[&["topology", "--url", &stub.url], arguments].concat(), &[]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        text(&out.stderr)
    };
    let file = credentials(&home.path().join(".config"), "[profile.a]\nurl = \"http://x\"\nadmin_key_file = \"k\"");
    let key = private(file.with_file_name("k"), "abc");
    let open = |path: &Path| set_permissions(path, Permissions::from_mode(0o640)).expect("its mode");
    // It holds no key itself.
    open(&file);
    assert_eq!(ask(&["--profile", "a"]), "");
    open(&key);
    let told = |path: &Path| {
        format!("miroir-ctl: others may read the key in {}: chmod 600 {}\n", path.display(), path.display())
    };
    assert_eq!(ask(&["--profile", "a"]), told(&key));
    write(&file, "admin_key = \"abc\"").expect("a file");
    assert_eq!(ask(&[]), told(&file));
    assert_eq!(ask(&["--output", "json"]), told(&file));
}
