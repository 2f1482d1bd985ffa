//! `hooktool run --dry-run`: what would be set, where each setting came from, what would run.
//!
//! Data, so on standard output; a session is not made, so its two numbers are named, not shown.

use std::fmt::Write;

use crate::config::ServeConfig;
use crate::failure::Failure;
use crate::launch::Target;
use crate::settings::Settings;
use crate::{enter, environment, viewer};

/// Prints it.
///
/// # Errors
///
/// The output cannot be written.
pub fn print(settings: &Settings, config: &ServeConfig, target: &Target) -> Result<(), Failure> {
    viewer::line(text(settings, config, target).trim_end())
}

fn text(settings: &Settings, config: &ServeConfig, target: &Target) -> String {
    let theirs = std::env::var_os("LD_PRELOAD");
    let preload = environment::preload(&config.shim, theirs.as_deref());
    let mut out = String::from("# added to the environment\n");
    let _ = writeln!(out, "LD_PRELOAD={}", String::from_utf8_lossy(&preload));
    let _ = writeln!(
        out,
        "{}=<session>:<token>:<name>   (made at each start)",
        environment::SESSION
    );
    if environment::is_disabled() {
        let _ = writeln!(
            out,
            "# not so now: {}=1 is set, CMD would start unhooked",
            { environment::DISABLED }
        );
    }
    out.push_str("# settings\n");
    for row in &settings.rows {
        let named = row.key == "name" && row.value == "-";
        let value = if named { &config.name } else { &row.value };
        let _ = writeln!(out, "{:<14} {:<30} {}", row.key, value, row.origin);
    }
    let _ = writeln!(out, "# session\n{}", enter::foresee(config));
    let words: Vec<_> = config.command.iter().map(|word| quote(word)).collect();
    let _ = writeln!(
        out,
        "# command ({})\n{}",
        target.file.display(),
        words.join(" ")
    );
    out
}

/// A word as a shell would have to be given it.
pub fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quote("/srv/pg"), "/srv/pg");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote(""), "''");
    }
}
