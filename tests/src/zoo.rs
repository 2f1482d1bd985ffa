//! The zoo: hostile little programs in C, one directory per fear, kept for ever.
//!
//! `zoo/NAME/main.c` prints the same lines and exits with the same status wherever it runs;
//! `it/zoo.rs` runs each natively, hooked, and hooked under the oracle. Compiled with the system's
//! gcc into the bed at test time, with the flags its first line may name (`/* cflags: ... */`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bed::Bed;
use crate::run::run;
use crate::stage::tool;

/// Where the zoo lives.
pub fn zoo_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo")
}

/// Names of all animals: every directory with a `main.c`.
pub fn animals() -> Vec<String> {
    let entries = std::fs::read_dir(zoo_dir()).expect("the zoo is there");
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("main.c").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Compiles one animal into the bed.
pub fn compile(bed: &Bed, name: &str) -> PathBuf {
    compile_source(bed, &zoo_dir().join(name).join("main.c"), name)
}

/// Compiles the warmer, which reads a file until it is told to become another program.
pub fn compile_warmer(bed: &Bed) -> PathBuf {
    compile_source(bed, &zoo_dir().join("warmer.c"), "warmer")
}

/// Compiles the molter, which sheds its environment and its parent.
pub fn compile_molter(bed: &Bed) -> PathBuf {
    compile_source(bed, &zoo_dir().join("molter.c"), "molter")
}

/// Compiles the caller, which reads a file by one kind of call.
pub fn compile_caller(bed: &Bed) -> PathBuf {
    compile_source(bed, &zoo_dir().join("caller.c"), "caller")
}

/// Compiles the glimpser, which reads each of its files once per open.
pub fn compile_glimpser(bed: &Bed) -> PathBuf {
    compile_source(bed, &zoo_dir().join("glimpser.c"), "glimpser")
}

/// Compiles the prowler: several processes that rewrite and check one file.
pub fn compile_prowler(bed: &Bed) -> PathBuf {
    compile_source(bed, &zoo_dir().join("prowler.c"), "prowler")
}

/// Compiles the scrubber, which rewrites blocks of a file until it is killed.
pub fn compile_scrubber(bed: &Bed) -> PathBuf {
    compile_source(bed, &zoo_dir().join("scrubber.c"), "scrubber")
}

/// Compiles the deserter, which leaves calls by cancellation and by long jumps.
pub fn compile_deserter(bed: &Bed) -> PathBuf {
    compile_source(bed, &zoo_dir().join("deserter.c"), "deserter")
}

/// Compiles the crowd: many processes that read one file.
pub fn compile_crowd(bed: &Bed) -> PathBuf {
    compile_source(bed, &zoo_dir().join("crowd.c"), "crowd")
}

/// Compiles the warden, which runs a command without the newer system calls.
pub fn compile_confine(bed: &Bed) -> PathBuf {
    compile_source(bed, &zoo_dir().join("confine.c"), "confine")
}

/// Compiles the meddler: outsiders that change files, and watchers that check what they read.
pub fn compile_meddler(bed: &Bed) -> PathBuf {
    compile_source(bed, &zoo_dir().join("meddler.c"), "meddler")
}

fn compile_source(bed: &Bed, source: &Path, name: &str) -> PathBuf {
    let text = std::fs::read_to_string(source)
        .unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let program = bed.dir_of("zoo").join(name);
    let mut gcc = Command::new(tool("gcc"));
    gcc.args([
        "-std=gnu17",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pthread",
        "-D_GNU_SOURCE",
    ]);
    // Bad calls are the purpose of some animals: the compiler need not point them out.
    gcc.args([
        "-Wno-nonnull",
        "-Wno-stringop-overflow",
        "-Wno-format-truncation",
    ]);
    gcc.args(cflags(&text)).arg("-I").arg(zoo_dir());
    gcc.arg("-o").arg(&program).arg(source);
    run(&mut gcc).must_pass();
    program
}

/// The flags a source asks for on its first line.
fn cflags(text: &str) -> Vec<String> {
    let first = text.lines().next().unwrap_or("");
    let asked = first
        .split_once("cflags:")
        .map_or("", |(_, rest)| rest.trim_end_matches("*/"));
    asked.split_whitespace().map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_the_first_line_only() {
        assert_eq!(
            cflags("/* cflags: -D_FORTIFY_SOURCE=2 */\n"),
            ["-D_FORTIFY_SOURCE=2"]
        );
        assert!(cflags("/* A story. */\n/* cflags: -O0 */\n").is_empty());
    }
}
