//! Sizes as the flags take them and as reports show them.
//!
//! `KiB`, `MiB`, `GiB` or bare bytes; anything ambiguous (`1g`, `64MB`) is refused, as in
//! `hooktool` and `memnode`.

/// Bytes in one MiB.
pub const MIB: u64 = 1 << 20;

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", MIB), ("KiB", 1 << 10)];

/// Parses a size into bytes; the error says what to write instead.
pub fn parse(text: &str) -> Result<u64, String> {
    let rule = || format!("'{text}' is not a size: write 256MiB, 4KiB, 3GiB or a number of bytes");
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1));
    let number: u64 = number.trim().parse().map_err(|_| rule())?;
    number.checked_mul(factor).ok_or_else(rule)
}

/// Shows bytes in the largest unit that keeps the number readable.
pub fn show(bytes: u64) -> String {
    match UNITS.iter().find(|(_, factor)| bytes >= *factor) {
        Some((unit, factor)) if bytes.is_multiple_of(*factor) => {
            format!("{} {unit}", bytes / factor)
        }
        Some((unit, factor)) => format!("{:.1} {unit}", bytes as f64 / *factor as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_are_bytes() {
        assert_eq!(parse("256MiB"), Ok(256 << 20));
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("1 GiB"), Ok(1 << 30));
    }

    #[test]
    fn ambiguous_sizes_are_refused_with_the_repair() {
        for bad in ["1g", "64MB", "", "MiB", "-1", "99999999999GiB"] {
            assert!(parse(bad).unwrap_err().contains("256MiB"), "{bad}");
        }
    }

    #[test]
    fn shown_sizes_are_short() {
        assert_eq!(show(256 << 20), "256 MiB");
        assert_eq!(show(1_600_000_000), "1.5 GiB");
        assert_eq!(show(12), "12 B");
    }
}
