//! Whether a program can be hooked at all: asked before every start and first by `check`.
//!
//! The loader ignores `LD_PRELOAD` in silence for some programs and does not exist for others; each
//! such obstacle has a name and three lines. Scripts are judged by their interpreter. Reads heads
//! of files only; never runs anything.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::elf::{self, Elf, Glibc, Head};
use crate::failure::{Failure, Kind};
use crate::sys;

/// Oldest glibc the hook driver is made for.
pub const GLIBC_MIN: Glibc = (2, 28);

/// Interpreters of interpreters, as the kernel allows them.
const SCRIPTS_MAX: usize = 4;

/// Why a program cannot be hooked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Not a program at all: no ELF file, no `#!` line.
    NoProgram,
    /// The interpreter of a script, or the loader of a program, is not there.
    NoInterpreter(String),
    /// No loader: linked statically.
    Static,
    /// A shared library, which nobody can start.
    Library,
    /// An ELF file that ends early or contradicts itself: how.
    Damaged(String),
    /// Another libc: its loader.
    ForeignLibc(String),
    /// Built for another machine.
    ForeignMachine(String),
    /// Changes its user or group when executed.
    SetId(&'static str),
    /// Gains capabilities when executed.
    FileCapabilities,
    /// Cannot be read by this user, so nothing is known.
    Unreadable(String),
    /// Runs with a glibc older than the hook driver needs.
    OldGlibc(Glibc, Glibc),
}

/// A program that can be hooked.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The ELF file: the program, or the interpreter of the script.
    pub program: PathBuf,
    /// What it says.
    pub elf: Elf,
    /// The script's interpreter line, where it is one.
    pub script: Option<(String, Option<String>)>,
}

/// Examines what executing `path` would run.
///
/// # Errors
///
/// The file in the way and the obstacle.
pub fn examine(path: &Path) -> Result<Examined, (PathBuf, Obstacle)> {
    let mut program = path.to_path_buf();
    let mut script = None;
    for _ in 0..=SCRIPTS_MAX {
        let failed = |obstacle| (program.clone(), obstacle);
        match elf::head(&program) {
            Err(error) if script.is_some() && error.kind() == std::io::ErrorKind::NotFound => {
                return Err((path.to_path_buf(), Obstacle::NoInterpreter(show(&program))));
            }
            Err(error) => return Err(failed(Obstacle::Unreadable(error.to_string()))),
            Ok(Head::Other) => return Err(failed(Obstacle::NoProgram)),
            Ok(Head::Foreign(machine)) => return Err(failed(Obstacle::ForeignMachine(machine))),
            Ok(Head::Script(interpreter, argument)) => {
                program = PathBuf::from(&interpreter);
                script.get_or_insert((interpreter, argument));
            }
            Ok(Head::Native) => {
                let elf = native(&program).map_err(failed)?;
                return Ok(Examined {
                    program,
                    elf,
                    script,
                });
            }
        }
    }
    Err((path.to_path_buf(), Obstacle::NoProgram))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn native(program: &Path) -> Result<Elf, Obstacle> {
    let elf = elf::read(program).map_err(Obstacle::Damaged)?;
    if let Some(which) = changes_identity(program) {
        return Err(Obstacle::SetId(which));
    }
    if gains_capabilities(program) {
        return Err(Obstacle::FileCapabilities);
    }
    let loader = elf
        .soname
        .as_deref()
        .is_some_and(|name| name.starts_with("ld-linux"));
    match &elf.interpreter {
        None if loader => Ok(elf),
        None if elf.soname.is_some() => Err(Obstacle::Library),
        None => Err(Obstacle::Static),
        Some(interpreter) if foreign_libc(interpreter) => {
            Err(Obstacle::ForeignLibc(interpreter.clone()))
        }
        Some(interpreter) if !Path::new(interpreter).exists() => {
            Err(Obstacle::NoInterpreter(interpreter.clone()))
        }
        Some(_) => Ok(elf),
    }
}

fn foreign_libc(interpreter: &str) -> bool {
    let name = interpreter.rsplit('/').next().unwrap_or("");
    ["ld-musl", "ld-uClibc", "ld-uclibc", "linker"]
        .iter()
        .any(|other| name.starts_with(other))
}

/// The kernel's rule (`cap_bprm_creds_from_file`): secure if the new effective id is not the real
/// one; set-id bits count neither on a `nosuid` mount nor under no-new-privileges.
fn changes_identity(program: &Path) -> Option<&'static str> {
    const GROUP_EXECUTE: u32 = 0o010;
    let data = std::fs::metadata(program).ok()?;
    if identity_ignored(program) {
        return None;
    }
    let mode = data.mode();
    let real_user = rustix::process::getuid().as_raw();
    let real_group = rustix::process::getgid().as_raw();
    if mode & libc::S_ISUID != 0 && data.uid() != real_user {
        return Some("set-user-ID");
    }
    let group = mode & libc::S_ISGID != 0 && mode & GROUP_EXECUTE != 0;
    (group && data.gid() != real_group).then_some("set-group-ID")
}

fn gains_capabilities(program: &Path) -> bool {
    if rustix::process::getuid().is_root() || identity_ignored(program) {
        return false;
    }
    let mut value = [0_u8; 64];
    let found = rustix::fs::getxattr(program, c"security.capability", &mut value[..]);
    found.is_ok_and(|length| length > 0)
}

fn identity_ignored(program: &Path) -> bool {
    let nosuid = rustix::fs::statvfs(program)
        .is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID));
    nosuid || sys::no_new_privileges()
}

/// Whether a glibc is new enough for the driver's needs.
///
/// # Errors
///
/// The obstacle, with what there is and what is needed.
pub fn glibc_suffices(found: Option<Glibc>, needed: Option<Glibc>) -> Result<(), Obstacle> {
    let needed = needed.unwrap_or(GLIBC_MIN).max(GLIBC_MIN);
    match found {
        Some(found) if found < needed => Err(Obstacle::OldGlibc(found, needed)),
        _ => Ok(()),
    }
}

impl Obstacle {
    /// One line: why.
    pub fn why(&self) -> String {
        match self {
            Self::NoProgram => "it is neither an ELF program nor a script with a #! line".into(),
            Self::NoInterpreter(path) => format!("its interpreter {path} is not there"),
            Self::Static => "it is statically linked".into(),
            Self::Library => "it is a library, not a program".into(),
            Self::Damaged(error) => format!("it is no whole ELF file: {error}"),
            Self::ForeignLibc(loader) => format!("it uses another libc than glibc ({loader})"),
            Self::ForeignMachine(machine) => format!("it is built for {machine}"),
            Self::SetId(which) => format!("it is {which}"),
            Self::FileCapabilities => "it has file capabilities".into(),
            Self::Unreadable(error) => format!("it cannot be read: {error}"),
            Self::OldGlibc(found, needed) => {
                let ((found, minor), (needed, least)) = (found, needed);
                format!("its glibc is {found}.{minor} and {needed}.{least} is needed")
            }
        }
    }

    /// One line: what that means.
    fn means(&self) -> &'static str {
        match self {
            Self::NoProgram => "the kernel cannot execute it directly; a shell would run it itself",
            Self::NoInterpreter(_) => "the kernel cannot execute it",
            Self::Static => "no loader runs, so no hook can be put in: it would run unserved",
            Self::ForeignLibc(_) => "the hook driver needs glibc: it would not start with it",
            Self::ForeignMachine(_) => "the hook driver is built for this machine's own programs",
            Self::SetId(_) | Self::FileCapabilities => {
                "the loader ignores hooks for programs that gain rights: it would run unserved"
            }
            Self::Library => "programs load it; it cannot be started by itself",
            Self::Unreadable(_) | Self::Damaged(_) => "whether hooks would work cannot be told",
            Self::OldGlibc(..) => "the loader could not load the hook driver: it would not start",
        }
    }

    /// One line: what to type instead.
    fn fix(&self, file: &Path) -> String {
        let file = file.display();
        match self {
            Self::NoProgram => format!("name its shell:  hooktool run -- sh {file}"),
            Self::NoInterpreter(_) => format!("look at it:  head -1 {file}; file {file}"),
            Self::Static => "use a dynamically linked build, or start it without hooktool".into(),
            Self::ForeignLibc(_) => "use its glibc build, or start it without hooktool".into(),
            Self::ForeignMachine(_) => {
                "use the build for this machine, with a hooktool of it".into()
            }
            Self::SetId(_) => {
                format!("start it as its owner:  sudo -u OWNER hooktool run -- {file}")
            }
            Self::FileCapabilities => {
                "give the capability by systemd (AmbientCapabilities=) instead of setcap".into()
            }
            Self::Library => "name a program:  hooktool check CMD".into(),
            Self::Damaged(_) => format!("compare it with its package:  readelf -h {file}"),
            Self::Unreadable(_) => format!("make it readable:  chmod a+r {file}"),
            Self::OldGlibc(..) => "use the ramgrid package of this system's release".into(),
        }
    }

    /// Three lines for `run`.
    pub fn failure(&self, file: &Path) -> Failure {
        let kind = match self {
            Self::NoProgram | Self::NoInterpreter(_) => Kind::NotExecutable,
            _ => Kind::Launch,
        };
        let what = format!("cannot hook {}: {}", file.display(), self.why());
        Failure::new(kind, what, self.means(), self.fix(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_programs_pass() {
        for path in ["/bin/true", "/bin/sh"] {
            assert!(examine(Path::new(path)).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_is_no_program_is_told() {
        let (_, obstacle) = examine(Path::new("/etc/passwd")).unwrap_err();
        assert_eq!(obstacle, Obstacle::NoProgram);
        let failure = obstacle.failure(Path::new("/etc/passwd"));
        assert_eq!(failure.kind, Kind::NotExecutable);
        assert!(failure.fix.contains("hooktool run -- sh"));
    }

    #[test]
    fn a_damaged_program_and_a_library_are_told_as_what_they_are() {
        let whole = std::fs::read("/bin/true").unwrap();
        let name = format!("hooktool-damaged-{}", std::process::id());
        let damaged = std::env::temp_dir().join(name);
        std::fs::write(&damaged, &whole[..4096]).unwrap();
        let found = examine(&damaged).unwrap_err().1;
        std::fs::remove_file(&damaged).unwrap();
        assert!(matches!(found, Obstacle::Damaged(_)), "{found:?}");
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mut files = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5));
        let libgcc = files.find(|file| file.contains("libgcc_s")).unwrap();
        assert_eq!(examine(Path::new(libgcc)).unwrap_err().1, Obstacle::Library);
    }

    #[test]
    fn other_libcs_are_known_by_their_loader() {
        assert!(foreign_libc("/lib/ld-musl-x86_64.so.1"));
        assert!(!foreign_libc("/lib64/ld-linux-x86-64.so.2"));
        assert!(!foreign_libc(
            "/nix/store/abc-glibc-2.38/lib/ld-linux-x86-64.so.2"
        ));
    }

    #[test]
    fn an_old_glibc_is_refused() {
        assert!(glibc_suffices(Some((2, 36)), Some((2, 34))).is_ok());
        assert!(glibc_suffices(None, Some((2, 34))).is_ok());
        let old = glibc_suffices(Some((2, 17)), None).unwrap_err();
        assert_eq!(old, Obstacle::OldGlibc((2, 17), (2, 28)));
    }
}
