//! `hooktool trace`: what is recorded is what was called, in its order, and nothing else.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use harness::bed::Bed;
use harness::both_modes;
use harness::files::noise;
use harness::mode::Mode;
use harness::puppet::{Puppets, puppet_words, to_hex};
use harness::run::{run, wait, wait_until};
use harness::session::Hooked;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

both_modes!(
    every_call_is_recorded_in_its_order,
    a_file_that_the_page_cache_serves_comes_into_sight,
    one_at_a_time_and_a_killed_one_leaves_nothing_behind,
);

const BLOCKS: usize = 512;

/// A call on blocks of 4 KiB: whether it wrote, the first block, how many.
type Call = (bool, u64, u64);

/// `hooktool trace` at work.
struct Recorder {
    child: Child,
    file: PathBuf,
}

impl Recorder {
    fn start(bed: &Bed, hooked: &Hooked<'_>, name: &str) -> Recorder {
        let file = bed.join(name);
        let shown = file.to_str().expect("UTF-8");
        let mut command = bed.hooktool(&["trace", hooked.name.as_str(), "--out", shown]);
        let child = command.stderr(Stdio::piped()).spawn().expect("hooktool");
        wait_until("the recording has begun", || !lines(&file).is_empty());
        Recorder { child, file }
    }

    /// Ends it as a user does; its file.
    fn end(mut self) -> Vec<String> {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it lives");
        let status = wait(&mut self.child, "hooktool trace");
        assert!(status.success(), "{status}");
        lines(&self.file)
    }
}

fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(String::from).collect()
}

/// The calls on the file of this name.
fn calls(lines: &[String], name: &str) -> Vec<Call> {
    let is_it = |line: &&String| line.starts_with("# file") && line.contains(&format!("/{name} ("));
    let number = lines.iter().find(is_it).and_then(|line| {
        let number = line.strip_prefix("# file ")?.split(':').next()?;
        Some(number.to_string())
    });
    let number = number.unwrap_or_else(|| panic!("no file {name}: {lines:?}"));
    let fields = lines.iter().map(|line| line.split(',').collect::<Vec<_>>());
    let of_file = fields.filter(|fields| fields.len() == 7 && fields[2] == number);
    let call = |fields: Vec<&str>| {
        let number = |text: &str| text.parse::<u64>().expect("a number");
        (
            fields[3] == "Write",
            number(fields[4]) / 4096,
            number(fields[5]) / 4096,
        )
    };
    of_file.map(call).collect()
}

/// Calls of all shapes, one after the other, among them more than fit between two looks.
fn every_call_is_recorded_in_its_order(mode: Mode) {
    let bed = Bed::new("recorded", mode);
    bed.write("file", &noise(5, BLOCKS * 4096));
    let hooked = bed.hooked();
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    puppets.done(0, "open", &json!(["script", "puppets.py", "r"]));
    puppets.done(0, "pread", &json!(["script", 0, 10]));
    hooked.wait_stats("it is in its session", |stats| stats.count("processes") > 0);
    let recorder = Recorder::start(&bed, &hooked, "trace");
    puppets.done(0, "open", &json!(["f", "file", "w"]));
    let mut expected = Vec::new();
    for turn in 0..200u64 {
        let block = turn * 7919 % (BLOCKS as u64 - 40);
        let at = block * 4096;
        puppets.done(0, "pread", &json!(["f", at, 4096]));
        puppets.done(0, "pread", &json!(["f", at + 4000, 200]));
        puppets.done(0, "preadv", &json!(["f", at, 9000]));
        expected.extend([(false, block, 1), (false, block, 2), (false, block, 3)]);
        if turn % 10 == 0 {
            puppets.done(0, "pwrite", &json!(["f", at, to_hex(&noise(turn, 5000))]));
            puppets.done(0, "sendfile", &json!(["f", at, 16384]));
            expected.extend([(true, block, 2), (false, block, 4)]);
        }
    }
    puppets.done(0, "sweep", &json!(["f", 0, BLOCKS * 4096, 4096]));
    expected.extend((0..BLOCKS as u64).map(|block| (false, block, 1)));
    // 1.25 MiB in one call: five lines of 256 KiB at most.
    puppets.done(0, "pread", &json!(["f", 0, 320 * 4096]));
    expected.extend((0..5).map(|part| (false, part * 64, 64)));
    let lines = recorder.end();
    assert_eq!(calls(&lines, "file"), expected);
    let end = lines.last().expect("it has an end");
    assert!(end.ends_with(" 0 calls missing"), "{end}");
    // Nothing is noted any more, and what comes later is not in a later recording.
    puppets.done(0, "pread", &json!(["f", 0, 4096]));
    let recorder = Recorder::start(&bed, &hooked, "second");
    puppets.done(0, "pread", &json!(["f", 8192, 4096]));
    assert_eq!(calls(&recorder.end(), "file"), [(false, 2, 1)]);
    assert!(puppets.end().0.success());
}

/// A descriptor in the governor's mode KERNEL touches nothing shared: it is seen from its next
/// round of counting on, and then at every read.
fn a_file_that_the_page_cache_serves_comes_into_sight(mode: Mode) {
    let bed = Bed::new("in-sight", mode);
    bed.write("file", &noise(6, BLOCKS * 4096));
    let hooked = bed.hooked().fill_auto();
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    puppets.done(0, "open", &json!(["f", "file", "r"]));
    let sweep = json!(["f", 0, BLOCKS * 4096, 4096]);
    for _ in 0..3 {
        puppets.done(0, "sweep", &sweep);
    }
    hooked.wait_stats("it is counted", |stats| stats.count("reads") > 0);
    let recorder = Recorder::start(&bed, &hooked, "trace");
    for _ in 0..4 {
        puppets.done(0, "sweep", &sweep);
    }
    let lines = recorder.end();
    let seen = calls(&lines, "file");
    let all = (0..4 * BLOCKS as u64).map(|read| (false, read % BLOCKS as u64, 1));
    let all: Vec<Call> = all.collect();
    assert!(seen.len() >= all.len() - 256, "{} calls", seen.len());
    assert!(all.ends_with(&seen), "not the last of them: {seen:?}");
    assert!(puppets.end().0.success());
}

fn one_at_a_time_and_a_killed_one_leaves_nothing_behind(mode: Mode) {
    let bed = Bed::new("one-recorder", mode);
    bed.write("file", &noise(7, BLOCKS * 4096));
    let hooked = bed.hooked();
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    puppets.done(0, "open", &json!(["f", "file", "r"]));
    puppets.done(0, "pread", &json!(["f", 0, 4096]));
    hooked.wait_stats("it is in its session", |stats| stats.count("processes") > 0);
    let mut first = Recorder::start(&bed, &hooked, "first");
    let second = bed.join("second");
    let words = ["trace", hooked.name.as_str(), "--out"].map(std::ffi::OsStr::new);
    let mut command = bed.hooktool(&words);
    let refused = run(command.arg(&second));
    assert_eq!(refused.code(), Some(1));
    assert!(refused.errors().contains("somebody else records"));
    assert!(!second.exists(), "a refused one touches no file");
    first.child.kill().expect("it lives");
    wait(&mut first.child, "the killed one");
    puppets.done(0, "pread", &json!(["f", 4096, 4096]));
    let mut third = None;
    wait_until("the next one may record", || {
        let file = bed.join("third");
        let mut command = bed.hooktool(&words);
        let outcome = run(command.arg(&file).args(["--seconds", "1"]));
        third = outcome.status.success().then(|| lines(&file));
        third.is_some()
    });
    let third = third.expect("wait_until returned");
    assert!(third.iter().all(|line| line.starts_with('#')), "{third:?}");
    assert!(puppets.end().0.success());
}
