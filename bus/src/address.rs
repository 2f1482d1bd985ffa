//! Addresses: 32 bits, written as four dotted segments whose widths a template gives.
//!
//! Under the template `8.8.8.8` an address reads like an IPv4 one; `4.10.10.8` has 16 worlds of
//! 1024 zones of 1024 functions of 256 instances. Segments fill the word from its top, in the order
//! written. Called wherever a user writes or reads an address; never touches shared memory.

use std::fmt;

use crate::error::{Error, Result};

/// Segments of an address.
pub const SEGMENTS: usize = 4;

/// One end of a channel. Its dotted form needs the template of its bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u32);

/// The bits of each segment, together at most 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Template([u8; SEGMENTS]);

impl Default for Template {
    fn default() -> Template {
        Template([8; SEGMENTS])
    }
}

impl Template {
    /// Reads `8.8.8.8`.
    ///
    /// # Errors
    ///
    /// `Error::BadTemplate` unless it is four numbers, each at least 1, together at most 32.
    pub fn parse(text: &str) -> Result<Template> {
        let bad = || Error::BadTemplate { text: text.into() };
        let numbers = segments(text).ok_or_else(bad)?;
        Template::from_bits(numbers.map(|bits| bits.min(255) as u8)).ok_or_else(bad)
    }

    /// From the bits of each segment; `None` if they cannot be a template.
    pub fn from_bits(bits: [u8; SEGMENTS]) -> Option<Template> {
        let total: u32 = bits.iter().map(|bits| u32::from(*bits)).sum();
        (total <= 32 && !bits.contains(&0)).then_some(Template(bits))
    }

    /// The bits of each segment.
    pub fn bits(self) -> [u8; SEGMENTS] {
        self.0
    }

    /// Reads an address written by this template.
    ///
    /// # Errors
    ///
    /// `Error::BadAddress` unless it is four numbers that fit their segments; `0.0.0.0` and the
    /// address of all ones are reserved (first match, everybody).
    pub fn address(self, text: &str) -> Result<Address> {
        let bad = || Error::BadAddress {
            text: text.into(),
            template: self,
        };
        let numbers = segments(text).ok_or_else(bad)?;
        let mut word = 0u64;
        for (number, bits) in numbers.into_iter().zip(self.0) {
            if u64::from(number) >= 1 << bits {
                return Err(bad());
            }
            word = word << bits | u64::from(number);
        }
        let all: u32 = self.0.iter().map(|bits| u32::from(*bits)).sum();
        match word {
            0 => Err(bad()),
            word if word == (1 << all) - 1 => Err(bad()),
            word => Ok(Address(word as u32)),
        }
    }

    /// The dotted form of an address.
    pub fn show(self, address: Address) -> Dotted {
        Dotted {
            template: self,
            address,
        }
    }
}

/// Four dotted decimal numbers, no signs, no blanks, no leading zeros.
fn segments(text: &str) -> Option<[u32; SEGMENTS]> {
    let mut numbers = [0; SEGMENTS];
    let mut parts = text.split('.');
    for number in &mut numbers {
        let part = parts.next()?;
        let is_plain = part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_plain || (part.len() > 1 && part.starts_with('0')) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

/// An address with the template to print it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dotted {
    template: Template,
    address: Address,
}

impl fmt::Display for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::from(self.address.0);
        let mut numbers = [0; SEGMENTS];
        for (number, bits) in numbers.iter_mut().zip(self.template.0).rev() {
            *number = rest & ((1 << bits) - 1);
            rest >>= bits;
        }
        let [a, b, c, d] = numbers;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn eight_bits_each_read_like_an_internet_address() {
        let template = Template::default();
        let address = template.address("128.1.100.1").unwrap();
        assert_eq!(address, Address(0x8001_6401));
        assert_eq!(template.show(address).to_string(), "128.1.100.1");
    }

    #[test]
    fn narrow_segments_are_packed() {
        let template = Template::parse("4.10.10.8").unwrap();
        let address = template.address("15.1023.1.0").unwrap();
        assert_eq!(address, Address(0xFFFC_0100));
        assert_eq!(template.to_string(), "4.10.10.8");
        assert!(template.address("16.0.0.1").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "8",
            "8.8.8",
            "8.8.8.8.8",
            "0.8.8.8",
            "9.9.9.9",
            "a.8.8.8",
            "08.8.8.8",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        let template = Template::default();
        for text in [
            "",
            "1.2.3",
            "1.2.3.256",
            "+1.2.3.4",
            "1..2.3",
            "0.0.0.0",
            "255.255.255.255",
        ] {
            assert!(template.address(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_reading_are_inverse(
            word in 1..u32::MAX,
            bits in [1..9u8, 1..9u8, 1..9u8, 1..9u8],
        ) {
            let template = Template::from_bits(bits).unwrap();
            let total: u32 = bits.iter().map(|bits| u32::from(*bits)).sum();
            let word = word >> (32 - total);
            prop_assume!(word != 0 && u64::from(word) != (1 << total) - 1);
            let text = template.show(Address(word)).to_string();
            prop_assert_eq!(template.address(&text).unwrap(), Address(word));
        }
    }
}
