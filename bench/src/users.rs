//! Users of this machine, as far as the lab needs them: PostgreSQL refuses to run as root.

use std::fs;
use std::path::Path;

use crate::error::{Because, Result, advice};

/// An entry of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Number of the user.
    pub uid: u32,
    /// Number of its primary group.
    pub gid: u32,
}

/// Finds a user by name.
pub fn find(name: &str) -> Result<User> {
    let text = fs::read_to_string("/etc/passwd").because(|| "/etc/passwd")?;
    parse(&text, name).ok_or_else(|| {
        advice(
            format!("there is no user '{name}' on this machine"),
            "install postgresql-15 (its package makes the user), or say --server-user NAME",
        )
    })
}

fn parse(passwd: &str, name: &str) -> Option<User> {
    let line = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User {
        name: name.into(),
        uid,
        gid,
    })
}

/// Whether the lab runs as root, and may therefore make control groups and change users.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives a file or directory to a user (`None`: leaves it).
pub fn give(path: &Path, user: Option<&User>) -> Result<()> {
    let Some(user) = user else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
        .because(|| format!("giving {} to {}", path.display(), user.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104::/var/lib/p:/bin/sh\n";
        let user = User {
            name: "postgres".into(),
            uid: 101,
            gid: 104,
        };
        assert_eq!(parse(passwd, "postgres"), Some(user));
        assert_eq!(parse(passwd, "post"), None);
    }
}
