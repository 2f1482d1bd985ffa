//! The bus on bad ground: a full memory, rights that are missing, files that somebody changed. Each
//! is told in three lines that say what to do, and no message is lost.
//!
//! The full memories are real: small tmpfs, mounted for the test, so it wants root and says so.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bus::Bed;
use crate::house;

/// Room of the small memory: one channel of two rings of 64 KiB and its pages, and 40 KiB.
const ROOM: &str = "size=192k";

const TABLE: &str = "[[channel]]\nbetween = [\"0.0.1.1\", \"0.0.2.1\"]\nsend = \"64KiB\"\n\
    receive = \"64KiB\"\n";

const MORE: &str = "[[channel]]\nbetween = [\"0.0.2.1\", \"0.0.3.1\"]\nsend = \"64KiB\"\n\
    receive = \"64KiB\"\n";

/// A small tmpfs under a bed, unmounted before the bed goes.
struct Memory(PathBuf);

impl Memory {
    /// Mounts it; `None`: nobody but root may, and in CI nothing may skip.
    fn under(bed: &Bed) -> Option<Memory> {
        if !house::is_root() {
            assert!(std::env::var_os("CI").is_none(), "in CI nothing may skip");
            eprintln!("left out: only root can mount a small memory");
            return None;
        }
        let at = bed.path().join("default");
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", ROOM, "tmpfs"]).arg(&at);
        assert!(mount.status().unwrap().success(), "mount a tmpfs");
        Some(Memory(at))
    }

    /// Fills what is left of it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let bytes = vec![1; 1 << 20];
        // As much as goes in; the rest is refused.
        let _ = fs::write(&path, &bytes);
        assert!(fs::metadata(&path).unwrap().len() < 1 << 20, "not full");
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// The channel file of the table.
fn channel(bed: &Bed) -> PathBuf {
    bed.path().join("default/0.0.1.1_0.0.2.1.channel")
}

fn resize(path: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

#[test]
fn a_full_memory_refuses_a_channel_and_keeps_the_others() {
    let bed = Bed::new();
    let Some(memory) = Memory::under(&bed) else {
        return;
    };
    bed.good(&["apply", &bed.file("one.toml", TABLE)]);
    bed.good(&["send", "0.0.1.1", "0.0.2.1", "before"]);
    let both = bed.file("both.toml", &format!("{TABLE}{MORE}"));
    let before = memory.names();
    let text = bed.bad(&["apply", &both], 1);
    assert!(
        text.contains("no room for") && text.contains("df "),
        "{text}"
    );
    assert_eq!(memory.names(), before, "nothing half made stays behind");
    // What was made has its memory: to send and to receive needs none.
    let ballast = memory.fill();
    bed.good(&["send", "0.0.1.1", "0.0.2.1", "in between"]);
    let words = [
        "test",
        "--src",
        "0.0.1.1",
        "--dst",
        "0.0.2.1",
        "--data-len",
        "16000",
    ];
    (0..3).for_each(|_| drop(bed.good(&words)));
    let text = bed.bad(&[&words[..], &["--count", "2"]].concat(), 1);
    assert!(text.contains("full"), "{text}");
    assert_eq!(
        bed.good(&["recv", "-n", "2", "0.0.2.1"]),
        "before\nin between\n"
    );
    fs::remove_file(ballast).unwrap();
}

#[test]
fn a_full_memory_keeps_the_old_routes() {
    let bed = Bed::new();
    let Some(memory) = Memory::under(&bed) else {
        return;
    };
    let route = "[[route]]\naddress = \"0.0.9.1\"\nto = \"tcp://127.0.0.1:1\"\n";
    bed.good(&["routes", "apply", &bed.file("routes.toml", route)]);
    let before = bed.good(&["routes", "ls", "-j"]);
    let ballast = memory.fill();
    let many: String = (1..200)
        .map(|nth| route.replace("9.1", &format!("9.{nth}")))
        .collect();
    let text = bed.bad(&["routes", "apply", &bed.file("many.toml", &many)], 1);
    assert!(text.contains("No space left"), "{text}");
    assert_eq!(bed.good(&["routes", "ls", "-j"]), before);
    fs::remove_file(ballast).unwrap();
    assert!(
        memory.names().iter().all(|name| !name.contains("new")),
        "{:?}",
        memory.names()
    );
}

#[test]
fn who_has_no_right_is_told_whose_it_is() {
    if !house::is_root() {
        assert!(std::env::var_os("CI").is_none(), "in CI nothing may skip");
        eprintln!("left out: only root can be somebody else");
        return;
    }
    let bed = Bed::new();
    bed.good(&["apply", &bed.file("table.toml", TABLE)]);
    bed.good(&["send", "0.0.1.1", "0.0.2.1", "kept"]);
    let as_nobody = |words: &[&str]| {
        let mut command = bed.command(words);
        command.uid(65534).gid(65534).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {text}");
        assert_eq!(text.lines().count(), 3, "{text}");
        text
    };
    // The directory is closed to others.
    let text = as_nobody(&["send", "0.0.1.1", "0.0.2.1", "x"]);
    assert!(text.contains("Permission denied"), "{text}");
    // The directory is open, the file is not; then the file may be read, but not written.
    let directory = bed.path().join("default");
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    for mode in [0o600, 0o644] {
        fs::set_permissions(channel(&bed), Permissions::from_mode(mode)).unwrap();
        for words in [
            &["send", "0.0.1.1", "0.0.2.1", "x"][..],
            &["recv", "0.0.2.1"],
            &["clean", "0.0.1.1", "0.0.2.1"],
            &["rm", "0.0.1.1", "0.0.2.1"],
            &[
                "apply",
                "--yes",
                &bed.file("more.toml", &format!("{TABLE}{MORE}")),
            ],
        ] {
            let text = as_nobody(words);
            assert!(text.contains("ermission denied"), "{words:?}: {text}");
        }
    }
    assert_eq!(bed.good(&["recv", "0.0.2.1"]), "kept\n");
}

#[test]
fn a_channel_file_of_the_wrong_size_is_named_and_its_messages_wait() {
    let bed = Bed::new();
    bed.good(&["apply", &bed.file("table.toml", &format!("{TABLE}{MORE}"))]);
    bed.good(&["send", "0.0.1.1", "0.0.2.1", "waits"]);
    bed.good(&["send", "0.0.2.1", "0.0.3.1", "neighbour"]);
    let path = channel(&bed);
    let right = fs::metadata(&path).unwrap().len();
    let shown = path.to_str().unwrap();
    for wrong in [right + 1, right + 4096, right * 2] {
        resize(&path, wrong);
        let text = bed.bad(&["send", "0.0.1.1", "0.0.2.1", "x"], 1);
        assert!(
            text.contains(shown) && text.contains("should have"),
            "{text}"
        );
        assert_eq!(
            fs::metadata(&path).unwrap().len(),
            wrong,
            "nobody mends it by guessing"
        );
        assert_eq!(
            bed.good(&["ls"])
                .lines()
                .filter(|line| line.contains("0.0.3.1"))
                .count(),
            1
        );
        // The table wants it as it was; it is not made anew over what is there.
        bed.run(&[
            "apply",
            "--yes",
            &bed.file("table.toml", &format!("{TABLE}{MORE}")),
        ]);
        assert_eq!(fs::metadata(&path).unwrap().len(), wrong);
    }
    resize(&path, right);
    assert_eq!(bed.good(&["recv", "0.0.2.1"]), "waits\n");
    assert_eq!(bed.good(&["recv", "0.0.3.1"]), "neighbour\n");
}
