//! Twins: two sessions, and two copies of one disk, on one node.
//!
//! Files that agree in device, inode, birth time, size and stamp but not in content must never be
//! taken for each other, nor may one session be served what another stored.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::bed::Bed;
use harness::both_modes;
use harness::files::noise;
use harness::mode::Mode;
use harness::node::Node;
use harness::puppet::{Puppets, puppet_words, to_hex};
use harness::run::{run, wait_until};
use harness::session::Hooked;
use harness::stage::{root_or_say, tool};
use serde_json::json;

both_modes!(two_sessions, two_disks_at_once, two_disks_in_turn);

const BLOCKS: usize = 64;
const BYTES: usize = BLOCKS * 4096;

fn line<'a>(bed: &'a Bed, node: &Node) -> Hooked<'a> {
    bed.hooked()
        .flag("--node", node.addr.to_string())
        .flag("--local", "0")
}

fn start(bed: &Bed, hooked: &Hooked<'_>, dir: &Path, flags: &str) -> Puppets {
    let mut puppets = Puppets::start(hooked.command(dir, &puppet_words(bed, 1)));
    puppets.done(0, "open", &json!(["f", "file", flags]));
    puppets
}

#[track_caller]
fn sweep(puppets: &mut Puppets, content: &[u8]) {
    let got = puppets.read(0, "sweep", &json!(["f", 0, BYTES, 4096]));
    assert!(got == content, "bytes of somebody else");
}

#[track_caller]
fn sweep_until_served(puppets: &mut Puppets, hooked: &Hooked<'_>, content: &[u8]) {
    let before = hooked.stats().map_or(0, |stats| stats.hits());
    wait_until("reads are served", || {
        sweep(puppets, content);
        hooked
            .stats()
            .is_some_and(|stats| stats.hits() > before + BLOCKS as u64)
    });
}

/// Two sessions on one node and one file: each sees the other's writes, each is served.
fn two_sessions(mode: Mode) {
    let bed = Bed::new("sessions", mode);
    let node = Node::start(&bed, "64MiB");
    let mut content = noise(1, BYTES);
    bed.write("file", &content);
    let lines = [line(&bed, &node), line(&bed, &node)];
    let mut rows = [0, 1].map(|n: usize| start(&bed, &lines[n], bed.path(), ["w", "r"][n]));
    for n in [0, 1] {
        sweep_until_served(&mut rows[n], &lines[n], &content);
    }
    for round in 0..40_u64 {
        let at = usize::try_from(round).expect("small") % BLOCKS * 4096;
        let piece = noise(100 + round, 4096);
        rows[0].done(0, "pwrite", &json!(["f", at, to_hex(&piece)]));
        content[at..at + 4096].copy_from_slice(&piece);
        for row in &mut rows {
            sweep(row, &content);
        }
    }
    for (row, line) in rows.into_iter().zip(&lines) {
        assert!(row.end().0.success());
        line.final_stats().must_have_hits();
    }
}

/// A mounted image; unmounted when dropped.
struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts an image on a loop device, chosen or given.
    fn new(image: &Path, at: &Path) -> Mount {
        std::fs::create_dir_all(at).expect("make a mount point");
        let mut mount = Command::new(tool("mount"));
        run(mount.args(["-o", "loop"]).arg(image).arg(at)).must_pass();
        Mount {
            at: at.to_path_buf(),
        }
    }

    /// Device, inode, birth time, size and change time of the file, as stat(1) tells them.
    fn identity(&self) -> String {
        let mut stat = Command::new(tool("stat"));
        run(stat
            .args(["-c", "%d %i %w %s %z"])
            .arg(self.at.join("file")))
        .must_pass()
        .text()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        wait_until(&format!("{} is unmounted", self.at.display()), || {
            run(Command::new(tool("umount")).arg(&self.at))
                .status
                .success()
        });
    }
}

/// An image with one file, and a copy of it in which only that file's bytes differ: no name, no
/// inode, no time tells them apart.
fn twin_images(bed: &Bed, mine: &[u8], other: &[u8]) -> [PathBuf; 2] {
    let images = ["one.img", "two.img"].map(|name| bed.join(name));
    std::fs::File::create(&images[0])
        .and_then(|f| f.set_len(32 << 20))
        .expect("make an image");
    run(Command::new(tool("mkfs.ext4"))
        .args(["-q", "-F", "-b", "4096"])
        .arg(&images[0]))
    .must_pass();
    let mount = Mount::new(&images[0], &bed.join("making"));
    std::fs::write(mount.at.join("file"), mine).expect("write the file");
    drop(mount);
    let mut bytes = std::fs::read(&images[0]).expect("read the image");
    for (before, after) in mine.chunks(4096).zip(other.chunks(4096)) {
        let at = bytes
            .chunks(4096)
            .position(|block| block == before)
            .expect("the block is there");
        bytes[at * 4096..][..4096].copy_from_slice(after);
    }
    std::fs::write(&images[1], bytes).expect("write the copy");
    images
}

/// Both copies mounted, one session each, one node.
fn two_disks_at_once(mode: Mode) {
    if !root_or_say("mounting two copies of one disk") {
        return;
    }
    let bed = Bed::new("disks", mode);
    let node = Node::start(&bed, "64MiB");
    let contents = [noise(1, BYTES), noise(2, BYTES)];
    let images = twin_images(&bed, &contents[0], &contents[1]);
    let mounts = [0, 1].map(|n: usize| Mount::new(&images[n], &bed.join(format!("disk-{n}"))));
    let lines = [line(&bed, &node), line(&bed, &node)];
    let mut rows = [0, 1].map(|n: usize| start(&bed, &lines[n], &mounts[n].at, "r"));
    for n in [0, 1, 0, 1] {
        sweep_until_served(&mut rows[n], &lines[n], &contents[n]);
    }
    // One session that reads both.
    let both = line(&bed, &node);
    let mut row = start(&bed, &both, &mounts[0].at, "r");
    sweep_until_served(&mut row, &both, &contents[0]);
    row.done(0, "close", &json!(["f"]));
    row.done(0, "open", &json!(["f", mounts[1].at.join("file"), "r"]));
    sweep_until_served(&mut row, &both, &contents[1]);
    for row in rows.into_iter().chain([row]) {
        assert!(row.end().0.success());
    }
}

/// One copy after the other on the same loop device: the second session meets the first one's
/// device number, inode, times and node, and must not meet its bytes.
fn two_disks_in_turn(mode: Mode) {
    if !root_or_say("mounting two copies of one disk") {
        return;
    }
    let bed = Bed::new("turns", mode);
    let node = Node::start(&bed, "64MiB");
    let contents = [noise(1, BYTES), noise(2, BYTES)];
    let images = twin_images(&bed, &contents[0], &contents[1]);
    let shown = run(Command::new(tool("losetup"))
        .args(["--find", "--show"])
        .arg(&images[0]));
    let device = PathBuf::from(shown.must_pass().text().trim());
    let at = bed.join("disk");
    let mut identities = Vec::new();
    for n in [0, 1, 0] {
        run(Command::new(tool("losetup")).arg("--detach").arg(&device)).must_pass();
        wait_until("the loop device takes the next image", || {
            run(Command::new(tool("losetup")).arg(&device).arg(&images[n]))
                .status
                .success()
        });
        std::fs::create_dir_all(&at).expect("make a mount point");
        run(Command::new(tool("mount"))
            .args(["-o", "ro"])
            .arg(&device)
            .arg(&at))
        .must_pass();
        let mount = Mount { at: at.clone() };
        identities.push(mount.identity());
        let hooked = line(&bed, &node);
        let mut puppets = start(&bed, &hooked, &at, "r");
        sweep_until_served(&mut puppets, &hooked, &contents[n]);
        assert!(puppets.end().0.success());
        hooked.final_stats().must_have_hits();
    }
    run(Command::new(tool("losetup")).arg("--detach").arg(&device)).must_pass();
    assert!(
        identities.iter().all(|one| *one == identities[0]),
        "no twins: {identities:?}"
    );
}
