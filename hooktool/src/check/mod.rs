//! `hooktool check CMD|PID`: can it be covered, which of its calls, and what to type next.
//!
//! Walks the program and every shared object it loads, compares what they import with the table of
//! calls and with what the hook driver exports, and gives a verdict: 0 covered, 3 partly,
//! 4 impossible. A running process is judged by what it has really mapped.

mod files;
mod own;
mod process;
mod report;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::CheckArgs;
use crate::coverage::Calls;
use crate::failure::{Failure, Kind};
use crate::libraries::{Object, Search};
use crate::precheck::{self, Examined, Obstacle};
use crate::shim::{self, Shim};
use crate::{locate, viewer};

pub use report::{Report, Verdict};

/// Calls that bring in code which is not among the objects: what they start is hooked, too.
const STARTERS: [&str; 11] = [
    "dlopen",
    "execl",
    "execle",
    "execlp",
    "execv",
    "execve",
    "execvp",
    "execvpe",
    "posix_spawn",
    "posix_spawnp",
    "system",
];

/// Runs the check and prints it.
///
/// # Errors
///
/// There is no such program or process, or the output cannot be written.
pub fn check(arguments: &CheckArgs) -> Result<u8, Failure> {
    let named = std::env::var("HOOKTOOL_SHIM").ok();
    let shim = shim::find(named.as_deref());
    let first = arguments.target[0].to_string_lossy();
    if is_absent(&first) {
        return Err(Failure::command(
            format!("there is no process {first}"),
            "it has ended, or has this number only in a container's numbering of its own",
            "those that are hooked:  hooktool ps   all:  ps -e   a program of that name:  ./NAME",
        ));
    }
    let report = match first.parse::<u32>() {
        Ok(pid) => process::examine(pid, shim.as_ref().ok())?,
        Err(_) => program(&arguments.target, shim.as_ref().ok())?,
    };
    if let Err(failure) = &shim {
        eprintln!("{failure}");
    }
    if arguments.json {
        viewer::json_line(&report)?;
    } else {
        viewer::line(report.text().trim_end())?;
    }
    Ok(report.verdict.exit_status())
}

/// Whether a word is a number, and no process has it.
fn is_absent(word: &str) -> bool {
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    is_number && !Path::new("/proc").join(word).exists()
}

/// Examines a command.
///
/// # Errors
///
/// It does not exist or cannot be executed at all.
pub fn program(command: &[OsString], shim: Option<&Shim>) -> Result<Report, Failure> {
    let path = std::env::var_os("PATH");
    let file = locate::command(&command[0], path.as_deref()).map_err(|failure| Failure {
        means: match failure.kind {
            Kind::NotExecutable => "only what can be executed can be hooked, and checked",
            _ => "check takes a program as a shell would find it, or the number of a process",
        }
        .into(),
        ..failure
    })?;
    let words: Vec<_> = command
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut report = Report::new(&file, words);
    match examine(&file) {
        Ok(examined) => judge_program(&mut report, &examined, shim),
        Err((file, obstacle)) => report.obstruct(&file, &obstacle),
    }
    Ok(report)
}

/// As `precheck::examine`, and through `env` to the program a script really runs with.
fn examine(file: &Path) -> Result<Examined, (PathBuf, Obstacle)> {
    let examined = precheck::examine(file)?;
    let Some((interpreter, Some(argument))) = &examined.script else {
        return Ok(examined);
    };
    let word = argument
        .split_whitespace()
        .find(|word| !word.starts_with('-'));
    let through_env = interpreter.ends_with("/env");
    match word.filter(|_| through_env) {
        None => Ok(examined),
        Some(word) => {
            let path = std::env::var_os("PATH");
            let found = locate::command(word.as_ref(), path.as_deref());
            let absent = |_| {
                (
                    file.to_path_buf(),
                    Obstacle::NoInterpreter(word.to_string()),
                )
            };
            precheck::examine(&found.map_err(absent)?)
        }
    }
}

fn judge_program(report: &mut Report, examined: &Examined, shim: Option<&Shim>) {
    let library_path = std::env::var("LD_LIBRARY_PATH").ok();
    let search = Search::new(library_path.as_deref());
    let program = match search.walk(&examined.program) {
        Ok(program) => program,
        Err(error) => {
            return report.obstruct(&examined.program, &Obstacle::Unreadable(error));
        }
    };
    report.program = examined.program.clone();
    report.missing = program.missing.clone();
    report.set_glibc(program.glibc());
    let needed = shim.and_then(|shim| shim.elf.glibc_needed);
    if let Err(obstacle) = precheck::glibc_suffices(program.glibc(), needed) {
        return report.obstruct(&examined.program, &obstacle);
    }
    judge_objects(report, &program.objects, shim);
    report.own = own::propose(&report.program, &report.command);
    report.conclude();
}

/// Sorts the imports of all objects into the report.
fn judge_objects(report: &mut Report, objects: &[Object], shim: Option<&Shim>) {
    let hooks = shim.map(|shim| &shim.elf.exports);
    report.hooks_known = hooks.is_some();
    let mut calls = Calls::default();
    for object in objects.iter().filter(|object| !is_libc(&object.path)) {
        report.go |= object.elf.go;
        for call in &object.elf.imports {
            calls.add(call, hooks);
            if object.path == report.program && STARTERS.contains(&call.as_str()) {
                report.starts.insert(call.clone());
            }
        }
    }
    report.objects = objects.iter().map(|object| object.path.clone()).collect();
    report.calls = calls;
}

/// Whether an object is libc or its loader: what they do inside does not pass the hooks, and is
/// covered by the rows of the calls that lead there.
fn is_libc(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    let parts = [
        "libc.so",
        "libc-",
        "ld-linux",
        "ld-2.",
        "libpthread",
        "librt.",
        "librt-",
    ];
    parts
        .iter()
        .chain(&["libdl.", "libm.so", "libresolv"])
        .any(|part| name.starts_with(part))
}

/// Names of a set of calls with reasons, grouped by reason.
fn by_reason(calls: &BTreeSet<(String, String)>) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (call, reason) in calls {
        match groups.iter_mut().find(|(other, _)| other == reason) {
            Some((_, names)) => names.push(call.clone()),
            None => groups.push((reason.clone(), vec![call.clone()])),
        }
    }
    groups
}
