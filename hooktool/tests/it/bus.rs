//! `hooktool bus` from outside: tables, channels, messages, and what is said when it cannot be.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::house::HOOKTOOL;

const TABLE: &str = r#"
[[channel]]
between = ["0.0.1.1", "0.0.2.1"]
send = "64KiB"
receive = "8KiB"
description = "orders"

[[channel]]
between = ["0.0.2.1", "0.0.3.1"]
"#;

/// A bus for one test.
pub struct Bed(PathBuf);

impl Bed {
    /// One without channels.
    pub fn new() -> Bed {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hooktool-it-bus-{}-{nth}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Bed(path)
    }

    fn with_table() -> Bed {
        let bed = Bed::new();
        bed.good(&["apply", &bed.file("table.toml", TABLE)]);
        bed
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it, by its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    }

    /// hooktool, on this bus.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(HOOKTOOL);
        command.arg("bus").args(words).env_remove("HOOKTOOL_BUS");
        command.env("RAMGRID_BUS_DIR", &self.0).stdin(Stdio::null());
        command
    }

    /// What it did.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What it printed; it must succeed.
    pub fn good(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Three lines of complaint and a status.
    pub fn bad(&self, words: &[&str], status: i32) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        text
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_table_is_applied_and_applied_again_changes_nothing() {
    let bed = Bed::with_table();
    bed.good(&["send", "0.0.1.1", "0.0.2.1", "stays"]);
    let before = bed.good(&["ls", "-j"]);
    let again = bed.good(&["apply", &bed.file("table.toml", TABLE)]);
    assert!(
        again.contains("2 kept as they were") && !again.contains("made"),
        "{again}"
    );
    assert_eq!(bed.good(&["ls", "-j"]), before);
    let first: serde_json::Value = serde_json::from_str(before.lines().next().unwrap()).unwrap();
    assert_eq!(first["ends"], serde_json::json!(["0.0.1.1", "0.0.2.1"]));
    assert_eq!(first["ring_bytes"], serde_json::json!([65536, 8192]));
    assert_eq!(first["queued"], serde_json::json!([1, 0]));
    assert_eq!(bed.good(&["recv", "0.0.2.1"]), "stays\n");
}

#[test]
fn surplus_channels_go_after_a_yes_and_others_come() {
    let bed = Bed::with_table();
    bed.good(&["send", "0.0.2.1", "0.0.3.1", "doomed"]);
    let other = TABLE.replace("0.0.3.1", "0.0.4.1");
    let other = bed.file("other.toml", &other);
    let text = bed.bad(&["apply", &other], 1);
    assert!(
        text.contains("1 channels with 1 messages") && text.contains("--yes"),
        "{text}"
    );
    let dry = bed.good(&["apply", "--dry-run", &other]);
    assert!(dry.contains("would be made 0.0.2.1 0.0.4.1"), "{dry}");
    assert!(
        dry.contains("would be removed") && dry.contains("with 1 messages"),
        "{dry}"
    );
    assert!(bed.good(&["ls"]).contains("0.0.3.1"));
    bed.good(&["apply", "--yes", &other]);
    let list = bed.good(&["ls"]);
    assert!(
        list.contains("0.0.4.1") && !list.contains("0.0.3.1"),
        "{list}"
    );
}

#[test]
fn a_channel_is_never_changed_in_place() {
    let bed = Bed::with_table();
    let other = TABLE.replace("64KiB", "128KiB");
    let text = bed.bad(&["apply", &bed.file("other.toml", &other)], 1);
    assert!(
        text.contains("size of a ring") && text.contains("hooktool bus rm"),
        "{text}"
    );
    assert!(bed.good(&["ls"]).contains("64KiB"));
}

#[test]
fn an_old_xml_table_names_its_bus() {
    let bed = Bed::new();
    let xml = "<TbusGCIM><AddrTemplet>8.8.8.8</AddrTemplet><GCIMShmKey>1000</GCIMShmKey>\
        <Channels><Address>0.0.1.1</Address><Address>0.0.2.1</Address>\
        <SendSize>20480</SendSize><RecvSize>20480</RecvSize><Desc>old</Desc></Channels></TbusGCIM>";
    bed.good(&["apply", &bed.file("table.xml", xml)]);
    assert!(bed.good(&["--bus", "1000", "ls"]).contains("old"));
    assert!(!bed.good(&["ls"]).contains("old"));
}

#[test]
fn nonsense_in_a_table_changes_nothing_and_names_the_line() {
    let bed = Bed::with_table();
    let before = bed.good(&["ls", "-j"]);
    for (from, to, line) in [
        ("0.0.3.1", "0.0.3.1.1", 8),
        ("8KiB", "8kb", 2),
        ("description", "descriptoin", 6),
        ("[[channel]]\nbetween = [\"0.0.1.1\"", "\u{1}", 2),
    ] {
        let text = bed.bad(
            &["apply", &bed.file("bad.toml", &TABLE.replacen(from, to, 1))],
            2,
        );
        assert!(
            text.contains(&format!("bad.toml:{line}:")),
            "{from}: {text}"
        );
    }
    bed.bad(&["apply", "/nowhere/at/all"], 2);
    assert!(
        bed.bad(&["--bus", "", "ls"], 2)
            .contains("no name of a bus")
    );
    assert_eq!(bed.good(&["ls", "-j"]), before);
}

#[test]
fn messages_are_shown_and_stay() {
    let bed = Bed::with_table();
    bed.good(&["send", "0.0.1.1", "0.0.2.1", "first"]);
    let mut input = bed.command(&["send", "0.0.1.1", "0.0.2.1"]);
    let mut child = input.stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &[0, 255, b'x']).unwrap();
    assert!(child.wait().unwrap().success());
    let hex = bed.good(&["dump", "0.0.1.1", "0.0.2.1"]);
    assert!(
        hex.contains("66 69 72 73 74") && hex.contains("00 ff 78"),
        "{hex}"
    );
    let text = bed.good(&["dump", "--format", "text", "0.0.1.1", "0.0.2.1"]);
    assert!(
        text.contains("first") && text.contains("\\x00\\xffx"),
        "{text}"
    );
    let json = bed.good(&["dump", "--format", "json", "-n", "1", "0.0.1.1", "0.0.2.1"]);
    let message: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&message["seq"], &message["payload"]),
        (&1.into(), &"6669727374".into())
    );
    let see = bed.good(&["see", "0.0.1.1"]);
    assert!(
        see.contains("queued    2 messages, 128 bytes of 64KiB; numbers 1 to 2"),
        "{see}"
    );
    assert!(bed.good(&["see", "--all", "-j"]).lines().count() == 4);
    assert_eq!(
        bed.good(&["recv", "-n", "2", "0.0.2.1"]),
        "first\n\\x00\\xffx\n"
    );
    let text = bed.bad(&["recv", "0.0.2.1"], 1);
    assert!(text.contains("empty"), "{text}");
}

#[test]
fn test_messages_and_their_receipt() {
    let bed = Bed::with_table();
    let words = [
        "test", "--src", "0.0.1.1", "--dst", "0.0.2.1", "--count", "5",
    ];
    let sent = bed.good(&words);
    assert!(
        sent.contains("sent 5 messages of 14 bytes, the last is number 5"),
        "{sent}"
    );
    let late = bed.bad(&[&words[..], &["--receipt", "1"]].concat(), 1);
    assert!(late.contains("10 messages are not acknowledged"), "{late}");
    let mut receiver = bed.command(&["recv", "-n", "15", "--wait", "30", "0.0.2.1"]);
    let mut receiver = receiver.stdout(Stdio::null()).spawn().unwrap();
    let told = bed.good(&[&words[..], &["--receipt", "30"]].concat());
    assert!(told.contains("all acknowledged after"), "{told}");
    assert!(receiver.wait().unwrap().success());
}

#[test]
fn who_is_bound_is_named_and_keeps_its_channel() {
    let bed = Bed::with_table();
    let mut holder = bed.command(&["recv", "-n", "2", "--wait", "60", "0.0.2.1"]);
    let mut holder = holder.stdout(Stdio::null()).spawn().unwrap();
    bed.good(&[
        "test",
        "--src",
        "0.0.1.1",
        "--dst",
        "0.0.2.1",
        "--receipt",
        "60",
    ]);
    let see = bed.good(&["see", "0.0.2.1"]);
    assert!(
        see.contains(&format!("pid {}, alive", holder.id())),
        "{see}"
    );
    for words in [
        &["recv", "0.0.2.1"][..],
        &["clean", "1"],
        &["rm", "0.0.1.1", "0.0.2.1"],
    ] {
        let text = bed.bad(words, 1);
        assert!(text.contains(&format!("kill {}", holder.id())), "{text}");
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    bed.good(&["send", "0.0.1.1", "0.0.2.1", "for its successor"]);
    assert_eq!(bed.good(&["recv", "0.0.2.1"]), "for its successor\n");
}

#[test]
fn clean_and_rm() {
    let bed = Bed::with_table();
    bed.good(&[
        "test", "--src", "0.0.1.1", "--dst", "0.0.2.1", "--count", "3",
    ]);
    assert!(
        bed.good(&["clean", "0.0.2.1", "0.0.1.1"])
            .contains("threw away 3 messages")
    );
    bed.good(&["send", "0.0.1.1", "0.0.2.1", "next"]);
    let next = bed.good(&["recv", "--format", "json", "0.0.2.1"]);
    let next: serde_json::Value = serde_json::from_str(&next).unwrap();
    assert_eq!(next["seq"], 4, "numbers go on");
    bed.good(&["rm", "1"]);
    let text = bed.bad(&["send", "0.0.1.1", "0.0.2.1", "x"], 1);
    assert!(text.contains("hooktool bus apply"), "{text}");
    bed.bad(&["rm", "7"], 2);
    for words in [
        &["send", "0.0.1", "0.0.2.1", "x"][..],
        &["recv", "0.0.2.999"],
        &["see", "nobody"],
        &["routes", "rm", "x"],
        &["top", "0"],
    ] {
        bed.bad(words, 2);
    }
    assert!(bed.bad(&["clean", "0.0.2.1"], 2).contains("one end"));
    bed.good(&["apply", &bed.file("table.toml", TABLE)]);
    bed.good(&["send", "0.0.1.1", "0.0.2.1", "back"]);
}

#[test]
fn a_damaged_file_is_named_and_can_be_removed() {
    let bed = Bed::with_table();
    let list = bed.good(&["ls", "-j"]);
    let first: serde_json::Value = serde_json::from_str(list.lines().next().unwrap()).unwrap();
    std::fs::write(first["path"].as_str().unwrap(), "nothing").unwrap();
    let output = bed.run(&["ls"]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && complaint.contains("is no channel"),
        "{complaint}"
    );
    bed.good(&["rm", "0.0.1.1", "0.0.2.1"]);
    assert!(bed.run(&["ls"]).stderr.is_empty());
}

#[test]
fn a_file_of_a_newer_minor_layout_is_shown_and_used() {
    let bed = Bed::with_table();
    bed.good(&["send", "0.0.1.1", "0.0.2.1", "kept"]);
    let list = bed.good(&["ls", "-j"]);
    let first: serde_json::Value = serde_json::from_str(list.lines().next().unwrap()).unwrap();
    let path = first["path"].as_str().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    // Its minor number, and something in the space reserved for it.
    (bytes[10], bytes[400]) = (9, 77);
    let sum = bus::crc::of(&bytes[..508]);
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(path, &bytes).unwrap();
    assert_eq!(bed.good(&["ls", "-j"]), list);
    for words in [&["see", "0.0.1.1"][..], &["top", "1", "1"]] {
        assert!(bed.good(words).contains("0.0.1.1"), "{words:?}");
    }
    let dumped = bed.good(&["dump", "--format", "text", "0.0.1.1", "0.0.2.1"]);
    assert!(dumped.contains("kept"), "{dumped}");
    assert_eq!(bed.good(&["recv", "0.0.2.1"]), "kept\n");
}

#[test]
fn a_trace_is_followed() {
    let bed = Bed::with_table();
    let id = bed.good(&["send", "--traced", "0.0.1.1", "0.0.2.1", "dyed"]);
    bed.good(&["recv", "0.0.2.1"]);
    let way = bed.good(&["trace", id.trim()]);
    let steps: Vec<&str> = way.lines().collect();
    assert!(
        steps.len() == 2 && steps[0].contains("sent     0.0.1.1 -> 0.0.2.1"),
        "{way}"
    );
    assert!(steps[1].contains("received"), "{way}");
    bed.bad(&["trace", "1234"], 1);
    assert!(bed.good(&["top", "1", "1"]).contains("0.0.1.1"));
}

#[test]
fn what_was_recorded_is_replayed() {
    let bed = Bed::with_table();
    let file = bed.0.join("tape").to_str().unwrap().to_string();
    for text in ["one", "two", "three"] {
        bed.good(&["send", "0.0.1.1", "0.0.2.1", text]);
    }
    assert!(
        bed.good(&["record", "-n", "3", "0.0.2.1", &file])
            .contains("recorded 3")
    );
    bed.bad(&["recv", "0.0.2.1"], 1);
    assert!(
        bed.good(&["replay", "--fast", "0.0.1.1", &file])
            .contains("sent 3")
    );
    assert_eq!(
        bed.good(&["recv", "-n", "3", "0.0.2.1"]),
        "one\ntwo\nthree\n"
    );
    bed.good(&["replay", "--to", "0.0.3.1", "0.0.2.1", &file]);
    assert_eq!(
        bed.good(&["recv", "-n", "3", "0.0.3.1"]),
        "one\ntwo\nthree\n"
    );
    let text = bed.bad(&["replay", "0.0.1.1", &bed.file("wrong", "{}\n")], 2);
    assert!(text.contains("wrong:1:"), "{text}");
}

#[test]
fn a_bench_prints_its_figures() {
    let bed = Bed::new();
    let words = [
        "bench",
        "-j",
        "--seconds",
        "1",
        "--rounds",
        "1",
        "--size",
        "64",
    ];
    let figures = bed.good(&words);
    assert_eq!(figures.lines().count(), 12, "{figures}");
    assert!(
        figures
            .lines()
            .all(|line| line.contains("p50_ns") || line.contains("per_s"))
    );
    bed.bad(&["bench", "--size", "1000000"], 2);
}

#[test]
fn a_bus_that_is_not_there_is_told() {
    let bed = Bed::new();
    let output = bed.run(&["ls"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("there is no bus at"), "{said}");
    let output = bed
        .command(&["ls"])
        .env("HOOKTOOL_BUS", "")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("HOOKTOOL_BUS is empty"),
        "{said}"
    );
    let made = bed.good(&["apply", &bed.file("table.toml", TABLE)]);
    assert!(
        made.contains("made 0.0.1.1") && !made.contains("kept"),
        "{made}"
    );
}
