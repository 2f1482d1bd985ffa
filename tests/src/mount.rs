//! File systems made for one test: on loop devices, in memory, stacked, in user space.
//!
//! Used by tests that show which file systems are served and which are left alone. Each is mounted
//! inside a bed and unmounted when dropped, before the bed is; `clean.sh` undoes what a killed test
//! left. Needs root, loop devices and `/dev/fuse`: where they are missing the test fails and says
//! so, since a file system that was not tried proves nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bed::Bed;
use crate::run::run;
use crate::stage::tool;

/// Size of an image: the least that mkfs.xfs takes is 300 MiB. Sparse, so that it costs little.
const IMAGE_BYTES: u64 = 512 * 1024 * 1024;

/// A mounted file system.
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// A fresh `kind` (ext4, xfs, btrfs) on a loop device, its image in the bed.
    pub fn disk(bed: &Bed, kind: &str) -> Mount {
        let image = bed.join(format!("{kind}.img"));
        let file = File::create(&image).expect("make an image");
        file.set_len(IMAGE_BYTES).expect("size the image");
        let mut mkfs = Command::new(tool(&format!("mkfs.{kind}")));
        run(mkfs
            .arg(if kind == "ext4" { "-q" } else { "-f" })
            .arg(&image))
        .must_pass();
        let at = bed.dir_of(&format!("{kind}-mounted"));
        mounted(
            Command::new(tool("mount"))
                .args(["-t", kind, "-o", "loop"])
                .arg(image),
            at,
        )
    }

    /// A file system in memory.
    pub fn tmpfs(bed: &Bed) -> Mount {
        let at = bed.dir_of("tmpfs-mounted");
        mounted(
            Command::new(tool("mount")).args(["-t", "tmpfs", "tmpfs"]),
            at,
        )
    }

    /// An overlay whose layers lie on the bed's own file system, which is served.
    pub fn overlay(bed: &Bed) -> Mount {
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| bed.dir_of(name));
        let show = |path: &Path| path.display().to_string();
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            show(&lower),
            show(&upper),
            show(&work)
        );
        let at = bed.dir_of("overlay-mounted");
        let mut mount = Command::new(tool("mount"));
        mounted(mount.args(["-t", "overlay", "overlay", "-o", &layers]), at)
    }

    /// A mirror in user space of a directory on the bed's own file system.
    pub fn fuse(bed: &Bed) -> Mount {
        let mirrored = bed.dir_of("mirrored");
        let at = bed.dir_of("fuse-mounted");
        mounted(Command::new(tool("bindfs")).arg(mirrored), at)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

fn mounted(command: &mut Command, at: PathBuf) -> Mount {
    run(command.arg(&at)).must_pass();
    let mount = Mount { at };
    let table = fs::read_to_string("/proc/self/mounts").expect("read the mounts");
    let named = mount.at.display().to_string();
    assert!(
        table
            .lines()
            .any(|line| line.split(' ').nth(1) == Some(&named)),
        "{named} is not mounted"
    );
    mount
}

impl Drop for Mount {
    fn drop(&mut self) {
        let outcome = run(Command::new(tool("umount")).arg(&self.at));
        if !outcome.status.success() {
            eprintln!("cannot unmount: {}", outcome.story());
            let _ = run(Command::new(tool("umount")).arg("-l").arg(&self.at));
        }
    }
}
