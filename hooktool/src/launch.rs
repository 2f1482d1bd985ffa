//! `hooktool run`: checks everything that can be checked, makes a session, executes the command.
//!
//! On success nothing is printed and nothing returns: the command has taken this process's place,
//! with its number, parent, descriptors, signals and limits as they were. As process 1 it stays,
//! see `init`.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::cli::RunArgs;
use crate::config::{NodeAddr, ServeConfig, SessionId, Token};
use crate::enter::{self, Entered};
use crate::failure::{self, Failure, Kind};
use crate::libraries::Search;
use crate::settings::{self, Settings};
use crate::shim::{self, Shim};
use crate::sizes::BadQuantity;
use crate::spawn::{self, Parent};
use crate::tls::Trust;
use crate::{dry_run, environment, globs, init, layers, locate, precheck, probe, sys};

/// A command that was found and can be hooked.
#[derive(Debug)]
pub struct Target {
    /// The file to execute.
    pub file: PathBuf,
    /// The command as typed.
    pub command: Vec<OsString>,
}

/// Runs the command. Returns only where hooktool stays (dry run, process 1).
///
/// # Errors
///
/// Whatever kept the command from being started.
pub fn run(arguments: RunArgs) -> Result<u8, Failure> {
    let path = std::env::var_os("PATH");
    let file = locate::command(&arguments.command[0], path.as_deref());
    let file = file.map_err(|failure| unquoted(&arguments).unwrap_or(failure));
    if environment::is_disabled() && !arguments.dry_run {
        // Before all else: not even a broken settings file keeps the command from starting.
        let command = arguments.command;
        return Err(execute(
            &Target {
                file: file?,
                command,
            },
            &sys::environment(),
        ));
    }
    tell_misspelt_variables();
    let settings = settings::resolve(&arguments.settings, |name| std::env::var(name).ok())?;
    let target = Target {
        file: file?,
        command: arguments.command,
    };
    let shim = shim::find(std::env::var("HOOKTOOL_SHIM").ok().as_deref())?;
    check(&target, &shim)?;
    let config = configure(&settings, &target, &shim)?;
    tell_doubtful_globs(&config);
    tell_linger_without_name(&config);
    if arguments.dry_run {
        return dry_run::print(&settings, &config, &target).map(|()| 0);
    }
    if config.require {
        require_nodes(&config.nodes, &Trust::new(config.papers.clone()))?;
    }
    if rustix::process::getpid().is_init() {
        run_as_init(config, target, &settings)
    } else {
        in_place(&config, &target)
    }
}

/// What a glob without quotes looks like from here: the shell has put names of files in its place,
/// the first of them is the flag's, and the second is taken for the command.
fn unquoted(arguments: &RunArgs) -> Option<Failure> {
    let command = Path::new(&arguments.command[0]);
    let given = &arguments.settings;
    let flags = [
        ("--own", &given.own),
        ("--include", &given.include),
        ("--exclude", &given.exclude),
    ];
    let (flag, directory) = flags.into_iter().find_map(|(flag, globs)| {
        let first = Path::new(globs.last()?);
        let is_beside = first.is_absolute() && first.parent() == command.parent();
        (is_beside && first.exists() && command.exists()).then(|| Some((flag, first.parent()?)))?
    })?;
    let directory = directory.display();
    Some(Failure::new(
        Kind::NotExecutable,
        format!(
            "cannot execute '{}': the shell has put it there",
            command.display()
        ),
        format!("{flag} has no quotes: the shell wrote the files of {directory} in its place"),
        format!("write:  hooktool run {flag} '{directory}/**' -- CMD"),
    ))
}

/// One line about variables that look like settings and are none, or that say nothing.
fn tell_misspelt_variables() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let names: Vec<_> = names.collect();
    let misspelt = layers::misspelt(names.iter().map(String::as_str));
    if !misspelt.is_empty() {
        failure::note(&format!(
            "no setting is called {}: it changes nothing; settings: hooktool run --help",
            misspelt.join(" or ")
        ));
    }
    for name in names.iter().filter(|name| layers::is_setting(name)) {
        let why = match std::env::var_os(name) {
            Some(value) if value.to_str().is_some_and(layers::says_nothing) => "is empty",
            Some(value) if value.to_str().is_none() => "is not UTF-8",
            _ => continue,
        };
        failure::note(&format!("{name} {why}: it counts as not set"));
    }
}

/// One line for each glob that matches no file as the disk stands now, or whose files are left out.
fn tell_doubtful_globs(config: &ServeConfig) {
    for glob in config
        .include
        .iter()
        .filter(|glob| config.exclude.contains(glob))
    {
        failure::note(&format!(
            "--include '{glob}': the same is left out by --exclude, which wins: none of it is \
             served; take one of them away"
        ));
    }
    for (flag, list) in [("--own", &config.own), ("--include", &config.include)] {
        for glob in list {
            if let Some(BadQuantity { means, write }) = globs::doubt(glob) {
                failure::note(&format!("{flag} '{glob}': {means}; {write}"));
            }
        }
    }
}

/// One line where a session is kept that nobody can enter.
fn tell_linger_without_name(config: &ServeConfig) {
    if !config.named && config.linger_ms > 0 {
        failure::note(
            "--linger keeps the session for a later start of its name, and it has none: it is \
             kept for nothing; name it:  hooktool run --name NAME",
        );
    }
}

/// Refuses what could not be hooked, with the file in the way.
fn check(target: &Target, shim: &Shim) -> Result<(), Failure> {
    let failed = |(file, obstacle): (PathBuf, precheck::Obstacle)| obstacle.failure(&file);
    let examined = precheck::examine(&target.file).map_err(failed)?;
    let library_path = std::env::var("LD_LIBRARY_PATH").ok();
    let glibc = Search::new(library_path.as_deref()).glibc(&examined.program, &examined.elf);
    precheck::glibc_suffices(glibc, shim.elf.glibc_needed)
        .map_err(|obstacle| obstacle.failure(&examined.program))
}

/// Executes in place.
fn in_place(config: &ServeConfig, target: &Target) -> Result<u8, Failure> {
    let environment = open_session(config, Parent::Adopted)?.0;
    Err(execute(target, &environment))
}

/// Stays as process 1.
fn run_as_init(
    mut config: ServeConfig,
    target: Target,
    settings: &Settings,
) -> Result<u8, Failure> {
    let mut held = init::hold(|environment| execute(&target, &environment))?;
    config.target_pid = held.pid.unsigned_abs();
    if let Some(pattern) = &settings.stats_at_exit {
        config.stats_at_exit = stats_file(pattern, config.target_pid).ok();
    }
    // The namespace ends with its first process: nothing could linger.
    config.linger_ms = 0;
    let (environment, server) = match open_session(&config, Parent::Here) {
        Ok(session) => session,
        Err(failure) => {
            held.abandon();
            return Err(failure);
        }
    };
    held.release(&environment);
    Ok(init::supervise(
        held.pid,
        server,
        config.stats_at_exit.as_deref(),
    ))
}

/// Makes the session, or enters one of the same name. Returns the target's environment and the hook
/// server where it is a child.
fn open_session(
    config: &ServeConfig,
    parent: Parent,
) -> Result<(Vec<CString>, Option<i32>), Failure> {
    let only = (!config.follow).then_some(config.target_pid);
    let ours = environment::limited(sys::environment(), only);
    // The sessions of a namespace end with its first process: as such, this is the only one.
    if config.named
        && parent == Parent::Adopted
        && let Some(entered) = enter::enter(config)
    {
        let Entered {
            session,
            token,
            shim,
        } = entered;
        let ours = environment::hooked(ours, &shim, (&session, &token), &config.name);
        return Ok((ours, None));
    }
    let (server, troubles) = spawn::start(config, parent)?;
    troubles.iter().for_each(|trouble| failure::note(trouble));
    let server = (parent == Parent::Here).then_some(server);
    let place = (&config.session, &config.token);
    let ours = environment::hooked(ours, &config.shim, place, &config.name);
    Ok((ours, server))
}

/// The session's configuration.
fn configure(settings: &Settings, target: &Target, shim: &Shim) -> Result<ServeConfig, Failure> {
    let command: Vec<_> = target
        .command
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let default = || settings::name_of_command(&command[0]);
    let pid = std::process::id();
    let stats_at_exit = settings
        .stats_at_exit
        .as_deref()
        .map(|name| stats_file(name, pid));
    Ok(ServeConfig {
        session: SessionId(random()?),
        token: Token(random()?),
        name: settings.name.clone().unwrap_or_else(default),
        named: settings.name.is_some(),
        target_pid: pid,
        command,
        shim: shim.path.clone(),
        nodes: settings.nodes.clone(),
        papers: settings.papers.clone(),
        local: settings.local,
        index_bytes: settings.index_bytes,
        include: settings.include.clone(),
        exclude: settings.exclude.clone(),
        own: settings.own.clone(),
        mode: settings.mode,
        verify_ppm: settings.verify_ppm,
        fill: settings.fill,
        integrity: settings.integrity.clone(),
        fill_rate_bytes_per_s: settings.fill_rate_bytes_per_s,
        linger_ms: settings.linger_ms,
        require: settings.require,
        follow: settings.follow,
        deny_io_uring: settings.deny_io_uring,
        stats_at_exit: stats_at_exit.transpose()?,
    })
}

fn random() -> Result<[u8; 16], Failure> {
    let mut bytes = [0_u8; 16];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match got {
        Ok(16) => Ok(bytes),
        _ => Err(Failure::launch(
            "the kernel gives no random numbers",
            "a session must have a name nobody can guess",
            "see whether a system call filter refuses getrandom:  hooktool doctor",
        )),
    }
}

/// Replaces `%p`, `%h`, `%t` (as core_pattern does) and makes the path absolute.
fn stats_file(pattern: &str, pid: u32) -> Result<PathBuf, Failure> {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_s = now.map_or(0, |time| time.as_secs());
    let name = expand(pattern, pid, &host, now_s);
    let lost = |path: &str, why: &str, fix: String| {
        let means = "the counters asked for by --stats-at-exit would be lost";
        Failure::launch(format!("cannot write {path}: {why}"), means, fix)
    };
    let path = std::path::absolute(&name).map_err(|error| {
        let fix = "name it from the root:  --stats-at-exit /var/tmp/stats.%p.json";
        lost(&name, &error.to_string(), fix.into())
    })?;
    if path.is_dir() {
        let fix = format!("name a file in it:  --stats-at-exit '{name}/stats.%p.json'");
        return Err(lost(&name, "it is a directory", fix));
    }
    // The file is replaced as a whole: that must not happen to a device or a pipe.
    if std::fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        let fix = "name a file:  --stats-at-exit /var/tmp/stats.%p.json";
        return Err(lost(&name, "it is no regular file", fix.into()));
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    match sys::may_access(directory, access) {
        Ok(()) => Ok(path),
        Err(error) => {
            let shown = directory.display();
            let fix = match error {
                rustix::io::Errno::NOENT => {
                    format!("make the directory, or name another:  mkdir -p '{shown}'")
                }
                _ => "name a file in a directory that you may write to:  --stats-at-exit \
                      /var/tmp/stats.%p.json"
                    .into(),
            };
            Err(lost(&path.display().to_string(), &error.to_string(), fix))
        }
    }
}

fn expand(pattern: &str, pid: u32, host: &str, now_s: u64) -> String {
    let mut text = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            Some('p') => text.push_str(&pid.to_string()),
            Some('h') => text.push_str(host),
            Some('t') => text.push_str(&now_s.to_string()),
            Some('%') | None => text.push('%'),
            Some(other) => text.extend(['%', other]),
        }
    }
    text
}

/// `--require`: every node answers before anything is started.
fn require_nodes(nodes: &[NodeAddr], trust: &Trust) -> Result<(), Failure> {
    for node in nodes {
        if let Err(trouble) = probe::node(node, trust) {
            return Err(trouble.failure(node));
        }
    }
    Ok(())
}

/// Executes the command; returns only its failure.
fn execute(target: &Target, environment: &[CString]) -> Failure {
    let words = target
        .command
        .iter()
        .map(|word| CString::new(word.as_bytes()));
    let words = words.collect::<Result<Vec<_>, _>>();
    let file = CString::new(target.file.clone().into_os_string().into_vec());
    let error = match (file, words) {
        (Ok(file), Ok(words)) => sys::exec(&file, &words, environment),
        _ => std::io::ErrorKind::InvalidInput.into(),
    };
    let absent = error.kind() == std::io::ErrorKind::NotFound;
    Failure::new(
        if absent {
            Kind::NotFound
        } else {
            Kind::NotExecutable
        },
        format!("cannot execute {}: {error}", target.file.display()),
        "the kernel refused it; nothing is left running",
        format!("try it alone:  {}", target.file.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_expanded_as_core_patterns_are() {
        assert_eq!(
            expand("/s.%p.%h.%t.json", 42, "db1", 1000),
            "/s.42.db1.1000.json"
        );
        assert_eq!(expand("100%%-%x-%", 42, "db1", 1000), "100%-%x-%");
    }

    #[test]
    fn random_names_differ() {
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
