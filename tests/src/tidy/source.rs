//! Tidy, part one: what a Rust file looks like, line by line.
//!
//! Called by `tidy::check_files` for each tracked `.rs` file. It judges text only; it never parses
//! Rust beyond telling a comment from code.

use super::{File, Violation};

/// Longest line, in characters.
const COLUMNS_MAX: usize = 100;
/// Longest file, in lines.
const LINES_MAX: usize = 600;

/// Words that must not reach the main branch, spelled in two halves so that this file passes, with
/// what to do instead.
const BANNED: [(&str, &str, &str); 8] = [
    (
        "TO",
        "DO",
        "do it now, or say in ARCHITECTURE.md what is absent on purpose",
    ),
    ("FIX", "ME", "fix it now"),
    ("XX", "X", "say in words what is odd here"),
    ("db", "g!", "remove the debugging print"),
    ("to", "do!", "write the code"),
    (
        "unimpl",
        "emented!",
        "write the code, or return an error that says so",
    ),
    (
        "#[ig",
        "nore",
        "a test that does not run proves nothing: run it or remove it",
    ),
    ("#![allow(warn", "ings", "allow the one lint, and say why"),
];

/// Checks the opening story, line and file length, characters and banned words.
pub fn check(file: &File) -> Vec<Violation> {
    let Some(text) = file.text() else {
        return vec![file.error(1, "not UTF-8: Rust sources here are ASCII")];
    };
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(file.error(
            1,
            "no opening story: begin with `//!` and say purpose, who calls it, what it never does",
        ));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found.push(file.error(
            LINES_MAX + 1,
            format!("{lines} lines, {LINES_MAX} allowed: split the file by subject"),
        ));
    }
    for (index, line) in text.lines().enumerate() {
        found.extend(check_line(file, index + 1, line));
    }
    found
}

fn check_line(file: &File, number: usize, line: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let columns = line.chars().count();
    if columns > COLUMNS_MAX {
        found.push(file.error(
            number,
            format!("{columns} columns, {COLUMNS_MAX} allowed: break the line"),
        ));
    }
    if let Some(stranger) = line.chars().find(|c| !c.is_ascii()) {
        found.push(file.error(
            number,
            format!("{stranger:?} is not ASCII: write it as an escape or in plain letters"),
        ));
    }
    if line.contains('\t') {
        found.push(file.error(number, "a tab: indent with spaces (cargo fmt)"));
    }
    for (head, tail, advice) in BANNED {
        if contains_word(line, &format!("{head}{tail}")) {
            found.push(file.error(number, format!("`{head}{tail}`: {advice}")));
        }
    }
    found
}

/// Does `line` contain `word` with no letter or digit touching its ends? (`XXXXXX` is a template of
/// mkstemp and holds no banned word.)
fn contains_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let starts_inside = word.starts_with(joins) && line[..at].ends_with(joins);
        let ends_inside = word.ends_with(joins) && line[at + word.len()..].starts_with(joins);
        !starts_inside && !ends_inside
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(text: &str) -> Vec<String> {
        check(&File::planted("grid/src/a.rs", text))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_clean_file_passes() {
        assert!(whats("//! A story.\n\nfn short() {}\n").is_empty());
    }

    #[test]
    fn a_missing_story_is_found() {
        assert!(whats("fn short() {}\n")[0].contains("a.rs:1: error: no opening story"));
    }

    #[test]
    fn long_lines_and_long_files_are_found() {
        let exactly = format!("//! {}\n", "x".repeat(96));
        assert!(whats(&exactly).is_empty());
        let over = format!("//! {}\n", "x".repeat(97));
        assert!(whats(&over)[0].contains(":1: error: 101 columns"));
        let tall = format!("//! Story.\n{}", "\n".repeat(600));
        assert!(whats(&tall)[0].contains(":601: error: 601 lines"));
    }

    #[test]
    fn foreign_characters_and_tabs_are_found() {
        assert!(whats("//! A \u{2014} dash.\n")[0].contains("not ASCII"));
        assert!(whats("//! A\ttab.\n")[0].contains("a tab"));
    }

    #[test]
    fn every_banned_word_is_found() {
        for (head, tail, _) in BANNED {
            let planted = format!("//! Story.\n// {head}{tail} here\n");
            assert!(
                whats(&planted)[0].contains(":2: error: `"),
                "{head}{tail} slipped through"
            );
        }
        assert!(whats(&format!("//! Story.\n// a{}{}\n", "TO", "DOS b")).is_empty());
        assert!(whats("//! Story: /tmp/x.XXXXXX\n").is_empty());
    }
}
