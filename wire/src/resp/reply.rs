//! The head of a reply, parsed in place: what comes, and how many bytes of it.
//!
//! Called by the shim with whatever the socket gave so far, and by the hook server. The payload of
//! a bulk reply is never looked at here: the caller takes [`Head::Bulk`]`(n)` bytes after the head
//! and then the two bytes of [`super::CRLF`]. The other side is not trusted: what is not RESP is an
//! error at the first byte that shows it, and nothing a node sends makes this read far or loop.

use super::number::parse_decimal;

/// Longest line in bytes, its end included: error texts are the longest lines there are.
pub const LINE_BYTES_MAX: usize = 1024;

/// Largest bulk string in bytes that is believed: Redis' own limit.
pub const BULK_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Most items of an array that are believed.
pub const ARRAY_ITEMS_MAX: usize = 1024 * 1024;

/// What a reply, or the next item of an array, begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// So many bytes follow, and then CRLF. (RESP3's verbatim strings too.)
    Bulk(usize),
    /// No such key.
    Nil,
    /// So many items follow. (RESP3's sets and pushes too.)
    Array(usize),
    /// So many pairs of items follow (RESP3).
    Map(usize),
    /// A short text, usually `OK`; see [`text`].
    Simple,
    /// The node refuses; see [`text`].
    Error,
    /// So many bytes of refusal follow, and then CRLF (RESP3).
    BulkError(usize),
    /// A number.
    Integer(i64),
    /// Yes or no (RESP3).
    Boolean(bool),
    /// A number that this client leaves as [`text`] (RESP3's doubles and big numbers).
    Number,
}

/// Why bytes are not a reply. The connection is of no use after any of these: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RespError {
    /// No reply begins with this byte: the other side speaks something else.
    Kind(u8),
    /// A length or number is not one, or a line ends in something else than CRLF.
    Number,
    /// A line without end within [`LINE_BYTES_MAX`].
    LineTooLong,
    /// A length beyond [`BULK_BYTES_MAX`] or [`ARRAY_ITEMS_MAX`].
    TooLarge,
}

impl core::fmt::Display for RespError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            RespError::Kind(byte) => write!(f, "no RESP reply begins with byte {byte:#04x}"),
            RespError::Number => f.write_str("a RESP length or number is malformed"),
            RespError::LineTooLong => f.write_str("a RESP line does not end"),
            RespError::TooLarge => f.write_str("a RESP reply is larger than any Redis sends"),
        }
    }
}

impl core::error::Error for RespError {}

/// Parses the head at the start of `bytes`: the head and how many bytes it took, or `None` if its
/// line has not arrived whole yet.
///
/// # Errors
/// [`RespError`] as soon as the bytes cannot become a reply.
pub fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, RespError> {
    let Some((&kind, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if !b"$*:+-_#,(%~>=!".contains(&kind) {
        return Err(RespError::Kind(kind));
    }
    let Some(line) = line_of(rest)? else {
        return Ok(None);
    };
    let head = head_of(kind, line)?;
    Ok(Some((head, 1 + line.len() + super::CRLF.len())))
}

/// The text of a line whose head took `consumed` bytes: for [`Head::Simple`], [`Head::Error`] and
/// [`Head::Number`]. Empty if the two do not belong together.
#[must_use]
pub fn text(bytes: &[u8], consumed: usize) -> &[u8] {
    bytes
        .get(1..consumed.saturating_sub(super::CRLF.len()))
        .unwrap_or_default()
}

/// The line at the start of `rest` without its end; `None` if the end has not arrived.
fn line_of(rest: &[u8]) -> Result<Option<&[u8]>, RespError> {
    let window = rest.get(..LINE_BYTES_MAX).unwrap_or(rest);
    let Some(end) = window.iter().position(|byte| *byte == b'\r') else {
        let endless = window.len() == LINE_BYTES_MAX;
        return if endless {
            Err(RespError::LineTooLong)
        } else {
            Ok(None)
        };
    };
    match rest.get(end.saturating_add(1)) {
        Some(b'\n') => Ok(rest.get(..end)),
        Some(_) => Err(RespError::Number),
        None => Ok(None),
    }
}

fn head_of(kind: u8, line: &[u8]) -> Result<Head, RespError> {
    Ok(match kind {
        b'$' | b'=' => length(line, BULK_BYTES_MAX)?.map_or(Head::Nil, Head::Bulk),
        b'!' => length(line, BULK_BYTES_MAX)?.map_or(Head::Nil, Head::BulkError),
        b'*' | b'~' | b'>' => length(line, ARRAY_ITEMS_MAX)?.map_or(Head::Nil, Head::Array),
        b'%' => length(line, ARRAY_ITEMS_MAX)?.map_or(Head::Nil, Head::Map),
        b':' => Head::Integer(parse_decimal(line).ok_or(RespError::Number)?),
        b'+' => Head::Simple,
        b'-' => Head::Error,
        b',' | b'(' => Head::Number,
        b'_' if line.is_empty() => Head::Nil,
        b'#' if line == b"t" => Head::Boolean(true),
        b'#' if line == b"f" => Head::Boolean(false),
        _ => return Err(RespError::Number),
    })
}

/// A length: `None` is Redis' -1, nothing at all.
fn length(line: &[u8], max: usize) -> Result<Option<usize>, RespError> {
    let number = parse_decimal(line).ok_or(RespError::Number)?;
    if number == -1 {
        return Ok(None);
    }
    let length = usize::try_from(number).map_err(|_| RespError::Number)?;
    if length > max {
        Err(RespError::TooLarge)
    } else {
        Ok(Some(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn head(bytes: &[u8]) -> Head {
        let (head, consumed) = parse_head(bytes).unwrap().unwrap();
        assert_eq!(consumed, bytes.len());
        head
    }

    #[test]
    fn every_kind_of_reply_has_its_head() {
        assert_eq!(head(b"$4128\r\n"), Head::Bulk(4128));
        assert_eq!(head(b"$0\r\n"), Head::Bulk(0));
        assert_eq!(head(b"$-1\r\n"), Head::Nil);
        assert_eq!(head(b"_\r\n"), Head::Nil);
        assert_eq!(head(b"*3\r\n"), Head::Array(3));
        assert_eq!(head(b"*-1\r\n"), Head::Nil);
        assert_eq!(head(b">2\r\n"), Head::Array(2));
        assert_eq!(head(b"%7\r\n"), Head::Map(7));
        assert_eq!(head(b"+OK\r\n"), Head::Simple);
        assert_eq!(head(b"-NOAUTH Authentication required.\r\n"), Head::Error);
        assert_eq!(head(b"!21\r\n"), Head::BulkError(21));
        assert_eq!(head(b"=15\r\n"), Head::Bulk(15));
        assert_eq!(head(b":-12\r\n"), Head::Integer(-12));
        assert_eq!(head(b"#t\r\n"), Head::Boolean(true));
        assert_eq!(head(b",3.25\r\n"), Head::Number);
    }

    #[test]
    fn the_text_of_a_line_can_be_read() {
        let bytes = b"-ERR no\r\nrest";
        let (_, consumed) = parse_head(bytes).unwrap().unwrap();
        assert_eq!(text(bytes, consumed), b"ERR no");
        assert_eq!(text(b"", 9), b"");
    }

    #[test]
    fn what_is_not_resp_is_refused_at_once() {
        assert_eq!(parse_head(b"HTTP/1.1 400"), Err(RespError::Kind(b'H')));
        assert_eq!(parse_head(b"$x\r\n"), Err(RespError::Number));
        assert_eq!(parse_head(b"$-2\r\n"), Err(RespError::Number));
        assert_eq!(parse_head(b"$12\rx"), Err(RespError::Number));
        assert_eq!(parse_head(b"#x\r\n"), Err(RespError::Number));
        assert_eq!(parse_head(b"$99999999999\r\n"), Err(RespError::TooLarge));
        assert_eq!(parse_head(&[b'+'; 2000]), Err(RespError::LineTooLong));
    }

    proptest! {
        #[test]
        fn a_head_cut_short_waits_for_the_rest(len in 0usize..100_000, cut: prop::sample::Index) {
            let mut bytes = Vec::from(*b"$");
            bytes.extend_from_slice(std::format!("{len}\r\n").as_bytes());
            let cut = cut.index(bytes.len());
            prop_assert_eq!(parse_head(&bytes[..cut]), Ok(None));
            prop_assert_eq!(parse_head(&bytes), Ok(Some((Head::Bulk(len), bytes.len()))));
        }

        #[test]
        fn noise_never_panics_and_never_over_consumes(bytes: Vec<u8>) {
            if let Ok(Some((_, consumed))) = parse_head(&bytes) {
                prop_assert!(consumed <= bytes.len());
                prop_assert!(text(&bytes, consumed).len() <= consumed);
            }
        }
    }
}
