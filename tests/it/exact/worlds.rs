//! Every file system that is served, made for the test on a loop device; and those that are not.
//!
//! On ext4, xfs and btrfs the model plays, with outsiders and under the oracle. On tmpfs, overlayfs
//! and FUSE a program reads while its session serves another file: not one of its reads may be
//! served, and each has its reason.

use harness::bed::Bed;
use harness::files::noise;
use harness::mode::Mode;
use harness::mount::Mount;
use harness::puppet::{Puppets, puppet_words};
use harness::run::wait_until;
use harness::stage::root_or_say;
use harness::stats::Stats;
use serde_json::json;

use crate::model::play_in;

const OPERATIONS: usize = 1500;
const BYTES: usize = 64 * 4096;
const SWEEPS: u64 = 20;

fn the_model_on(kind: &str) {
    if !root_or_say("a loop mount") {
        return;
    }
    let bed = Bed::bare(&format!("model-on-{kind}"), Mode::Oracle);
    let disk = Mount::disk(&bed, kind);
    play_in(
        &Bed::under(disk.path(), "model", Mode::Oracle),
        OPERATIONS,
        true,
    );
}

#[test]
fn model_on_ext4() {
    the_model_on("ext4");
}

#[test]
fn model_on_xfs() {
    the_model_on("xfs");
}

#[test]
fn model_on_btrfs() {
    the_model_on("btrfs");
}

/// One puppet reads a served file until it is served, then one of that file system.
fn left_alone(name: &str, mount: impl Fn(&Bed) -> Mount) {
    if !root_or_say("a mount") {
        return;
    }
    let bed = Bed::new(&format!("not-{name}"), Mode::Normal);
    let world = mount(&bed);
    let content = noise(21, BYTES);
    bed.write("served", &content);
    let foreign = world.path().join("file");
    std::fs::write(&foreign, &content).expect("write a file there");
    let hooked = bed.hooked();
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    puppets.done(0, "open", &json!(["served", "served", "r"]));
    puppets.done(0, "open", &json!(["foreign", foreign, "w"]));
    let mut sweep = |handle: &str| {
        let got = puppets.read(0, "sweep", &json!([handle, 0, BYTES, 4096]));
        assert!(got == content, "{name}: {handle} was read wrong");
    };
    wait_until("the file beside it is served", || {
        sweep("served");
        hooked
            .stats()
            .is_some_and(|stats| stats.hits() > BYTES as u64 / 4096)
    });
    let before = hooked.stats().expect("live");
    for _ in 0..SWEEPS {
        sweep("foreign");
    }
    let after = hooked.stats().expect("live");
    assert_eq!(after.hits(), before.hits(), "{name}: a read was served");
    let left = |stats: &Stats| stats.all["bypass"]["file_system"].as_u64().unwrap_or(0);
    let reads = SWEEPS * BYTES as u64 / 4096;
    // They are counted in bundles of 64.
    assert!(
        left(&after) - left(&before) + 64 >= reads,
        "{name}: {}",
        after.all
    );
    let (status, errors) = puppets.end();
    assert!(status.success(), "{status}: {errors}");
}

#[test]
fn tmpfs_is_left_alone() {
    left_alone("tmpfs", Mount::tmpfs);
}

#[test]
fn overlayfs_is_left_alone() {
    left_alone("overlayfs", Mount::overlay);
}

#[test]
fn fuse_is_left_alone() {
    left_alone("fuse", Mount::fuse);
}
