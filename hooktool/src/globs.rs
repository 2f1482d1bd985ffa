//! Globs of `--include`, `--exclude` and `--own`: checked here, matched by the hook server.
//!
//! A glob is matched against the absolute path a file was opened by. `*` and `?` stop at a slash,
//! `**` crosses them, `{a,b}` is either. Pure functions.

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
    if !text.starts_with(['/', '*', '?', '[', '{']) {
        let inner = text.trim_start_matches("./");
        return Err(BadQuantity {
            means: "a glob is matched against absolute paths: this one would match none".into(),
            write: format!("\"$PWD\"'/{inner}' or '**/{inner}'"),
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
        assert!(check("/srv/[").is_err());
        assert!(check("").is_err());
    }

    #[test]
    fn lists_split_outside_braces() {
        assert_eq!(split_list("/a/{b,c}/**, /d"), ["/a/{b,c}/**", "/d"]);
        assert!(split_list(" , ").is_empty());
    }
}
