//! The house law as a test: every tracked file is read once and judged.
//!
//! `it/tidy.rs` calls [`check_tree`] and fails with every violation found, one per line, in the
//! form `path:line: error: what is wrong, and what to do`, which editors can jump to. Each check is
//! a pure function from a [`File`] to [`Violation`]s and has a little test with a planted
//! violation, so that a silent check cannot pass for a clean house. Nothing here ever changes a
//! file or asks the network.

mod coverage;
mod functions;
mod house;
mod source;
mod unsafety;

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

/// One tracked file, its path relative to the root of the repository.
pub struct File {
    /// Relative path with `/` separators.
    pub path: String,
    /// The bytes as they are on the disk.
    pub bytes: Vec<u8>,
}

impl File {
    /// A file made up by a test.
    pub fn planted(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            bytes: text.as_bytes().to_vec(),
        }
    }

    /// The content as text, or nothing for binary files.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// Is this Rust source?
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn error(&self, line: usize, what: impl Into<String>) -> Violation {
        Violation {
            path: self.path.clone(),
            line,
            what: what.into(),
        }
    }
}

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    /// The file at fault.
    pub path: String,
    /// Its line, counted from 1.
    pub line: usize,
    /// What is wrong, and what to do about it.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: error: {}", self.path, self.line, self.what)
    }
}

/// Judges every file that git tracks under `root`.
pub fn check_tree(root: &Path) -> Vec<Violation> {
    check_files(&tracked_files(root))
}

/// Judges a set of files as if they were the whole repository.
pub fn check_files(files: &[File]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files {
        found.extend(house::check_blob(file));
        found.extend(house::check_workplace(file));
        found.extend(house::check_hosts(file));
        if file.is_rust() {
            found.extend(source::check(file));
            found.extend(functions::check(file));
            found.extend(unsafety::check(file));
        }
    }
    found.extend(house::check_changelog(files));
    found.extend(house::check_dead_files(files));
    found.extend(coverage::check(files));
    found
}

fn tracked_files(root: &Path) -> Vec<File> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output()
        .expect("git must be there: tidy reads what git tracks");
    assert!(
        listed.status.success(),
        "git ls-files failed in {}",
        root.display()
    );
    let names = String::from_utf8(listed.stdout).expect("tracked names are UTF-8");
    let files: Vec<File> = names
        .split('\0')
        .filter(|name| !name.is_empty())
        // A file deleted but not yet committed is still listed; its absence breaks no rule.
        .filter_map(|name| {
            fs::read(root.join(name)).ok().map(|bytes| File {
                path: name.into(),
                bytes,
            })
        })
        .collect();
    assert!(
        !files.is_empty(),
        "git tracks nothing in {}: tidy would prove nothing",
        root.display()
    );
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_read_like_compiler_errors() {
        let shown = File::planted("shim/src/lib.rs", "")
            .error(7, "too long")
            .to_string();
        assert_eq!(shown, "shim/src/lib.rs:7: error: too long");
    }
}
