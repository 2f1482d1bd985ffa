//! The examples' units of systemd start what the README's installation puts there, from where it
//! puts it.

use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The directory the README installs a program into.
fn installed_into(readme: &str, program: &str) -> String {
    let artefact = format!("target/release/{program}");
    let line = readme
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("install ") && line.contains(&artefact))
        .unwrap_or_else(|| panic!("the README does not install {program}"));
    let mut words = line.split_whitespace();
    words.find(|word| *word == "-t").expect("install -t DIR");
    words.next().expect("install -t DIR").to_string()
}

/// Every file below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => files(&path, found),
            path => found.push(path),
        }
    }
}

#[test]
fn units_start_what_is_installed() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let mut units = Vec::new();
    files(&repository().join("examples/systemd"), &mut units);
    let mut seen = 0;
    for unit in units {
        let text = std::fs::read_to_string(&unit).unwrap();
        let commands = text
            .lines()
            .filter_map(|line| line.strip_prefix("ExecStart=/"));
        for command in commands {
            let file = format!("/{}", command.split(' ').next().unwrap());
            let (directory, program) = file.rsplit_once('/').unwrap();
            let expected = installed_into(&readme, program);
            assert_eq!(directory, expected, "{}: {file}", unit.display());
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen} units start something of ours");
}
