//! What these tests share: a workshop with an empty hook driver, and ways to run hooktool.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The program under test.
pub const HOOKTOOL: &str = env!("CARGO_BIN_EXE_hooktool");

/// Longest wait for something that must happen: a watchdog, not a measurement.
const WATCHDOG: Duration = Duration::from_secs(60);

/// A directory of built things, made once, reachable by every user.
pub fn workshop() -> &'static Path {
    static WORKSHOP: OnceLock<PathBuf> = OnceLock::new();
    WORKSHOP.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("hooktool-it-{}", std::process::id()));
        sweep();
        std::fs::create_dir_all(&path).unwrap();
        compile(
            &path,
            "libramgrid_shim.so",
            "void ramgrid_nothing(void) {}",
            &["-shared", "-fPIC", "-Wl,-soname,libramgrid_shim.so"],
        );
        compile(
            &path,
            "static",
            "int main(void) { return 3; }",
            &["-static"],
        );
        std::fs::copy(HOOKTOOL, path.join("hooktool")).unwrap();
        path
    })
}

/// Removes the workshops of test runs that are over.
fn sweep() {
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("hooktool-it-");
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn compile(directory: &Path, name: &str, source: &str, flags: &[&str]) {
    let file = directory.join(format!("{name}.c"));
    std::fs::write(&file, source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(flags).arg("-o").arg(directory.join(name)).arg(file);
    assert!(cc.status().unwrap().success(), "cc {name}");
}

/// The empty hook driver.
pub fn driver() -> PathBuf {
    workshop().join("libramgrid_shim.so")
}

/// A node that answers, in the hook server itself: nothing is to be said about it.
pub const NODE: &str = "embedded:16MiB";

/// An address where nobody listens: sessions start with disk reads only, and say so.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// hooktool with the empty driver and a clean environment of its own.
pub fn hooktool(arguments: &[&str]) -> Command {
    let mut command = Command::new(HOOKTOOL);
    clean(&mut command).args(arguments);
    command
}

/// Removes every `HOOKTOOL_*` variable and names the empty driver.
pub fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOOKTOOL_") {
            command.env_remove(name);
        }
    }
    command.env("HOOKTOOL_SHIM", driver())
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Output {
    hooktool(arguments).output().unwrap()
}

/// `hooktool run` on a node that answers.
pub fn run_target(words: &[&str]) -> Output {
    let mut all = vec!["run", "--node", NODE, "--"];
    all.extend(words);
    run(&all)
}

/// Runs a copy of hooktool as an ordinary user (the tests may run as root).
pub fn as_nobody(words: &[&str]) -> Output {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(workshop().join("hooktool"));
    if is_root() {
        command.uid(65534).gid(65534);
    }
    clean(&mut command).args(words).output().unwrap()
}

/// Exit status, or 128 + n.
pub fn status(output: &Output) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    output
        .status
        .code()
        .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0))
}

/// Standard output.
pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error.
pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until `done` gives something.
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(start.elapsed() < WATCHDOG, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
