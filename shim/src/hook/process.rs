//! Process: fork (pins), exec and spawn with an environment rebuilt from nothing (the shim's two
//! variables are put back), and credential changes (the process leaves its region, and may
//! join another one later). `vfork` is
//! not hooked: its child shares the caller's stack frame.
//!
//! # Safety
//! What is dangerous here: environment arrays are walked as the real function will walk them. The
//! bodies are `unsafe` functions with the contract of the libc function they stand for.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{c_char, c_int, c_void, gid_t, pid_t, size_t, uid_t};
use redhook::real;

use super::hk_hook;
use crate::environment::Environment;
use crate::{pins, session};

type Strings = *const *const c_char;

macro_rules! exec_with {
    ($env:ident, $real:expr) => {{
        let environment = Environment::with_ours($env, session::is_shared_memory_child());
        let $env = environment.strings();
        let result = $real;
        environment.give_back();
        result
    }};
}

macro_rules! credentials {
    ($real:expr) => {
        credentials!($real, false)
    };
    ($real:expr, $loses_touch:expr) => {{
        match $loses_touch {
            true => session::lose_touch(),
            false => session::leave(),
        }
        let result = $real;
        session::settled();
        result
    }};
}

/// What `unshare` and `setns` may give up besides names of hosts, queues and groups: users, files
/// and processes. In another network namespace alone a process stays who it is; it reaches the hook
/// server no more, and its connections last.
const OTHER_RIGHTS: c_int = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;

hk_hook! {
    fn fork() -> pid_t => hk_fork {
        pins::before_fork();
        real!(fork)()
    }
    fn execve(path: *const c_char, argv: Strings, env: Strings) -> c_int => hk_execve {
        exec_with!(env, real!(execve)(path, argv, env))
    }
    fn execvpe(path: *const c_char, argv: Strings, env: Strings) -> c_int => hk_execvpe {
        exec_with!(env, real!(execvpe)(path, argv, env))
    }
    fn fexecve(fd: c_int, argv: Strings, env: Strings) -> c_int => hk_fexecve {
        exec_with!(env, real!(fexecve)(fd, argv, env))
    }
    fn posix_spawn(
        pid: *mut pid_t, path: *const c_char, actions: *const c_void, attributes: *const c_void,
        argv: Strings, env: Strings
    ) -> c_int => hk_posix_spawn {
        exec_with!(env, real!(posix_spawn)(pid, path, actions, attributes, argv, env))
    }
    fn posix_spawnp(
        pid: *mut pid_t, path: *const c_char, actions: *const c_void, attributes: *const c_void,
        argv: Strings, env: Strings
    ) -> c_int => hk_posix_spawnp {
        exec_with!(env, real!(posix_spawnp)(pid, path, actions, attributes, argv, env))
    }
    fn setuid(uid: uid_t) -> c_int => hk_setuid {
        credentials!(real!(setuid)(uid))
    }
    fn setgid(gid: gid_t) -> c_int => hk_setgid {
        credentials!(real!(setgid)(gid))
    }
    fn seteuid(uid: uid_t) -> c_int => hk_seteuid {
        credentials!(real!(seteuid)(uid))
    }
    fn setegid(gid: gid_t) -> c_int => hk_setegid {
        credentials!(real!(setegid)(gid))
    }
    fn setreuid(real_uid: uid_t, uid: uid_t) -> c_int => hk_setreuid {
        credentials!(real!(setreuid)(real_uid, uid))
    }
    fn setregid(real_gid: gid_t, gid: gid_t) -> c_int => hk_setregid {
        credentials!(real!(setregid)(real_gid, gid))
    }
    fn setresuid(real_uid: uid_t, uid: uid_t, saved: uid_t) -> c_int => hk_setresuid {
        credentials!(real!(setresuid)(real_uid, uid, saved))
    }
    fn setresgid(real_gid: gid_t, gid: gid_t, saved: gid_t) -> c_int => hk_setresgid {
        credentials!(real!(setresgid)(real_gid, gid, saved))
    }
    fn setgroups(n: size_t, groups: *const gid_t) -> c_int => hk_setgroups {
        credentials!(real!(setgroups)(n, groups))
    }
    fn initgroups(user: *const c_char, gid: gid_t) -> c_int => hk_initgroups {
        credentials!(real!(initgroups)(user, gid))
    }
    fn chroot(path: *const c_char) -> c_int => hk_chroot {
        credentials!(real!(chroot)(path))
    }
    fn unshare(flags: c_int) -> c_int => hk_unshare {
        if flags & OTHER_RIGHTS == 0 {
            return real!(unshare)(flags);
        }
        credentials!(real!(unshare)(flags), flags & libc::CLONE_NEWNET != 0)
    }
    fn setns(fd: c_int, kind: c_int) -> c_int => hk_setns {
        if kind != 0 && kind & OTHER_RIGHTS == 0 {
            return real!(setns)(fd, kind);
        }
        credentials!(real!(setns)(fd, kind), kind == 0 || kind & libc::CLONE_NEWNET != 0)
    }
}
