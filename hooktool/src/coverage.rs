//! The table of calls: every libc entry point that touches file data, and what becomes of it.
//!
//! `check` compares a program's imports with it, and with what the hook driver at hand really
//! exports, so that a call counts as served only if both say so. The documents list the same rows.
//! A new twin of a call (`64`, `_chk`, `v2`) gets a row here before it gets a hook.

use std::collections::BTreeSet;

use serde::Serialize;

/// What the hook driver does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Answered from memory where the contract allows.
    Serve,
    /// Followed: what it changes is out of date before it returns.
    Invalidate,
    /// Followed: keeps the descriptor table true.
    Identity,
    /// Followed: new processes, programs and credentials.
    Process,
    /// Followed: advice about blocks held on nodes.
    Advise,
    /// From a file to a socket: sent from memory where the contract allows. Into a file: followed.
    Send,
    /// Let through to the kernel, which is always right.
    Pass,
    /// Skips libc: neither served nor followed. Files changed this way leave service.
    Unseen,
}

/// One row for several twins.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What becomes of them.
    pub class: Class,
    /// Why reads through them are not served; empty where they do not read file data.
    pub note: &'static str,
    /// The names.
    pub calls: &'static [&'static str],
}

const fn row(class: Class, note: &'static str, calls: &'static [&'static str]) -> Row {
    Row { class, note, calls }
}

/// The table.
pub const TABLE: &[Row] = &[
    row(
        Class::Serve,
        "",
        &[
            "pread",
            "pread64",
            "__pread64",
            "__pread_chk",
            "__pread64_chk",
        ],
    ),
    row(
        Class::Serve,
        "",
        &["preadv", "preadv64", "preadv2", "preadv64v2"],
    ),
    row(Class::Invalidate, "", &["write", "__write", "writev"]),
    row(Class::Invalidate, "", &["pwrite", "pwrite64", "__pwrite64"]),
    row(
        Class::Invalidate,
        "",
        &["pwritev", "pwritev64", "pwritev2", "pwritev64v2"],
    ),
    row(
        Class::Invalidate,
        "",
        &["ftruncate", "ftruncate64", "truncate", "truncate64"],
    ),
    row(Class::Invalidate, "", &["fallocate", "fallocate64"]),
    row(
        Class::Invalidate,
        "",
        &["posix_fallocate", "posix_fallocate64"],
    ),
    row(
        Class::Invalidate,
        "reads through it stay with the kernel",
        &["copy_file_range", "splice"],
    ),
    row(
        Class::Invalidate,
        "mapped reads stay with the kernel",
        &["mmap", "mmap64"],
    ),
    row(Class::Invalidate, "", &["ioctl"]),
    row(Class::Invalidate, "", &["aio_write", "aio_write64"]),
    row(
        Class::Invalidate,
        "asynchronous reads stay with the kernel",
        &["lio_listio"],
    ),
    row(
        Class::Invalidate,
        "asynchronous reads stay with the kernel",
        &["lio_listio64"],
    ),
    row(
        Class::Invalidate,
        "asynchronous reads stay with the kernel",
        &["io_submit"],
    ),
    row(Class::Invalidate, "", &["syscall"]),
    row(
        Class::Identity,
        "",
        &[
            "open",
            "open64",
            "__open",
            "__open64",
            "__open_2",
            "__open64_2",
        ],
    ),
    row(
        Class::Identity,
        "",
        &["openat", "openat64", "__openat_2", "__openat64_2"],
    ),
    row(
        Class::Identity,
        "",
        &["creat", "creat64", "mkstemp", "mkstemp64", "mkostemp"],
    ),
    row(
        Class::Identity,
        "",
        &["mkostemp64", "mkstemps", "mkstemps64", "mkostemps"],
    ),
    row(
        Class::Identity,
        "",
        &["mkostemps64", "tmpfile", "tmpfile64"],
    ),
    row(
        Class::Identity,
        "",
        &["fopen", "fopen64", "fdopen", "freopen", "freopen64"],
    ),
    row(Class::Identity, "", &["fclose", "fcloseall", "closedir"]),
    row(
        Class::Identity,
        "",
        &["close", "__close", "close_range", "closefrom"],
    ),
    row(
        Class::Identity,
        "",
        &["dup", "dup2", "dup3", "__dup2", "fcntl", "fcntl64"],
    ),
    row(Class::Process, "", &["fork", "__fork", "_Fork"]),
    row(
        Class::Process,
        "",
        &["execve", "execv", "execvp", "execvpe", "execl", "execle"],
    ),
    row(
        Class::Process,
        "",
        &[
            "execlp",
            "fexecve",
            "execveat",
            "posix_spawn",
            "posix_spawnp",
        ],
    ),
    row(
        Class::Process,
        "",
        &["setuid", "seteuid", "setreuid", "setresuid", "setfsuid"],
    ),
    row(
        Class::Process,
        "",
        &["setgid", "setegid", "setregid", "setresgid", "setfsgid"],
    ),
    row(
        Class::Process,
        "",
        &["setgroups", "initgroups", "chroot", "setns", "unshare"],
    ),
    row(Class::Send, "", &["sendfile", "sendfile64"]),
    row(
        Class::Pass,
        "reads at the file offset stay with the kernel",
        &["read", "__read"],
    ),
    row(
        Class::Pass,
        "reads at the file offset stay with the kernel",
        &["__read_chk", "readv"],
    ),
    row(
        Class::Pass,
        "stdio reads stay with the kernel",
        &["fread", "fread_unlocked"],
    ),
    row(
        Class::Pass,
        "stdio reads stay with the kernel",
        &["__fread_chk", "__fread_unlocked_chk"],
    ),
    row(
        Class::Pass,
        "stdio reads stay with the kernel",
        &["getline", "getdelim", "__getdelim"],
    ),
    row(
        Class::Pass,
        "stdio reads stay with the kernel",
        &["fgets", "fgetc", "getc", "__fgets_chk"],
    ),
    row(
        Class::Pass,
        "asynchronous reads stay with the kernel",
        &["aio_read", "aio_read64"],
    ),
    row(
        Class::Pass,
        "",
        &[
            "fwrite",
            "fwrite_unlocked",
            "fputs",
            "fputc",
            "fprintf",
            "vfprintf",
        ],
    ),
    row(
        Class::Pass,
        "",
        &[
            "lseek",
            "lseek64",
            "fsync",
            "fdatasync",
            "sync_file_range",
            "msync",
        ],
    ),
    row(
        Class::Pass,
        "",
        &["tee", "vmsplice", "munmap", "mprotect", "mremap"],
    ),
    row(
        Class::Pass,
        "",
        &["aio_error", "aio_error64", "aio_return", "aio_return64"],
    ),
    row(
        Class::Invalidate,
        "",
        &["io_getevents", "io_pgetevents", "io_destroy"],
    ),
    row(
        Class::Pass,
        "",
        &[
            "rename",
            "renameat",
            "renameat2",
            "unlink",
            "unlinkat",
            "remove",
        ],
    ),
    row(Class::Pass, "", &["link", "linkat"]),
    row(
        Class::Advise,
        "",
        &["posix_fadvise", "posix_fadvise64", "readahead"],
    ),
    row(
        Class::Unseen,
        "io_uring skips the hooks",
        &["io_uring_queue_init"],
    ),
    row(
        Class::Unseen,
        "io_uring skips the hooks",
        &["io_uring_queue_init_params"],
    ),
    row(
        Class::Unseen,
        "io_uring skips the hooks",
        &["io_uring_queue_init_mem"],
    ),
    row(
        Class::Unseen,
        "io_uring skips the hooks",
        &["io_uring_setup"],
    ),
];

/// What becomes of a program's calls, in the words of `check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// Served from memory.
    pub served: BTreeSet<String>,
    /// Followed, so that no read is ever stale.
    pub followed: BTreeSet<String>,
    /// Reads left to the kernel, with the reason.
    pub bypassed: BTreeSet<(String, String)>,
    /// Calls that the hooks cannot see, with the reason.
    pub unseen: BTreeSet<(String, String)>,
}

/// The row of a call.
pub fn find(call: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.calls.contains(&call))
}

impl Calls {
    /// Sorts one import in. `hooks`: what the hook driver exports; `None`: the table is believed.
    pub fn add(&mut self, call: &str, hooks: Option<&BTreeSet<String>>) {
        let Some(row) = find(call) else { return };
        let hooked = hooks.is_none_or(|hooks| hooks.contains(call));
        let call = call.to_string();
        match row.class {
            Class::Serve if hooked => {
                self.served.insert(call);
            }
            Class::Serve => {
                self.bypassed
                    .insert((call, "this hook driver leaves it alone".into()));
            }
            Class::Pass => self.bypass(call, row.note),
            Class::Unseen => {
                self.unseen.insert((call, row.note.into()));
            }
            Class::Invalidate | Class::Send if !hooked => {
                self.unseen
                    .insert((call, "this hook driver does not follow it".into()));
            }
            Class::Invalidate => {
                self.bypass(call.clone(), row.note);
                self.followed.insert(call);
            }
            Class::Send => {
                self.served.insert(call.clone());
                self.followed.insert(call);
            }
            // Followed or not, no content passes through them.
            Class::Identity | Class::Process | Class::Advise => {}
        }
    }

    fn bypass(&mut self, call: String, note: &str) {
        if !note.is_empty() {
            self.bypassed.insert((call, note.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_has_two_rows() {
        let mut seen = BTreeSet::new();
        for call in TABLE.iter().flat_map(|row| row.calls) {
            assert!(seen.insert(call), "{call} has two rows");
        }
    }

    #[test]
    fn the_hook_driver_has_the_last_word() {
        let mut calls = Calls::default();
        let hooks = ["pread", "write", "sendfile"].map(String::from).into();
        for call in [
            "pread",
            "sendfile",
            "sendfile64",
            "preadv",
            "write",
            "pwrite",
            "read",
            "io_uring_setup",
            "qsort",
        ] {
            calls.add(call, Some(&hooks));
        }
        let names = |set: &BTreeSet<(String, String)>| {
            set.iter().map(|(call, _)| call.clone()).collect::<Vec<_>>()
        };
        let set = |names: [&str; 2]| BTreeSet::from(names.map(String::from));
        assert_eq!(calls.served, set(["pread", "sendfile"]));
        assert_eq!(calls.followed, set(["sendfile", "write"]));
        assert_eq!(names(&calls.bypassed), ["preadv", "read"]);
        let unseen = ["io_uring_setup", "pwrite", "sendfile64"];
        assert_eq!(names(&calls.unseen), unseen);
    }
}
