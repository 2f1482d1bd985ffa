//! Tidy, part four: what must, and what must not, lie in the repository.
//!
//! Called by `tidy::check_files`: blobs, paths of somebody's workplace, package mirrors, files no
//! module names, the changelog. It judges every tracked file, Rust or not.

use super::{File, Violation};

/// Largest tracked file, in bytes. Cargo.lock is the only one that grows by itself.
const BLOB_BYTES_MAX: usize = 256 * 1024;

/// Beginnings of absolute paths that exist on one machine only, in two halves so that this file
/// passes.
const WORKPLACES: [(&str, &str); 4] = [
    ("/wo", "rk/"),
    ("/tmp/pl", "an"),
    ("/tmp/tar", "get-"),
    ("/ro", "ot/"),
];

/// Parts of a host name that give away a package mirror.
const MIRROR_LABELS: [&str; 5] = ["registry", "mirror", "artifact", "nexus", "proxy"];

/// The one source Cargo.lock may name.
const PUBLIC_INDEX: &str = concat!("registry+https://github.com/rust-lang/crates", ".io-index");

/// No big blobs.
pub fn check_blob(file: &File) -> Vec<Violation> {
    let size = file.bytes.len();
    if size <= BLOB_BYTES_MAX {
        return Vec::new();
    }
    vec![file.error(
        1,
        format!("{size} bytes, {BLOB_BYTES_MAX} allowed: generate it, or keep it elsewhere"),
    )]
}

/// No absolute path of a workplace.
pub fn check_workplace(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, line) in file.text().unwrap_or("").lines().enumerate() {
        for (head, tail) in WORKPLACES {
            let path = format!("{head}{tail}");
            let alone = line
                .match_indices(&path)
                .any(|(at, _)| starts_a_path(line, at));
            if alone {
                let what = format!("`{path}` exists on one machine only: use a relative path");
                found.push(file.error(index + 1, what));
            }
        }
    }
    found
}

fn starts_a_path(line: &str, at: usize) -> bool {
    !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "._-/$}~*".contains(c))
}

/// No host name of a package mirror, and a lock file that names the public index only.
pub fn check_hosts(file: &File) -> Vec<Violation> {
    let is_lock = file.path.ends_with("Cargo.lock");
    let mut found = Vec::new();
    for (index, line) in file.text().unwrap_or("").lines().enumerate() {
        if is_lock && line.starts_with("source = ") {
            if !line.contains(&format!("\"{PUBLIC_INDEX}\"")) {
                let what = format!("locked from elsewhere: only {PUBLIC_INDEX} is known to all");
                found.push(file.error(index + 1, what));
            }
            continue;
        }
        for host in hosts(line) {
            if MIRROR_LABELS.iter().any(|label| host.contains(label)) && host.contains('.') {
                let what = format!("`{host}` looks like a package mirror: leave it out");
                found.push(file.error(index + 1, what));
            }
        }
    }
    found
}

/// The host parts of the web addresses in a line.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    line.split("://").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !".-_@".contains(c));
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// The changelog exists and tells users what this version brings.
pub fn check_changelog(files: &[File]) -> Vec<Violation> {
    let Some(log) = files.iter().find(|file| file.path == "CHANGELOG.md") else {
        let absent = File::planted("CHANGELOG.md", "");
        return vec![absent.error(1, "missing: users read here what a version brings")];
    };
    let text = log.text().unwrap_or("");
    if !text.lines().any(|line| line.starts_with("## ")) {
        return vec![log.error(1, "names no version: begin one with `## `")];
    }
    Vec::new()
}

/// Every Rust file is reached: by a `mod` line of another file, or as a target's root.
pub fn check_dead_files(files: &[File]) -> Vec<Violation> {
    let reached = |path: &str| {
        let stem = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let name = stem.rsplit('/').next().unwrap_or(stem);
        let module = format!("mod {name};");
        let quoted = format!("{}\"", tail(path, 2));
        files.iter().filter(|file| file.path != path).any(|file| {
            let text = file.text().unwrap_or("");
            let by_module = file.is_rust()
                && text.lines().any(|line| {
                    line.split_once(&module)
                        .is_some_and(|(a, _)| a.is_empty() || a.ends_with(' '))
                });
            by_module || (file.path.ends_with("Cargo.toml") && text.contains(&quoted))
        })
    };
    files
        .iter()
        .filter(|file| file.is_rust() && !is_root(&file.path) && !reached(&file.path))
        .map(|file| file.error(1, "no `mod` line reaches this file: name it or remove it"))
        .collect()
}

/// Files cargo finds by their place.
fn is_root(path: &str) -> bool {
    let places = [
        "/tests/",
        "/benches/",
        "/examples/",
        "/bin/",
        "/fuzz_targets/",
    ];
    path.ends_with("src/lib.rs")
        || path.ends_with("src/main.rs")
        || path.ends_with("build.rs")
        || places.iter().any(|place| path.contains(place))
}

/// The last `parts` parts of a path.
fn tail(path: &str, parts: usize) -> &str {
    path.rmatch_indices('/')
        .nth(parts - 1)
        .map_or(path, |(at, _)| &path[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_found() {
        let at_limit = File {
            path: "a.bin".into(),
            bytes: vec![0; BLOB_BYTES_MAX],
        };
        assert!(check_blob(&at_limit).is_empty());
        let over = File {
            path: "a.bin".into(),
            bytes: vec![0; BLOB_BYTES_MAX + 1],
        };
        assert!(check_blob(&over)[0].what.contains("262145 bytes"));
    }

    #[test]
    fn every_workplace_path_is_found() {
        for (head, tail) in WORKPLACES {
            let planted = File::planted("README.md", &format!("\nsee {head}{tail}here\n"));
            assert_eq!(
                check_workplace(&planted)[0].line,
                2,
                "{head}{tail} slipped through"
            );
        }
        let relative = File::planted("README.md", &format!("$HOME{}{}x\n", "/wo", "rk/"));
        assert!(check_workplace(&relative).is_empty());
    }

    #[test]
    fn a_package_mirror_is_found() {
        let host = format!("https://cargo.{}.corp.example/index", "registry");
        let found = check_hosts(&File::planted("deny.toml", &host));
        assert!(found[0].what.contains("looks like a package mirror"));
        let docs = File::planted("README.md", "see https://github.com/rust-lang/rust\n");
        assert!(check_hosts(&docs).is_empty());
    }

    #[test]
    fn a_lock_from_elsewhere_is_found() {
        let good = format!("source = \"{PUBLIC_INDEX}\"\n");
        assert!(check_hosts(&File::planted("Cargo.lock", &good)).is_empty());
        let bad = "source = \"registry+https://elsewhere.example/index\"\n";
        assert_eq!(check_hosts(&File::planted("Cargo.lock", bad)).len(), 1);
    }

    #[test]
    fn a_missing_or_empty_changelog_is_found() {
        assert!(check_changelog(&[])[0].what.starts_with("missing"));
        let empty = [File::planted("CHANGELOG.md", "# Changes\n")];
        assert!(
            check_changelog(&empty)[0]
                .what
                .starts_with("names no version")
        );
        let good = [File::planted("CHANGELOG.md", "# Changes\n\n## 0.1.0\n")];
        assert!(check_changelog(&good).is_empty());
    }

    #[test]
    fn a_dead_file_is_found() {
        let lib = File::planted("grid/src/lib.rs", "//! S.\nmod alive;\npub mod inner;\n");
        let alive = File::planted("grid/src/alive.rs", "//! S.\n");
        let inner = File::planted("grid/src/inner/mod.rs", "//! S.\n");
        let dead = File::planted("grid/src/dead.rs", "//! S.\n");
        let found = check_dead_files(&[lib, alive, inner, dead]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "grid/src/dead.rs");
    }

    #[test]
    fn a_target_named_by_its_manifest_is_alive() {
        let manifest = File::planted("tests/Cargo.toml", "path = \"it/same.rs\"\n");
        let target = File::planted("tests/it/same.rs", "//! S.\n");
        assert!(check_dead_files(&[manifest, target]).is_empty());
    }
}
