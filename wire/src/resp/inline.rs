//! Quotes in one-line requests, as `redis-cli` and Redis itself take them.
//!
//! Called by the request parser for lines that have any. `"..."` knows `\n \r \t \a \b \xHH`, and
//! any other character behind a backslash as itself; `'...'` knows `\'` only. A quote may begin
//! inside a word, and what follows its end must be a space. Words are never longer than they were
//! with their quotes, so they fit into a line. It never looks beyond the line it is given.

use super::request::{INLINE_BYTES_MAX, RequestError};

/// Are there quotes in this line?
pub fn has_quotes(line: &[u8]) -> bool {
    line.iter().any(|byte| matches!(byte, b'"' | b'\''))
}

/// The words of a line without their quotes, one behind the other.
#[derive(Clone, Debug)]
pub struct Unquoted {
    bytes: [u8; INLINE_BYTES_MAX],
    filled: usize,
}

impl Unquoted {
    /// No words yet.
    pub fn new() -> Unquoted {
        Unquoted {
            bytes: [0; INLINE_BYTES_MAX],
            filled: 0,
        }
    }

    /// All words.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Takes the next word off a line, and says where it is now; `None` at the end.
    ///
    /// # Errors
    /// A quote does not end, or goes on behind its end.
    pub fn next(&mut self, rest: &mut &[u8]) -> Result<Option<(usize, usize)>, RequestError> {
        *rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(None);
        }
        let start = self.filled;
        while let Some((byte, behind)) = rest.split_first() {
            *rest = behind;
            match byte {
                b'"' | b'\'' => self.quoted(*byte, rest)?,
                byte if byte.is_ascii_whitespace() => break,
                byte => self.push(*byte)?,
            }
        }
        Ok(Some((start, self.filled)))
    }

    /// Takes what stands between quotes, and the quote that ends it.
    fn quoted(&mut self, quote: u8, rest: &mut &[u8]) -> Result<(), RequestError> {
        loop {
            let (byte, taken) = match (quote, *rest) {
                (_, [byte, behind @ ..]) if *byte == quote => {
                    let ends = behind.first().is_none_or(u8::is_ascii_whitespace);
                    *rest = behind;
                    return if ends {
                        Ok(())
                    } else {
                        Err(RequestError::Quotes)
                    };
                }
                (b'"', [b'\\', b'x', high, low, ..]) => match hex(*high, *low) {
                    Some(byte) => (byte, 4),
                    None => (b'x', 2),
                },
                (b'"', [b'\\', letter, ..]) => (meant(*letter), 2),
                (b'\'', [b'\\', b'\'', ..]) => (b'\'', 2),
                (_, [byte, ..]) => (*byte, 1),
                (_, []) => return Err(RequestError::Quotes),
            };
            self.push(byte)?;
            *rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn push(&mut self, byte: u8) -> Result<(), RequestError> {
        let place = self.bytes.get_mut(self.filled);
        *place.ok_or(RequestError::Inline)? = byte;
        self.filled = self.filled.saturating_add(1);
        Ok(())
    }
}

/// What a letter behind a backslash means.
fn meant(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => 0x07,
        b'b' => 0x08,
        other => other,
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let value = (digit(high)? << 4) | digit(low)?;
    u8::try_from(value).ok()
}
