//! Proofs on real files of a disk file system.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use grid::files::{EXCLUDED, FileRecord, JUDGED, OWNED, RecordRef, Trust};
use grid::sync::Ordering;

use super::super::look;
use super::fake_node::FakeNode;
use super::stage::{Joined, Stage, config, eventually};

/// A file beside the test program (a disk file system), removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let directory = std::env::current_exe()
            .unwrap()
            .parent()
            .unwrap()
            .to_path_buf();
        let path = directory.join(format!("proving-{name}-{}", std::process::id()));
        std::fs::write(&path, [7; 10_000]).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes the record of an open file, as the hook driver does at its first read.
fn record(joined: &Joined, file: &File) -> (RecordRef, &'static FileRecord) {
    let files = joined.region.files();
    let (ident, _) = look::ask_open(file);
    let found = files
        .find_or_create(ident, joined.welcome.process, 1)
        .expect("room");
    (found, files.record(found))
}

fn want(joined: &Joined, record: &FileRecord, file: &File) {
    let fd = u64::try_from(file.as_raw_fd()).unwrap() + 1;
    record
        .want
        .store(u64::from(std::process::id()) << 32 | fd, Ordering::SeqCst);
    joined.ring();
}

/// Asks again and again, as a process that reads the file does.
fn is_clean(joined: &Joined, record: &FileRecord, file: &File) -> bool {
    let (stamp, trust) = record.stamp();
    let clean = trust == Trust::Clean && stamp == look::ask_open(file).1;
    if !clean && record.want.load(Ordering::Relaxed) == 0 {
        want(joined, record, file);
    }
    clean
}

fn snapshot(stage: &Stage) -> crate::control::Snapshot {
    match stage.ask(&crate::control::Request::Snapshot { pid: None }) {
        crate::control::Response::Snapshot(snapshot) => *snapshot,
        other => panic!("no snapshot: {other:?}"),
    }
}

#[test]
fn a_file_that_nobody_writes_is_proved_clean_and_named() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let scratch = Scratch::new("quiet");
    let file = File::open(&scratch.0).unwrap();
    let (_, record) = record(&joined, &file);
    let epoch = || {
        joined
            .region
            .cells()
            .file(record.ident().hash())
            .epoch
            .load(Ordering::Relaxed)
    };
    let before = epoch();
    let path = scratch.0.to_string_lossy();
    let is_named = |file: &crate::control::FileInfo| file.path == path;
    assert!(
        snapshot(&stage).files.iter().any(is_named),
        "named before it was looked at"
    );
    eventually("proved", || is_clean(&joined, record, &file));
    assert_ne!(epoch(), before, "blocks of before the proof are garbage");
    assert!(record.has_policy(JUDGED) && !record.has_policy(OWNED));
    let told = snapshot(&stage);
    assert_eq!((told.proofs.proved, told.proofs.changed), (1, 0));
    let known = told.files.iter().find(|known| is_named(known));
    assert_eq!(
        known.map(|known| (known.size, known.state.as_str())),
        Some((10_000, "serve"))
    );
}

#[test]
fn a_file_that_somebody_may_write_waits_and_a_change_starts_anew() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let scratch = Scratch::new("written");
    let mut writer = OpenOptions::new().append(true).open(&scratch.0).unwrap();
    let file = File::open(&scratch.0).unwrap();
    let (_, record) = record(&joined, &file);
    want(&joined, record, &file);
    let mut written = 0;
    // For longer than a proof takes, and until somebody has looked twice, however busy the machine.
    eventually("that it changed is told", || {
        writer.write_all(b"x").unwrap();
        written += 1;
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(record.stamp().1, Trust::None, "it changes all the time");
        written >= 15 && snapshot(&stage).proofs.changed_by_others > 0
    });
    drop(writer);
    eventually("proved once it rests", || is_clean(&joined, record, &file));
    assert_eq!(record.stamp().0.size, 10_000 + written);
    let told = snapshot(&stage).proofs;
    assert_eq!(told.changed, 0, "the session has not written it");
}

#[test]
fn a_file_kept_open_for_writing_is_believed_after_a_long_rest() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let scratch = Scratch::new("open");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&scratch.0)
        .unwrap();
    let (_, record) = record(&joined, &file);
    want(&joined, record, &file);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(
        record.stamp().1,
        Trust::None,
        "no lease while it is open for writing"
    );
    eventually("believed", || is_clean(&joined, record, &file));
}

#[test]
fn a_descriptor_that_is_closed_by_now_does_not_matter() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let scratch = Scratch::new("closed");
    let file = File::open(&scratch.0).unwrap();
    let (_, record) = record(&joined, &file);
    want(&joined, record, &file);
    eventually("taken", || record.has_policy(JUDGED));
    let stamp = look::ask_open(&file).1;
    drop(file);
    eventually("proved by its path", || {
        record.stamp() == (stamp, Trust::Clean)
    });
}

#[test]
fn a_descriptor_of_another_file_proves_nothing() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let (scratch, other) = (Scratch::new("asked"), Scratch::new("other"));
    let (file, wrong) = (
        File::open(&scratch.0).unwrap(),
        File::open(&other.0).unwrap(),
    );
    let (_, record) = record(&joined, &file);
    want(&joined, record, &wrong);
    eventually("taken", || record.want.load(Ordering::SeqCst) == 0);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(record.stamp().1, Trust::None);
    assert!(!record.has_policy(JUDGED));
}

#[test]
fn names_are_judged_when_globs_are_in_force() {
    let node = FakeNode::start();
    let mut config = config(vec![node.addr()]);
    config.own = vec!["**/proving-owned-*".into()];
    config.exclude = vec!["**/proving-left-*".into()];
    let stage = Stage::start(config).expect("the session can be made");
    let joined = stage.join();
    assert!(
        joined
            .region
            .header()
            .is_on(grid::header::switch::JUDGE_NAMES)
    );
    for (name, flag) in [("owned", OWNED), ("left", EXCLUDED)] {
        let scratch = Scratch::new(name);
        let file = File::open(&scratch.0).unwrap();
        let (_, record) = record(&joined, &file);
        want(&joined, record, &file);
        eventually("judged", || record.has_policy(JUDGED | flag));
        assert_eq!(record.stamp().1, Trust::None, "no proof is needed");
    }
}

#[test]
fn a_misspelt_glob_is_told_by_name_and_by_number() {
    let node = FakeNode::start();
    let mut config = config(vec![node.addr()]);
    config.include = vec!["/no/such/place/**".into()];
    let stage = Stage::start(config).expect("the session can be made");
    let joined = stage.join();
    let scratch = Scratch::new("misspelt");
    let file = File::open(&scratch.0).unwrap();
    let (_, record) = record(&joined, &file);
    want(&joined, record, &file);
    eventually("judged", || record.has_policy(EXCLUDED));
    let crate::control::Response::Snapshot(snapshot) =
        stage.ask(&crate::control::Request::Snapshot { pid: None })
    else {
        panic!("no snapshot");
    };
    let reason = snapshot.reason.expect("a remark");
    assert!(reason.contains("left out by --include"), "{reason}");
    let [glob] = &snapshot.globs[..] else {
        panic!("one glob: {:?}", snapshot.globs)
    };
    assert_eq!((glob.setting.as_str(), glob.files), ("include", 0));
}
