//! Tidy, part three: unsafe code is fenced and each block proves itself.
//!
//! Called by `tidy::check_files`. The compiler already denies unsafe code outside files that
//! re-allow it and clippy wants a comment on each block; this check keeps both honest: the
//! re-allowing file must carry a `# Safety` header, and there are at least as many proofs as
//! blocks.

use super::{File, Violation};

/// What begins unsafe code, in two halves so that this file passes.
const OPENINGS: [&str; 2] = [concat!("uns", "afe {"), concat!("uns", "afe impl")];

/// Checks the fence and the count of proofs.
pub fn check(file: &File) -> Vec<Violation> {
    let Some(text) = file.text() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut blocks = Vec::new();
    let mut proofs = 0;
    for (index, line) in text.lines().enumerate() {
        let (code, comment) = split_comment(line);
        let hits: usize = OPENINGS.iter().map(|opening| count(code, opening)).sum();
        blocks.extend(std::iter::repeat_n(index + 1, hits));
        proofs += count(comment, "SAFETY:");
    }
    let gate = text
        .lines()
        .position(|line| line.trim() == "#![allow(unsafe_code)]");
    let header = text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .any(is_safety_header);
    if let (Some(&first), None) = (blocks.first(), gate) {
        found.push(file.error(
            first,
            "unsafe code outside the fence: move it to a file that says `#![allow(unsafe_code)]`",
        ));
    }
    if let (Some(gate), false) = (gate, header) {
        found.push(file.error(
            gate + 1,
            "unsafe code allowed without a `//! # Safety` header: say what is dangerous here",
        ));
    }
    if blocks.len() > proofs {
        found.push(file.error(
            blocks[proofs],
            format!(
                "{} unsafe blocks, {proofs} `SAFETY:` proofs: prove each",
                blocks.len()
            ),
        ));
    }
    found
}

fn is_safety_header(line: &str) -> bool {
    line.trim_start_matches("//!").trim() == "# Safety"
}

/// Splits a line at its `//`, strings not considered: a URL in a string counts as a comment, which
/// can hide no unsafe block that rustfmt has put on a line of its own.
fn split_comment(line: &str) -> (&str, &str) {
    line.find("//").map_or((line, ""), |at| line.split_at(at))
}

fn count(text: &str, needle: &str) -> usize {
    text.matches(needle).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = concat!("uns", "afe { go() }\n");
    const GATE: &str = "#![allow(unsafe_code)]\n";
    const STORY: &str = "//! Story.\n//!\n//! # Safety\n//! Raw calls.\n";

    fn whats(text: &str) -> Vec<String> {
        check(&File::planted("shim/src/sys.rs", text))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_fenced_and_proved_block_passes() {
        assert!(whats(&format!("{STORY}{GATE}// SAFETY: it owns it.\n{BLOCK}")).is_empty());
    }

    #[test]
    fn a_block_outside_the_fence_is_found() {
        let found = whats(&format!("{STORY}// SAFETY: it owns it.\n{BLOCK}"));
        assert!(found[0].contains("sys.rs:6: error: unsafe code outside the fence"));
    }

    #[test]
    fn a_fence_without_header_is_found() {
        let found = whats(&format!("//! Story.\n{GATE}"));
        assert!(found[0].contains("sys.rs:2: error: unsafe code allowed without"));
    }

    #[test]
    fn a_block_without_proof_is_found() {
        let found = whats(&format!(
            "{STORY}{GATE}// SAFETY: it owns it.\n{BLOCK}{BLOCK}"
        ));
        assert!(found[0].contains("sys.rs:8: error: 2 unsafe blocks, 1 `SAFETY:`"));
    }
}
