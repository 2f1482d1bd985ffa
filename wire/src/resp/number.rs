//! Decimal numbers as RESP writes them, without allocation and without panics.
//!
//! Called by the encoder and both parsers. Stricter than Rust's own parser: no plus sign, no
//! leading zeros beyond a lone zero, because two spellings of one length are one too many.

/// Longest decimal form of a 64-bit number in bytes, sign included.
pub const DECIMAL_BYTES_MAX: usize = 20;

/// A number in decimal, kept on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    /// Digits, right aligned.
    digits: [u8; DECIMAL_BYTES_MAX],
    /// How many of them count.
    len: usize,
}

impl Decimal {
    /// Writes `value` in decimal.
    #[must_use]
    pub fn new(value: usize) -> Decimal {
        let mut decimal = Decimal {
            digits: [b'0'; DECIMAL_BYTES_MAX],
            len: 0,
        };
        let mut rest = value;
        for place in decimal.digits.iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
            decimal.len += 1;
            if rest == 0 {
                break;
            }
        }
        decimal
    }

    /// The digits as text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let start = DECIMAL_BYTES_MAX.saturating_sub(self.len);
        self.digits.get(start..).unwrap_or_default()
    }
}

/// How many bytes `value` takes in decimal.
#[must_use]
pub const fn decimal_bytes(value: usize) -> usize {
    let (mut rest, mut digits) = (value, 1);
    while rest >= 10 {
        rest /= 10;
        digits += 1;
    }
    digits
}

/// Reads a decimal number; `None` unless all of `text` is one.
#[must_use]
pub fn parse_decimal(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if matches!(digits, [] | [b'0', _, ..]) || digits.len() > DECIMAL_BYTES_MAX {
        return None;
    }
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Gathered below zero, because i64 reaches one further down than up.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    proptest! {
        #[test]
        fn written_numbers_read_back(value: i64, size: usize) {
            prop_assert_eq!(parse_decimal(value.to_string().as_bytes()), Some(value));
            let (decimal, text) = (Decimal::new(size), size.to_string());
            prop_assert_eq!(decimal.as_bytes(), text.as_bytes());
            prop_assert_eq!(decimal.as_bytes().len(), decimal_bytes(size));
        }
    }

    #[test]
    fn the_edges_read_back() {
        for value in [i64::MIN, -1, 0, 9, 10, i64::MAX] {
            assert_eq!(parse_decimal(value.to_string().as_bytes()), Some(value));
        }
        assert_eq!(
            Decimal::new(usize::MAX).as_bytes(),
            usize::MAX.to_string().as_bytes()
        );
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "-",
            "+1",
            "01",
            "00",
            "1 ",
            " 1",
            "1x",
            "9223372036854775808",
            "0x10",
        ] {
            assert_eq!(parse_decimal(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_decimal(&[b'1'; 30]), None);
    }
}
