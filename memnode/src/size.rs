//! Amounts of memory as people write them: `8GiB`, `512MiB`, or a bare number of bytes.
//!
//! Called by the program's settings. One spelling only: `64g`, `64GB` and `64 gigs` mean different
//! things to different people, so they are refused with what to write instead.

/// The units, largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads an amount of memory in bytes.
///
/// # Errors
/// What to write instead.
pub fn parse(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let scale = match unit {
        "" => Some(1),
        unit => UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, scale)| *scale),
    };
    let number: Option<u64> = digits.parse().ok();
    match (number, scale) {
        (Some(number), Some(scale)) => number
            .checked_mul(scale)
            .ok_or_else(|| format!("{text} is more than any machine has")),
        (Some(number), None) => Err(instead(number, unit)),
        (None, _) => Err("write a number and KiB, MiB or GiB, for example 8GiB".to_string()),
    }
}

/// What somebody who wrote this unit probably meant.
fn instead(number: u64, unit: &str) -> String {
    match unit.trim().chars().next().map(|c| c.to_ascii_lowercase()) {
        Some('k') => format!("write {number}KiB"),
        Some('m') => format!("write {number}MiB"),
        Some('g') => format!("write {number}GiB"),
        Some('t') => format!("write {}GiB", number.saturating_mul(1024)),
        _ => "write a number and KiB, MiB or GiB, for example 8GiB".to_string(),
    }
}

/// Writes an amount of memory so that [`parse`] reads it back.
#[must_use]
pub fn format(bytes: u64) -> String {
    let fits = |scale: &u64| bytes >= *scale && bytes.is_multiple_of(*scale);
    match UNITS.iter().find(|(_, scale)| fits(scale)) {
        Some((name, scale)) => format!("{}{name}", bytes / scale),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("1KiB", 1024), ("8GiB", 8 << 30)] {
            assert_eq!(parse(text), Ok(bytes));
        }
        assert_eq!(
            (format(8 << 30), format(4095)),
            ("8GiB".into(), "4095".into())
        );
    }

    #[test]
    fn other_spellings_are_told_the_right_one() {
        for (text, hint) in [
            ("64g", "write 64GiB"),
            ("64GB", "write 64GiB"),
            ("2T", "write 2048GiB"),
            ("5 m", "write 5MiB"),
        ] {
            assert_eq!(parse(text), Err(hint.to_string()));
        }
        for text in [
            "",
            "x",
            "-1",
            "1.5GiB",
            "GiB",
            "99999999999GiB",
            "99999999999999999999",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
