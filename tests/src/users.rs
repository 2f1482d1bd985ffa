//! Users of the distribution, whom servers run as where the tests run as root.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::stage::is_root;

/// Switches a command to this user; where the tests are not run by root, it stays as it is.
pub fn as_user(command: &mut Command, name: &str) {
    if is_root() {
        let (uid, gid) = ids_of(name);
        command.uid(uid).gid(gid);
    }
}

/// Gives a file to this user, if the tests can.
pub fn give_to(path: &Path, name: &str) {
    if is_root() {
        let (uid, gid) = ids_of(name);
        chown(path, Some(uid), Some(gid)).expect("chown");
    }
}

fn ids_of(name: &str) -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let entry = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    let entry = entry.unwrap_or_else(|| panic!("no user `{name}`: type `make test-deps` as root"));
    let fields: Vec<&str> = entry.split(':').collect();
    (
        fields[2].parse().expect("uid"),
        fields[3].parse().expect("gid"),
    )
}
