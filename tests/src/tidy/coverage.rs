//! Tidy, part five: every hook of the shim has its row in `docs/coverage.md`.
//!
//! Called by `tidy::check_files`. Hooks are declared by the macros in [`HOOK_MACROS`] in the files
//! under [`HOOK_PLACE`]; the document names each in backticks. A hook nobody documented is a
//! promise nobody can check.

use super::{File, Violation};

/// Where hooks live.
const HOOK_PLACE: &str = "shim/src/hook/";
/// The macros that declare them.
const HOOK_MACROS: [&str; 2] = ["hk_hook!", "hk_point!"];
/// The document with a row for each.
const DOCUMENT: &str = "docs/coverage.md";

/// Finds hooks without a row.
pub fn check(files: &[File]) -> Vec<Violation> {
    let hooks: Vec<(&File, usize, &str)> = files
        .iter()
        .filter(|file| file.path.starts_with(HOOK_PLACE) && file.is_rust())
        .flat_map(|file| hooks_of(file.text().unwrap_or("")).map(move |(n, name)| (file, n, name)))
        .collect();
    let Some(first) = hooks.first() else {
        let place = files.iter().find(|file| file.path.starts_with(HOOK_PLACE));
        let macros = HOOK_MACROS.join("`, `");
        let silent = format!("no hook is declared by `{macros}`: this check has gone blind");
        return place
            .map(|file| file.error(1, silent))
            .into_iter()
            .collect();
    };
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        return vec![first.0.error(
            first.1,
            format!("{DOCUMENT} is missing: no hook has its row"),
        )];
    };
    let rows = document.text().unwrap_or("");
    hooks
        .iter()
        .filter(|(_, _, name)| !rows.contains(&format!("`{name}`")))
        .map(|(file, line, name)| {
            file.error(
                *line,
                format!("hook `{name}` has no row in {DOCUMENT}: say what it does"),
            )
        })
        .collect()
}

/// Line and name of each hook in a file: every function declared directly in a use of the macro,
/// which ends with a closing brace in the first column.
fn hooks_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut open = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let opens = HOOK_MACROS.iter().any(|name| line.starts_with(name));
        open = (open || opens) && line != "}";
        let declared = open.then(|| line.strip_prefix("    ")).flatten()?;
        let after = declared
            .strip_prefix("unsafe ")
            .unwrap_or(declared)
            .strip_prefix("fn ")?;
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        Some((index + 1, &after[..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: &str = "//! S.\nfn own() {}\nhk_hook! {\n    \
        fn pread64(fd: i32) -> isize => hk {\n        0\n    }\n    \
        fn dup(fd: i32) -> i32 => hk_dup {\n    }\n}\n";

    #[test]
    fn a_documented_hook_passes() {
        let files = [
            File::planted("shim/src/hook/read.rs", HOOK),
            File::planted(DOCUMENT, "| `pread64` `dup` | serve |\n"),
        ];
        assert!(check(&files).is_empty());
    }

    #[test]
    fn a_hook_without_a_row_is_found() {
        let files = [
            File::planted("shim/src/hook/read.rs", HOOK),
            File::planted(DOCUMENT, "| `pread`, `dup` | serve |\n"),
        ];
        let found = check(&files);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 4);
        assert!(found[0].what.contains("hook `pread64` has no row"));
    }

    #[test]
    fn a_renamed_macro_is_found() {
        let found = check(&[File::planted(
            "shim/src/hook/read.rs",
            "//! S.\nother! {\n}\n",
        )]);
        assert!(found[0].what.contains("gone blind"));
    }

    #[test]
    fn a_missing_document_is_found() {
        let found = check(&[File::planted("shim/src/hook/read.rs", HOOK)]);
        assert!(found[0].what.contains("is missing"));
    }
}
