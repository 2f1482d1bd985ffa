//! Options of SET, GETEX and the EXPIRE family, read once into something that can be acted on.
//!
//! Called by `strings` and `expiry`. Refusals are Redis' own words.

use super::Args;
use crate::store::{SetMode, unix_ms};

const SYNTAX: &str = "ERR syntax error";
const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";
const BAD_EXPIRY: &str = "ERR invalid expire time in 'set' command";

/// What a SET asks for beside key and value.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    /// NX or XX.
    pub mode: SetMode,
    /// GET: answer with the old value.
    pub get: bool,
    /// Unix time in milliseconds, 0 for never, `None` to keep what the key had (KEEPTTL).
    pub expires_ms: Option<u64>,
}

impl SetOptions {
    /// Reads what follows key and value.
    ///
    /// # Errors
    /// What Redis answers.
    pub fn parse(args: Args<'_>) -> Result<SetOptions, &'static str> {
        let mut options = SetOptions {
            expires_ms: Some(0),
            ..SetOptions::default()
        };
        let mut expiry_given = false;
        let mut index = 3;
        while index < args.len() {
            let word = args.get(index).to_ascii_uppercase();
            match word.as_slice() {
                b"NX" if options.mode == SetMode::Always => options.mode = SetMode::IfAbsent,
                b"XX" if options.mode == SetMode::Always => options.mode = SetMode::IfPresent,
                b"GET" => options.get = true,
                b"KEEPTTL" if !expiry_given => {
                    options.expires_ms = None;
                    expiry_given = true;
                }
                b"EX" | b"PX" | b"EXAT" | b"PXAT" if !expiry_given && index + 1 < args.len() => {
                    index += 1;
                    options.expires_ms = Some(expiry_ms(&word, args.get(index))?);
                    expiry_given = true;
                }
                _ => return Err(SYNTAX),
            }
            index += 1;
        }
        Ok(options)
    }
}

/// What GETEX does with the time to live.
#[derive(Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Nothing.
    Keep,
    /// Unix time in milliseconds, 0 for never.
    At(u64),
}

impl Expiry {
    /// Reads what follows the key of a GETEX.
    ///
    /// # Errors
    /// What Redis answers.
    pub fn parse(args: Args<'_>) -> Result<Expiry, &'static str> {
        let word = args.get(2).to_ascii_uppercase();
        match (word.as_slice(), args.len()) {
            (_, 2) => Ok(Expiry::Keep),
            (b"PERSIST", 3) => Ok(Expiry::At(0)),
            (b"EX" | b"PX" | b"EXAT" | b"PXAT", 4) => match expiry_ms(&word, args.get(3)) {
                Err(BAD_EXPIRY) => Err("ERR invalid expire time in 'getex' command"),
                at => Ok(Expiry::At(at?)),
            },
            _ => Err(SYNTAX),
        }
    }
}

/// When something that lasts `number` units ends, in milliseconds of Unix time; more than none.
///
/// # Errors
/// What Redis answers; `command` is named in it.
pub fn relative_ms(number: &[u8], unit_ms: u64, command: &str) -> Result<u64, String> {
    let word: &[u8] = if unit_ms == 1 { b"PX" } else { b"EX" };
    expiry_ms(word, number).map_err(|error| match error {
        BAD_EXPIRY => format!("ERR invalid expire time in '{command}' command"),
        error => error.to_string(),
    })
}

/// When a key expires, in milliseconds of Unix time.
fn expiry_ms(word: &[u8], number: &[u8]) -> Result<u64, &'static str> {
    let number = wire::resp::number::parse_decimal(number).ok_or(NOT_A_NUMBER)?;
    let number = u64::try_from(number).map_err(|_| BAD_EXPIRY)?;
    let scale = if word.starts_with(b"EX") { 1000 } else { 1 };
    let base = if word.ends_with(b"AT") { 0 } else { unix_ms() };
    let at = number
        .checked_mul(scale)
        .and_then(|ms| ms.checked_add(base));
    at.filter(|at| number > 0 && *at < i64::MAX as u64)
        .ok_or(BAD_EXPIRY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::resp::request::{Limits, Parser};

    fn parse(line: &str) -> Result<SetOptions, &'static str> {
        let limits = Limits {
            bulk_bytes_max: 100,
            request_bytes_max: 1000,
        };
        let mut parser = Parser::new(limits);
        let line = format!("{line}\r\n");
        parser.parse(line.as_bytes()).unwrap();
        SetOptions::parse(Args {
            parser: &parser,
            bytes: line.as_bytes(),
        })
    }

    #[test]
    fn options_are_read_in_any_order() {
        let plain = SetOptions {
            expires_ms: Some(0),
            ..SetOptions::default()
        };
        assert_eq!(parse("SET k v"), Ok(plain));
        let expected = SetOptions {
            mode: SetMode::IfAbsent,
            get: true,
            expires_ms: Some(5000),
        };
        assert_eq!(parse("set k v exat 5 get nx"), Ok(expected));
        assert_eq!(parse("set k v keepttl").unwrap().expires_ms, None);
        assert!(parse("set k v px 100").unwrap().expires_ms > Some(unix_ms()));
    }

    #[test]
    fn contradictions_and_nonsense_get_the_words_of_redis() {
        for line in [
            "set k v nx xx",
            "set k v ex",
            "set k v ex 1 px 1",
            "set k v soon",
        ] {
            assert_eq!(parse(line), Err(SYNTAX), "{line}");
        }
        assert_eq!(parse("set k v ex soon"), Err(NOT_A_NUMBER));
        for line in [
            "set k v ex 0",
            "set k v ex -1",
            "set k v ex 9223372036854775807",
        ] {
            assert_eq!(parse(line), Err(BAD_EXPIRY), "{line}");
        }
    }
}
