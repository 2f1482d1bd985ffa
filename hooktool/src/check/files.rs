//! The files that a running process has open, and how each of them is read: by the word of its
//! session where that knows the file, else by what `/proc` shows.
//!
//! Called by `check::process`. Changes nothing and opens none of the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::control::{self, FileInfo};
use crate::sizes::show_count;
use crate::viewer::percent;

/// Descriptors that are looked at; a process with more has its first ones listed.
const DESCRIPTORS_MAX: usize = 1 << 16;

/// Files that are listed.
pub const FILES_MAX: usize = 256;

/// Rows for people: the files with the most reads, then the first ones by name.
const ROWS_MAX: usize = 20;

/// States that are not words of the session, and what they mean.
const MEANINGS: [(&str, &str); 3] = [
    (
        "mapped_writable",
        "stores reach it through memory, unseen: the kernel alone reads it",
    ),
    ("unread", "no read of it has passed the hooks yet"),
    (
        "unlisted",
        "not among the busiest files, of which alone a session tells: less read than those",
    ),
];

/// A regular file that a process has open.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenFile {
    /// Where it is.
    pub path: PathBuf,
    /// The session's word (`serve`, or the reason it is bypassed); `mapped_writable`; `unread`:
    /// nothing of it has passed the hooks yet; `unlisted`: the session tells of its busiest files
    /// only.
    pub state: String,
    /// Reads of the whole session that passed the hooks.
    pub reads: u64,
    /// Those that were served.
    pub hits: u64,
}

/// Lists the regular files open in the process at `root` (`/proc/PID`), most reads first. `maps` is
/// its table of mappings, `known` what its session has told.
pub fn list(root: &Path, maps: &str, known: &[FileInfo]) -> Vec<OpenFile> {
    let absent = match known.len() < control::FILES_MAX {
        true => "unread",
        false => "unlisted",
    };
    let known: BTreeMap<&str, &FileInfo> = known
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    let mapped = mapped_writable(maps);
    let mut files: Vec<OpenFile> = open_paths(root)
        .into_iter()
        .map(|path| describe(path, &mapped, &known, absent))
        .collect();
    files.sort_by(|one, other| other.reads.cmp(&one.reads).then(one.path.cmp(&other.path)));
    files.truncate(FILES_MAX);
    files
}

fn open_paths(root: &Path) -> BTreeSet<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root.join("fd")) else {
        return BTreeSet::new();
    };
    let entries = entries.flatten().take(DESCRIPTORS_MAX);
    let regular = entries.filter(|entry| {
        let seen = std::fs::metadata(entry.path());
        seen.is_ok_and(|seen: Metadata| seen.is_file())
    });
    let links = regular.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    // Files without a name (memory files, deleted ones) are never served.
    links
        .filter(|link| link.is_absolute() && !link.starts_with("/memfd:"))
        .collect()
}

/// Files mapped so that stores reach them.
fn mapped_writable(maps: &str) -> BTreeSet<PathBuf> {
    let paths = maps.lines().filter_map(|line| {
        let mut fields = line.splitn(6, ' ');
        let rights = fields.nth(1)?;
        let path = fields.nth(3)?.trim_start();
        let reaches = rights.contains('w') && rights.ends_with('s');
        (reaches && path.starts_with('/')).then(|| PathBuf::from(path))
    });
    paths.collect()
}

fn describe(
    path: PathBuf,
    mapped: &BTreeSet<PathBuf>,
    known: &BTreeMap<&str, &FileInfo>,
    absent: &str,
) -> OpenFile {
    let told = path.to_str().and_then(|path| known.get(path));
    let state = match told {
        _ if mapped.contains(&path) => "mapped_writable",
        Some(file) => &file.state,
        None => absent,
    };
    OpenFile {
        state: state.to_string(),
        reads: told.map_or(0, |file| file.reads),
        hits: told.map_or(0, |file| file.hits),
        path,
    }
}

/// The form for people: how many of each state, then a row each.
pub fn text(out: &mut String, files: &[OpenFile]) {
    if files.is_empty() {
        return;
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for file in files {
        *counts.entry(&file.state).or_default() += 1;
    }
    let counts: Vec<_> = counts
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let _ = writeln!(
        out,
        "  files     {} open: {}",
        files.len(),
        counts.join(", ")
    );
    for (state, means) in MEANINGS {
        if files.iter().any(|file| file.state == state) {
            let _ = writeln!(out, "            {state}: {means}");
        }
    }
    if files.iter().any(|file| file.reads > 0) {
        let _ = writeln!(
            out,
            "            reads and hits of a file are those of the whole session:"
        );
    }
    for file in files.iter().take(ROWS_MAX) {
        let reads = show_count(file.reads as f64);
        let share = percent(file.hits, file.reads);
        let (state, path) = (&file.state, file.path.display());
        let _ = writeln!(
            out,
            "            {state:<15} {reads:>6} reads {share:>5} % hits  {path}"
        );
    }
    if files.len() > ROWS_MAX {
        let more = files.len() - ROWS_MAX;
        let _ = writeln!(out, "            and {more} more:  hooktool check -j PID");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_word_of_its_session() {
        let name = format!("hooktool-open-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let held = std::fs::File::create(&path).unwrap();
        let known = FileInfo {
            path: path.to_str().unwrap().into(),
            size: 0,
            state: "serve".into(),
            blocks_local: 0,
            blocks_remote: 0,
            hits: 3,
            reads: 4,
        };
        let root = Path::new("/proc/self");
        let of = |files: Vec<OpenFile>| files.into_iter().find(|file| file.path == path).unwrap();
        assert_eq!(of(list(root, "", &[])).state, "unread");
        let told = of(list(root, "", std::slice::from_ref(&known)));
        assert_eq!(
            (told.state.as_str(), told.reads, told.hits),
            ("serve", 4, 3)
        );
        let maps = format!("7f00-7f01 rw-s 00000000 fe:01 131   {}\n", path.display());
        assert_eq!(of(list(root, &maps, &[known])).state, "mapped_writable");
        drop(held);
        std::fs::remove_file(&path).unwrap();
        let mut out = String::new();
        text(&mut out, std::slice::from_ref(&told));
        assert!(out.starts_with("  files     1 open: 1 serve\n"), "{out}");
        assert!(out.contains("those of the whole session"), "{out}");
        assert!(!out.contains("unlisted"), "{out}");
        let (state, reads) = ("unlisted".to_string(), 0);
        text(
            &mut out,
            &[OpenFile {
                state,
                reads,
                ..told
            }],
        );
        assert!(out.contains("unlisted: not among the busiest"), "{out}");
        assert!(out.contains("4 reads  75.0 % hits"), "{out}");
    }
}
