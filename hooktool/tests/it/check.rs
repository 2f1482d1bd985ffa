//! Verdicts of `check` on real programs. With the empty driver nothing is hooked, so these tests
//! ask the table of calls alone (a driver path that does not exist).

use std::path::Path;

use crate::house::{as_nobody, err, hooktool, out, status, workshop};

/// Exit status and JSON of `check -j` by the table alone.
fn check(words: &[&str]) -> (i32, serde_json::Value) {
    let mut command = hooktool(&["check", "-j"]);
    let output = command
        .args(words)
        .env("HOOKTOOL_SHIM", "/no/driver")
        .output()
        .unwrap();
    let text = out(&output);
    let value = serde_json::from_str(&text);
    (
        status(&output),
        value.unwrap_or_else(|error| panic!("{error}: {text}{}", err(&output))),
    )
}

fn has(value: &serde_json::Value, key: &str, call: &str) -> bool {
    let calls = value[key].as_array().unwrap();
    calls.iter().any(|entry| entry == call || entry[0] == call)
}

#[test]
fn a_program_without_served_reads_is_partly() {
    let (code, value) = check(&["/bin/true"]);
    assert_eq!((code, &value["verdict"]), (3, &"partly".into()));
    let (code, value) = check(&["cat"]);
    assert_eq!(code, 3);
    assert!(has(&value, "bypassed", "read"), "{value}");
    assert!(has(&value, "followed", "write"), "{value}");
}

#[test]
fn a_static_program_is_impossible() {
    let (code, value) = check(&[workshop().join("static").to_str().unwrap()]);
    assert_eq!((code, &value["verdict"]), (4, &"impossible".into()));
    assert!(
        value["reason"]
            .as_str()
            .unwrap()
            .contains("statically linked")
    );
}

#[test]
fn scripts_are_judged_by_their_interpreter() {
    use std::os::unix::fs::PermissionsExt;
    let script = workshop().join("script");
    std::fs::write(&script, "#!/usr/bin/env -S sh -e\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, value) = check(&[script.to_str().unwrap()]);
    assert_eq!(code, 3);
    let program = value["program"].as_str().unwrap();
    assert!(program.ends_with("/sh"), "{program}");
}

#[test]
fn databases_are_covered_by_their_pread() {
    let postgres = "/usr/lib/postgresql/15/bin/postgres";
    if Path::new(postgres).exists() {
        let (code, value) = check(&["--", postgres, "-D", workshop().to_str().unwrap()]);
        assert_eq!((code, &value["verdict"]), (0, &"covered".into()), "{value}");
        assert!(has(&value, "served", "pread"), "{value}");
        assert!(has(&value, "followed", "pwrite"), "{value}");
        assert!(has(&value, "bypassed", "mmap"), "{value}");
        let next = value["next"].as_str().unwrap();
        assert!(next.starts_with("hooktool run --own "), "{next}");
        assert!(
            next.contains(&format!("{}/**", workshop().display())),
            "{next}"
        );
    }
    if Path::new("/usr/bin/sqlite3").exists() {
        let (code, value) = check(&["sqlite3"]);
        assert_eq!(code, 0, "{value}");
        assert!(has(&value, "served", "pread64"), "{value}");
    }
    if Path::new("/usr/bin/python3").exists() {
        let (code, value) = check(&["/usr/bin/python3"]);
        assert!(code == 0 && has(&value, "served", "pread64"), "{value}");
    }
}

#[test]
fn a_driver_without_hooks_serves_nothing() {
    let mut command = hooktool(&["check", "-j", "/usr/bin/sqlite3"]);
    let output = command.output().unwrap();
    if Path::new("/usr/bin/sqlite3").exists() {
        assert_eq!(status(&output), 3);
        let value: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
        assert!(has(&value, "unseen", "pwrite64"), "{value}");
    }
}

#[test]
fn io_uring_is_told_and_has_its_flag() {
    let library = workshop().join("liburing.so.2");
    let ring = workshop().join("ring");
    let uses = "int io_uring_queue_init(); int pread();\n\
                int main(void) { return io_uring_queue_init() + pread(); }\n";
    build(
        &library,
        "int io_uring_queue_init() { return 0; }\n",
        &["-shared", "-fPIC"],
    );
    build(&ring, uses, &[library.to_str().unwrap()]);
    let (code, value) = check(&[ring.to_str().unwrap()]);
    assert_eq!(code, 3, "{value}");
    assert!(has(&value, "unseen", "io_uring_queue_init"), "{value}");
    assert!(
        value["next"].as_str().unwrap().contains("--no-io-uring"),
        "{value}"
    );
}

#[test]
fn who_starts_other_programs_is_not_written_off() {
    let (code, value) = check(&["/usr/bin/env"]);
    assert_eq!(code, 3, "{value}");
    assert_eq!(value["starts"][0], "execvp", "{value}");
    let reason = value["reason"].as_str().unwrap();
    assert!(
        reason.contains("starts or loads other code (execvp)"),
        "{value}"
    );
}

#[test]
fn running_processes_are_judged_by_what_they_mapped() {
    let pid = std::process::id().to_string();
    let (code, value) = check(&[&pid]);
    assert_eq!(value["pid"], std::process::id());
    assert!(code == 0 || code == 3, "{value}");
    assert!(
        value["reason"]
            .as_str()
            .unwrap()
            .starts_with("not hooked now"),
        "{value}"
    );
    let output = hooktool(&["check", "4194304000"]).output().unwrap();
    assert_eq!(status(&output), 1, "no such process: {}", err(&output));
    let output = as_nobody(&["check", "1"]);
    assert_eq!(status(&output), 1);
    assert!(
        err(&output).contains("sudo hooktool check 1"),
        "{}",
        err(&output)
    );
}

#[test]
fn text_stays_within_eighty_columns() {
    let output = hooktool(&["check", "/bin/sh"]).output().unwrap();
    let text = out(&output);
    assert!(text.lines().count() >= 5, "{text}");
    for line in text
        .lines()
        .filter(|line| !line.starts_with("next:") && line.contains("  "))
    {
        assert!(line.len() <= 80, "{line}");
    }
}

/// Compiles a text; what stands after the source may be libraries.
fn build(file: &Path, text: &str, after: &[&str]) {
    let source = file.with_extension("c");
    std::fs::write(&source, text).unwrap();
    let mut cc = std::process::Command::new("cc");
    cc.args(["-w", "-o"]).arg(file).arg(&source).args(after);
    assert!(cc.status().unwrap().success(), "cc {}", file.display());
}
