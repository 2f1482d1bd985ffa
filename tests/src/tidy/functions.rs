//! Tidy, part two: no function longer than a screen.
//!
//! Called by `tidy::check_files`. It leans on rustfmt: a function begins on a line whose code
//! starts with `fn` after its qualifiers and ends at the first later line that is a closing brace
//! in the same column. It never needs a parser, and what rustfmt does not shape (macro bodies) it
//! does not judge.

use super::{File, Violation};

/// Longest function, in lines, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Words that may stand before `fn`.
const QUALIFIERS: [&str; 7] = [
    "pub", "const", "async", "unsafe", "extern", "default", "safe",
];

/// Finds functions that do not fit.
pub fn check(file: &File) -> Vec<Violation> {
    let Some(text) = file.text() else {
        return Vec::new();
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let Some(length) = body_length(&lines[start..], indent) else {
            continue;
        };
        if length > FUNCTION_LINES_MAX {
            found.push(file.error(
                start + 1,
                format!(
                    "`fn {name}` has {length} lines, {FUNCTION_LINES_MAX} allowed: \
                     give its parts names"
                ),
            ));
        }
    }
    found
}

/// The name of the function that begins on this line, if one does.
fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix("fn ") {
            let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
            return Some(&after[..end]);
        }
        let word_end = rest.find([' ', '('])?;
        if !QUALIFIERS.contains(&&rest[..word_end]) {
            return None;
        }
        rest = &rest[word_end..];
        if rest.starts_with('(') {
            rest = &rest[rest.find(')')? + 1..];
        }
        rest = rest.trim_start();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted[quoted.find('"')? + 1..].trim_start();
        }
    }
}

/// Lines from the first up to and including its closing brace; nothing for a declaration or a
/// function that opens and closes on one line.
fn body_length(lines: &[&str], indent: usize) -> Option<usize> {
    let closing = format!("{}}}", " ".repeat(indent));
    for (index, line) in lines.iter().enumerate() {
        let at_indent = line.len() - line.trim_start().len() == indent;
        if index == 0 && (line.ends_with(';') || line.ends_with('}')) {
            return None;
        }
        if index > 0 && at_indent && line.starts_with(&closing) {
            return Some(index + 1);
        }
        if index > 0 && at_indent && line.ends_with(';') && line.trim_start().starts_with(')') {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_of(lines: usize, head: &str) -> File {
        let body = "    step();\n".repeat(lines - 2);
        File::planted(
            "grid/src/a.rs",
            &format!("//! Story.\n{head} {{\n{body}}}\n"),
        )
    }

    #[test]
    fn seventy_lines_pass_and_one_more_does_not() {
        assert!(check(&function_of(70, "fn fits()")).is_empty());
        let found = check(&function_of(71, "fn spills()"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
        assert!(found[0].what.contains("`fn spills` has 71 lines"));
    }

    #[test]
    fn qualifiers_do_not_hide_a_function() {
        for head in [
            "pub fn a()",
            "pub(crate) async fn a()",
            "pub const unsafe fn a()",
            "unsafe extern \"C\" fn a()",
            "pub(in crate::x) fn a<T: Copy>(t: T) -> u8",
        ] {
            assert_eq!(check(&function_of(90, head)).len(), 1, "{head}");
        }
    }

    #[test]
    fn declarations_and_one_liners_are_no_functions_to_measure() {
        let text = format!(
            "//! S.\ntrait T {{\n    fn a(&self);\n{}}}\n",
            "    x();\n".repeat(80)
        );
        assert!(check(&File::planted("a.rs", &text)).is_empty());
        let text = format!("//! S.\nfn a() {{}}\n{}", "const A: u8 = 1;\n".repeat(80));
        assert!(check(&File::planted("a.rs", &text)).is_empty());
    }
}
