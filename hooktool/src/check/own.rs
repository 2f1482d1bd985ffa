//! Data directories of databases whose own rules forbid outside writers: proposals for `--own`.
//!
//! PostgreSQL: `-D`, `PGDATA`, or the Debian place. MariaDB and MySQL: `--datadir`, or its default.
//! Only a directory that exists is proposed; nothing is decided here.

use std::path::{Path, PathBuf};

/// Globs worth giving to `--own` for a program and its command.
pub fn propose(program: &Path, command: &[String]) -> Vec<String> {
    let name = program
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    let directory = match &*name {
        "postgres" | "postmaster" => postgres(program, command, std::env::var("PGDATA").ok()),
        "mariadbd" | "mysqld" => mysql(command),
        _ => None,
    };
    let directory = directory.and_then(|path| path.canonicalize().ok());
    directory
        .map(|path| format!("{}/**", path.display()))
        .into_iter()
        .collect()
}

fn postgres(program: &Path, command: &[String], variable: Option<String>) -> Option<PathBuf> {
    let given = option(command, "-D").or_else(|| option(command, "--pgdata"));
    let given = given.or(variable).map(PathBuf::from);
    given.or_else(|| {
        // /usr/lib/postgresql/15/bin/postgres keeps its data in /var/lib/postgresql/15/main.
        let version = program.parent()?.parent()?.file_name()?;
        let place = Path::new("/var/lib/postgresql").join(version).join("main");
        place.is_dir().then_some(place)
    })
}

fn mysql(command: &[String]) -> Option<PathBuf> {
    let given = option(command, "--datadir").or_else(|| option(command, "-h"));
    let place = given.map_or_else(|| PathBuf::from("/var/lib/mysql"), PathBuf::from);
    place.is_dir().then_some(place)
}

/// The value of `-D value`, `-Dvalue`, `--name value` or `--name=value`.
fn option(command: &[String], name: &str) -> Option<String> {
    let mut words = command.iter().skip(1);
    while let Some(word) = words.next() {
        if word == name {
            return words.next().cloned();
        }
        if let Some(value) = word.strip_prefix(name).filter(|value| !value.is_empty()) {
            match value.strip_prefix('=') {
                Some(value) => return Some(value.to_string()),
                None if name.starts_with("--") => {}
                None => return Some(value.to_string()),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn data_directories_are_taken_from_the_command() {
        let program = Path::new("/usr/lib/postgresql/15/bin/postgres");
        assert_eq!(propose(program, &words("postgres -D /tmp")), ["/tmp/**"]);
        assert_eq!(
            propose(program, &words("postgres -D/tmp -p 1")),
            ["/tmp/**"]
        );
        assert_eq!(
            propose(Path::new("/usr/sbin/mariadbd"), &words("m --datadir=/tmp")),
            ["/tmp/**"]
        );
        assert!(propose(program, &words("postgres -D /no/such/place")).is_empty());
        assert!(propose(Path::new("/bin/cat"), &words("cat -D /tmp")).is_empty());
    }

    #[test]
    fn the_variable_counts_when_the_command_says_nothing() {
        let program = Path::new("/opt/pg/bin/postgres");
        let found = postgres(program, &words("postgres"), Some("/srv/pg".into()));
        assert_eq!(found, Some("/srv/pg".into()));
    }
}
