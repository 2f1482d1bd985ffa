//! Runs a program in a session that is already being served.
//!
//! Before the program starts, a warmer process of the same session reads one file over and over
//! until the session's own statistics say that reads come from memory; then the warmer becomes the
//! program. So a short program meets a warm grid on any machine, at any load, and no clock decides.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::bed::Bed;
use crate::run::{Outcome, run, wait_until};
use crate::session::Hooked;
use crate::zoo::compile_warmer;

/// The file every warmed directory has.
pub const WARM_FILE: &str = "warm.dat";
/// Its size, as `zoo.h` says it.
const WARM_BYTES: u64 = 64 * 4096;
/// So many reads must have been served before the program starts.
const HITS_MIN: u64 = 200;

/// Pattern version 0 of `zoo.h`.
fn pattern(offset: u64) -> u8 {
    u8::try_from((offset * 31 + (offset >> 12) * 7) & 0xFF).expect("masked")
}

/// A fresh directory of the bed with the warm file in it, writable by everybody.
pub fn scratch(bed: &Bed, name: &str) -> PathBuf {
    let dir = bed.dir_of(name);
    crate::session::open_to_all(&dir);
    let bytes: Vec<u8> = (0..WARM_BYTES).map(pattern).collect();
    std::fs::write(dir.join(WARM_FILE), bytes).expect("write the warm file");
    dir
}

/// Runs `words` in `dir`, a directory made by [`scratch`], once the session is warm. The program
/// must be named by its full path.
pub fn run_warm<S: AsRef<OsStr>>(
    bed: &Bed,
    hooked: &Hooked<'_>,
    dir: &Path,
    words: &[S],
) -> Outcome {
    let stop = bed.join(format!("{}.stop", hooked.name));
    let warmer = compile_warmer(bed);
    let warm = dir.join(WARM_FILE);
    let mut all: Vec<&OsStr> = vec![warmer.as_os_str(), warm.as_os_str(), stop.as_os_str()];
    all.extend(words.iter().map(AsRef::as_ref));
    let mut command = hooked.command(dir, &all);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&mut command));
        wait_until("reads of the warm file are served", || {
            running.is_finished() || hooked.stats().is_some_and(|stats| stats.hits() > HITS_MIN)
        });
        std::fs::write(&stop, b"").expect("stop the warmer");
        running.join().expect("the run came to its end")
    })
}
