//! Sizes, rates, times and shares as users write them, and back.
//!
//! Sizes take KiB, MiB, GiB; a bare number is bytes; `64g`, `64GB` and their kin are refused with
//! what to write instead, because half of all tools read them as powers of ten and half do not.
//! Pure functions; `settings` puts the name of the flag around the messages.

/// Units of `parse_size`, in bytes.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Units of `parse_time_ms`, in milliseconds.
const TIME_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Why a text is not a quantity, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{means}")]
pub struct BadQuantity {
    /// What is wrong with it.
    pub means: String,
    /// A value that would be right.
    pub write: String,
}

fn bad(means: impl Into<String>, write: impl Into<String>) -> BadQuantity {
    BadQuantity {
        means: means.into(),
        write: write.into(),
    }
}

/// Splits `64GiB` into number and unit; the number may have no sign, no fraction, no separator.
fn split(text: &str) -> (&str, &str) {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    (number, unit.trim_start())
}

fn scaled(number: &str, factor: u64) -> Option<u64> {
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Parses a size into bytes.
///
/// # Errors
///
/// Not a size, or one over 2^64 bytes.
pub fn parse_size(text: &str) -> Result<u64, BadQuantity> {
    let (number, unit) = split(text.trim());
    let rule = "a size is a whole number of bytes, or one with KiB, MiB or GiB";
    if number.is_empty() {
        return Err(bad(rule, "256MiB"));
    }
    let factor = match unit {
        "" | "B" => 1,
        _ => match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => *factor,
            None => return Err(bad_unit(number, unit, rule)),
        },
    };
    scaled(number, factor).ok_or_else(|| bad("that is more than any machine has", "64GiB"))
}

fn bad_unit(number: &str, unit: &str, rule: &str) -> BadQuantity {
    let meant = match unit.bytes().next().map(|first| first.to_ascii_lowercase()) {
        Some(b'k') => "KiB",
        Some(b'm') => "MiB",
        Some(b'g') => "GiB",
        Some(b't') => "TiB",
        _ => return bad(rule, "256MiB"),
    };
    bad(
        format!("unit '{unit}' is 1000 to some and 1024 to others: {rule}"),
        format!("{number}{meant}"),
    )
}

/// Parses a rate such as `50MiB/s` into bytes per second.
///
/// # Errors
///
/// Not a rate, or nothing per second.
pub fn parse_rate(text: &str) -> Result<u64, BadQuantity> {
    let Some(size) = text.trim().strip_suffix("/s") else {
        return Err(bad("a rate is a size per second", "50MiB/s"));
    };
    match parse_size(size) {
        Ok(0) => Err(bad("a rate of nothing would never fill a block", "50MiB/s")),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(bad(error.means, format!("{}/s", error.write))),
    }
}

/// Parses a time such as `10s` or `10min` into milliseconds; 0 needs no unit.
///
/// # Errors
///
/// Not a time, or one over 2^64 ms.
pub fn parse_time_ms(text: &str) -> Result<u64, BadQuantity> {
    let (number, unit) = split(text.trim());
    let rule = "a time is a whole number with ms, s, min, h or d";
    if number.is_empty() {
        return Err(bad(rule, "10s"));
    }
    if unit.is_empty() && number.bytes().all(|digit| digit == b'0') {
        return Ok(0);
    }
    match TIME_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => {
            scaled(number, *factor).ok_or_else(|| bad("that is longer than anybody waits", "1d"))
        }
        None if unit == "m" => Err(bad(rule, format!("{number}min"))),
        None => Err(bad(rule, format!("{number}s"))),
    }
}

/// Parses a share such as `0.1%` or `0.001` into millionths.
///
/// # Errors
///
/// Not between 0 and 100 %, or finer than a millionth.
pub fn parse_share_ppm(text: &str) -> Result<u32, BadQuantity> {
    let text = text.trim();
    let rule = "a share is between 0% and 100%, or between 0 and 1, not finer than a millionth";
    let (number, scale) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 10_000_u64),
        None => (text, 1_000_000),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let decimal = !number.is_empty() && whole.len() <= 3 && fraction.len() <= 6;
    let digits = whole
        .bytes()
        .chain(fraction.bytes())
        .all(|byte| byte.is_ascii_digit());
    if !decimal || !digits || (whole.is_empty() && fraction.is_empty()) {
        return Err(bad(rule, "0.1%"));
    }
    let millionths = format!("{whole}{fraction:0<6}")
        .parse::<u64>()
        .unwrap_or(u64::MAX);
    let ppm = millionths.saturating_mul(scale) / 1_000_000;
    let exact = ppm.saturating_mul(1_000_000) == millionths.saturating_mul(scale);
    match u32::try_from(ppm) {
        Ok(ppm) if ppm <= 1_000_000 && exact => Ok(ppm),
        _ => Err(bad(rule, "0.1%")),
    }
}

/// Writes a size so that `parse_size` reads the same number back: `256MiB`, `1000`.
pub fn show(bytes: u64) -> String {
    let unit = SIZE_UNITS
        .iter()
        .rev()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// Writes a time so that `parse_time_ms` reads the same number back: `10min`, `1500ms`.
pub fn show_time_ms(time_ms: u64) -> String {
    if time_ms == 0 {
        return "0".into();
    }
    let unit = TIME_UNITS
        .iter()
        .rev()
        .find(|(_, factor)| time_ms.is_multiple_of(*factor));
    let (name, factor) = unit.unwrap_or(&TIME_UNITS[0]);
    format!("{}{name}", time_ms / factor)
}

/// Writes a share in percent, as `parse_share_ppm` reads it: `0.1%`.
pub fn show_share_ppm(ppm: u32) -> String {
    let text = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Writes a size for people, in at most six characters: `58.4G`, `812M`, `0`.
pub fn show_short(bytes: u64) -> String {
    let steps = ["", "K", "M", "G", "T", "P", "E"];
    let mut value = bytes as f64;
    let mut step = 0;
    while value >= 1000.0 && step + 1 < steps.len() {
        value /= 1024.0;
        step += 1;
    }
    let digits = usize::from(step > 0 && value < 99.95);
    format!("{value:.digits$}{}", steps[step])
}

/// Writes a count or a rate for people, in at most five characters: `48.2k`, `812`, `0`.
pub fn show_count(count: f64) -> String {
    let steps = ["", "k", "M", "G", "T", "P", "E"];
    let mut value = count;
    let mut step = 0;
    while value >= 999.5 && step + 1 < steps.len() {
        value /= 1000.0;
        step += 1;
    }
    let digits = usize::from(step > 0 && value < 99.95);
    format!("{value:.digits$}{}", steps[step])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_units_and_bare_bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4 KiB", 4096),
            ("256MiB", 256 << 20),
            ("64GiB", 64 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn ambiguous_sizes_are_refused_with_what_to_write() {
        for (text, write) in [
            ("64g", "64GiB"),
            ("64G", "64GiB"),
            ("64GB", "64GiB"),
            ("8mb", "8MiB"),
            ("1kib", "1KiB"),
            ("2T", "2TiB"),
        ] {
            assert_eq!(parse_size(text).unwrap_err().write, write, "{text}");
        }
        for text in [
            "",
            "-1",
            "1.5GiB",
            "lots",
            "KiB",
            "99999999999GiB",
            "1 parsec",
            "0x10",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for bytes in [
            0,
            1,
            1023,
            1024,
            1 << 20,
            256 << 20,
            3 << 30,
            5 << 40,
            u64::MAX,
        ] {
            assert_eq!(parse_size(&show(bytes)), Ok(bytes));
        }
        for time_ms in [0, 1, 1500, 10_000, 600_000, 3_600_000, 86_400_000] {
            assert_eq!(parse_time_ms(&show_time_ms(time_ms)), Ok(time_ms));
        }
        for ppm in [0, 1, 1000, 10_000, 500_000, 1_000_000] {
            assert_eq!(parse_share_ppm(&show_share_ppm(ppm)), Ok(ppm));
        }
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(parse_time_ms("10s"), Ok(10_000));
        assert_eq!(parse_time_ms("10min"), Ok(600_000));
        assert_eq!(parse_time_ms("0"), Ok(0));
        assert_eq!(parse_time_ms("10m").unwrap_err().write, "10min");
        assert_eq!(parse_time_ms("10").unwrap_err().write, "10s");
        for text in [
            "",
            "s",
            "1.5s",
            "-1s",
            "10 fortnights",
            "999999999999999999d",
        ] {
            assert!(parse_time_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_sizes_per_second() {
        assert_eq!(parse_rate("50MiB/s"), Ok(50 << 20));
        assert_eq!(parse_rate("50m/s").unwrap_err().write, "50MiB/s");
        for text in ["50MiB", "0/s", "/s", ""] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_percent_or_fraction() {
        for (text, ppm) in [
            ("0.1%", 1000),
            ("0.001", 1000),
            ("100%", 1_000_000),
            ("1", 1_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse_share_ppm(text), Ok(ppm), "{text}");
        }
        for text in [
            "",
            "%",
            ".",
            "101%",
            "1.1",
            "-1%",
            "0.0000001",
            "a",
            "0.00001%",
            "1e-3",
        ] {
            assert!(parse_share_ppm(text).is_err(), "{text}");
        }
    }

    #[test]
    fn short_forms_fit_their_columns() {
        assert_eq!(show_short(0), "0");
        assert_eq!(show_short(58 << 30), "58.0G");
        assert_eq!(show_count(48_200.0), "48.2k");
        for bytes in [999, 1000, 1023, 1024, 102_350, 1_048_064, 1 << 40, u64::MAX] {
            assert!(show_short(bytes).len() <= 6, "{bytes}");
            assert!(
                show_count(bytes as f64).len() <= 5,
                "{bytes} {}",
                show_count(bytes as f64)
            );
        }
    }
}
