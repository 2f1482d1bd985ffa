//! Devices that are full and limits that are tight: told in three lines, and nothing panics.

use std::process::Command;

use crate::house::{self, err, out, status};

#[test]
fn output_that_cannot_be_written_is_told_and_nothing_panics() {
    let full = || std::fs::File::create("/dev/full").unwrap();
    for words in [
        &["--help"][..],
        &["run", "--dry-run", "--", "true"],
        &["ps"],
    ] {
        let output = house::hooktool(words).stdout(full()).output().unwrap();
        let told = err(&output);
        assert!(
            told.starts_with("hooktool: cannot write the output"),
            "{words:?}: {told}"
        );
        assert_eq!(told.lines().count(), 3, "{told}");
        let mut silent = house::hooktool(words);
        let silent = silent.stdout(full()).stderr(full()).output().unwrap();
        assert_eq!(status(&silent), status(&output), "{words:?}");
    }
}

/// Runs hooktool under a limit of the shell's `ulimit`.
fn limited(limit: &str, words: &[&str]) -> std::process::Output {
    let mut shell = Command::new("sh");
    let script = format!("ulimit {limit}; exec \"$@\"");
    shell
        .args(["-c", &script, "sh", house::HOOKTOOL])
        .args(words);
    house::clean(&mut shell).output().unwrap()
}

#[test]
fn limits_that_let_no_session_be_are_told_by_run() {
    for limit in ["-f 0", "-n 16"] {
        let output = limited(limit, &["run", "--", "true"]);
        assert_eq!(status(&output), 125, "{limit}: {output:?}");
        assert_eq!(err(&output).lines().count(), 3, "{}", err(&output));
    }
}

#[test]
fn limits_that_may_let_no_session_be_are_told_by_doctor() {
    for (limit, words) in [
        ("-f 0", "ulimit -f unlimited"),
        ("-n 16", "ulimit -n 4096"),
        ("-v 400000", "ulimit -v unlimited"),
    ] {
        let output = limited(limit, &["doctor"]);
        assert_eq!(status(&output), 1, "{limit}: {output:?}");
        assert!(out(&output).contains(words), "{}", out(&output));
    }
}
