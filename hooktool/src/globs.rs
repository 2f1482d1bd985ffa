//! Globs of `--include`, `--exclude` and `--own`: checked here, matched by the hook server.
//!
//! A glob is matched against the absolute path a file was opened by. `*` and `?` stop at a slash,
//! `**` crosses them, `{a,b}` is either. `doubt` alone looks at the disk.

use std::io::ErrorKind;
use std::path::Path;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::sizes::BadQuantity;

/// Most globs one setting may hold.
pub const GLOBS_MAX: usize = 256;

/// Checks one glob.
///
/// # Errors
///
/// Its syntax, or that it could never match an absolute path.
pub fn check(text: &str) -> Result<Glob, BadQuantity> {
    if text.is_empty() {
        return Err(BadQuantity {
            means: "it is empty, and would match none".into(),
            write: "'/srv/pg/base/**'".into(),
        });
    }
    if !text.starts_with(['/', '*', '?', '[', '{']) {
        let inner = text.trim_start_matches("./");
        return Err(BadQuantity {
            means: "a glob is matched against absolute paths: this one would match none".into(),
            write: format!("\"$PWD\"'/{inner}' or '**/{inner}'"),
        });
    }
    if text.starts_with(['*', '?']) && !text.starts_with("**") {
        return Err(BadQuantity {
            means: "* and ? stop at a slash, and paths begin with one: this glob would match none"
                .into(),
            write: format!("'**/{text}' or '/srv/www/{text}'"),
        });
    }
    if text.split('/').any(|part| part == "." || part == "..") {
        return Err(BadQuantity {
            means: "paths are matched without . and .. in them: this glob would match none".into(),
            write: "'/srv/pg/base/**'".into(),
        });
    }
    GlobBuilder::new(text)
        .literal_separator(true)
        .build()
        .map_err(|error| BadQuantity {
            means: format!("not a glob: {}", error.kind()),
            write: "'/srv/pg/base/**'".into(),
        })
}

/// What speaks against a checked glob of `--own` or `--include`, as the disk stands now, and what
/// to write: a directory instead of its files, a name by way of a symbolic link, a place that is
/// not there. None of it is an error: it may come yet.
pub fn doubt(text: &str) -> Option<BadQuantity> {
    let is_plain = |part: &&str| !part.contains(['*', '?', '[', '{', '\\']);
    let parts = text.trim_end_matches('/').split('/');
    let count = parts.clone().count();
    let plain: Vec<&str> = parts.take_while(is_plain).collect();
    let place = plain.join("/");
    let rest = text.get(place.len()..).unwrap_or_default();
    let path = Path::new(&place);
    if !path.is_absolute() {
        return None;
    }
    let is_whole = plain.len() == count;
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Some(BadQuantity {
            means: format!("there is no {place} now, so it matches no file"),
            write: format!("look:  ls -ld {place}"),
        }),
        Err(_) => None,
        Ok(data) if is_whole && data.is_dir() => Some(BadQuantity {
            means: "it is a directory, and a glob matches files: this one matches none".into(),
            write: format!("write:  '{place}/**'"),
        }),
        Ok(_) => {
            let real = path.canonicalize().ok().filter(|real| real != path)?;
            Some(BadQuantity {
                means: "a symbolic link leads there, and files are matched by where they lie: it \
                        matches none"
                    .into(),
                write: format!("write:  '{}{rest}'", real.display()),
            })
        }
    }
}

/// Makes one matcher of checked globs.
///
/// # Errors
///
/// As `check`, for the first glob that is wrong; or that all together are too large.
pub fn build(globs: &[String]) -> Result<GlobSet, BadQuantity> {
    let mut set = GlobSetBuilder::new();
    for text in globs {
        set.add(check(text)?);
    }
    set.build().map_err(|error| BadQuantity {
        means: format!("these globs cannot be matched together: {}", error.kind()),
        write: "fewer or simpler globs".into(),
    })
}

/// Splits a comma-separated list, commas within braces left alone.
pub fn split_list(text: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let parts = text.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts
        .map(|part| part.trim().to_string())
        .filter(|part| !part.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stop_at_slashes() {
        let set = build(&["/srv/pg/*/16384/**".into()]).unwrap();
        assert!(set.is_match("/srv/pg/base/16384/2619"));
        assert!(set.is_match("/srv/pg/base/16384/a/b"));
        assert!(!set.is_match("/srv/pg/a/b/16384/2619"));
        assert!(build(&[]).unwrap().is_empty());
    }

    #[test]
    fn globs_that_match_nothing_are_refused() {
        assert!(check("base/**").unwrap_err().write.contains("**/base/**"));
        assert!(check("*.bin").unwrap_err().write.contains("'**/*.bin'"));
        assert!(check("?/a").is_err() && check("**.bin").is_ok() && check("{/a,/b}/*").is_ok());
        assert!(check("/srv/[").is_err());
        assert!(check("").is_err());
    }

    #[test]
    fn globs_that_match_no_file_are_doubted() {
        let place = std::env::temp_dir().join(format!("hooktool-globs-{}", std::process::id()));
        let place = place.to_str().unwrap();
        std::fs::create_dir_all(format!("{place}/real")).unwrap();
        std::fs::write(format!("{place}/real/file"), "").unwrap();
        std::os::unix::fs::symlink("real", format!("{place}/link")).unwrap();
        for (glob, write) in [
            (
                format!("{place}/real"),
                format!("write:  '{place}/real/**'"),
            ),
            (
                format!("{place}/real/"),
                format!("write:  '{place}/real/**'"),
            ),
            (
                format!("{place}/link/**"),
                format!("write:  '{place}/real/**'"),
            ),
            (
                format!("{place}/gone/**"),
                format!("look:  ls -ld {place}/gone"),
            ),
            (format!("{place}/real/**"), String::new()),
            (format!("{place}/real/file"), String::new()),
            (format!("{place}/real/*.d*"), String::new()),
            ("/**".into(), String::new()),
            ("**/base/**".into(), String::new()),
        ] {
            let said = doubt(&glob).map(|bad| bad.write).unwrap_or_default();
            assert_eq!(said, write, "{glob}");
        }
        std::fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn lists_split_outside_braces() {
        assert_eq!(split_list("/a/{b,c}/**, /d"), ["/a/{b,c}/**", "/d"]);
        assert!(split_list(" , ").is_empty());
    }
}
