//! Starts the hook server as a process of its own, and is its entry point.
//!
//! The launcher puts the configuration into a sealed memory file, forks twice (so that the server
//! is never a child the target could adopt; once where hooktool stays as init), gives the server
//! nothing but that file and the readiness pipe, and executes hooktool again, so that no password
//! of the launcher's command line stays in the process list. The server inherits no descriptor, no
//! signal setting and no environment but its logging.

use std::ffi::CString;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::config::ServeConfig;
use crate::failure::Failure;
use crate::ready::{self, ReadyPipe};
use crate::sys::{self, Fork};
use crate::{logging, server};

/// The configuration's descriptor in the hook server.
const CONFIG_FD: i32 = 3;
/// The readiness pipe's descriptor in the hook server.
const READY_FD: i32 = 4;

/// Largest configuration, in bytes.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// Descriptors without which no hook server starts.
pub const DESCRIPTORS_LEAST: u64 = 64;

/// Whose child the hook server becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// Nobody's in particular: init adopts it.
    Adopted,
    /// This process stays and reaps it.
    Here,
}

/// Starts a hook server and waits until it is ready. Returns its process where it is a child, and
/// what is wrong with its nodes, one line each.
///
/// # Errors
///
/// The server's failure, or why it could not be started; nothing is left running then.
pub fn start(config: &ServeConfig, parent: Parent) -> Result<(i32, Vec<String>), Failure> {
    let file = config_file(config).map_err(|error| cannot("pass its configuration", &error))?;
    let (reader, writer) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| cannot("make a pipe", &error.into()))?;
    // An orphan goes to the nearest subreaper: that must not be the target-to-be.
    let was_subreaper = parent == Parent::Adopted && sys::swap_subreaper(false);
    let child = match sys::fork().map_err(|error| cannot("fork", &error))? {
        Fork::Child => become_server(config, parent, &file, &writer),
        Fork::Parent(child) => child,
    };
    drop(writer);
    if parent == Parent::Adopted {
        sys::wait_for(child);
    }
    if was_subreaper {
        sys::swap_subreaper(true);
    }
    let outcome = ready::wait(reader);
    if outcome.is_err() && parent == Parent::Here {
        sys::wait_for(child);
    }
    outcome.map(|troubles| (child, troubles))
}

fn cannot(what: &str, error: &std::io::Error) -> Failure {
    let descriptors = sys::soft_limit(libc::RLIMIT_NOFILE).unwrap_or(u64::MAX);
    if descriptors < DESCRIPTORS_LEAST {
        return Failure::launch(
            format!("cannot start the hook server: cannot {what}: {error}"),
            format!("it needs {DESCRIPTORS_LEAST} descriptors, and the limit is {descriptors}"),
            "raise the limit of open files:  ulimit -n 4096",
        );
    }
    Failure::launch(
        format!("cannot start the hook server: cannot {what}: {error}"),
        "no session was made and the target was not started",
        "look at the limits of this user:  hooktool doctor",
    )
}

fn config_file(config: &ServeConfig) -> std::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = std::fs::File::from(rustix::fs::memfd_create("hooktool-config", flags)?);
    file.write_all(&serde_json::to_vec(config)?)?;
    file.rewind()?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file.into())
}

/// The forked child: detaches, and executes the server.
fn become_server(config: &ServeConfig, parent: Parent, file: &OwnedFd, ready: &OwnedFd) -> ! {
    let _ = rustix::process::setsid();
    if parent == Parent::Adopted && !matches!(sys::fork(), Ok(Fork::Child)) {
        sys::exit_now(0);
    }
    let failure = execute(config, file, ready);
    // The pipe may have been replaced already: the launcher then reads a silent end, a failure too.
    if let Ok(pipe) = ready.as_fd().try_clone_to_owned() {
        ReadyPipe::new(pipe).failed(&failure);
    }
    sys::exit_now(failure.kind.exit_status());
}

fn execute(config: &ServeConfig, file: &OwnedFd, ready: &OwnedFd) -> Failure {
    sys::reset_signals();
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let arguments = ["hooktool", "session-server", &config.name].map(text);
    let environment: Vec<_> = sys::environment()
        .into_iter()
        .filter(|entry| entry.as_bytes().starts_with(b"HOOKTOOL_LOG"))
        .collect();
    let keep_stderr = environment
        .iter()
        .any(|entry| entry.as_bytes() != b"HOOKTOOL_LOG=");
    if let Err(error) = sys::place_descriptors(file.as_fd(), ready.as_fd(), keep_stderr) {
        return cannot("arrange its descriptors", &error);
    }
    let error = sys::exec(c"/proc/self/exe", &arguments, &environment);
    cannot("execute /proc/self/exe", &error)
}

/// Entry point of the hook server's process (`hooktool session-server`).
///
/// # Errors
///
/// It was not started by `run`, or the session ended badly.
pub fn session_server() -> Result<(), Failure> {
    let stranger = |_| {
        Failure::usage(
            "session-server is how run starts a hook server",
            "it needs descriptors that only run passes",
            "start a program:  hooktool run -- CMD",
        )
    };
    let file = sys::inherited(CONFIG_FD).map_err(stranger)?;
    let mut ready = ReadyPipe::new(sys::inherited(READY_FD).map_err(stranger)?);
    let outcome = read_config(file).and_then(|config| {
        logging::start();
        // Executed by /proc/self/exe, it would be called "exe" by ps and top.
        let _ = std::fs::write("/proc/self/comm", "hooktool");
        let _ = rustix::process::chdir("/");
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        no_core_file();
        server::serve(config, &mut ready)
    });
    if let Err(failure) = &outcome {
        ready.failed(failure);
    }
    outcome
}

/// Passwords and keys stay out of core files.
fn no_core_file() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
}

fn read_config(file: OwnedFd) -> Result<ServeConfig, Failure> {
    let mut text = Vec::new();
    let read = std::fs::File::from(file)
        .take(CONFIG_BYTES_MAX)
        .read_to_end(&mut text);
    let parsed = read.map_err(|error| error.to_string()).and_then(|_| {
        serde_json::from_slice::<ServeConfig>(&text).map_err(|error| error.to_string())
    });
    parsed.map_err(|error| {
        Failure::launch(
            format!("the hook server cannot read its configuration: {error}"),
            "launcher and hook server are not of the same build",
            "start the program again",
        )
    })
}
