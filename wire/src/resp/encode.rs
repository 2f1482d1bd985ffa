//! Requests, written into a buffer that the caller owns.
//!
//! Called by the shim (GET, MGET) and the hook server (SET, DEL and the handshake). `None` always
//! means "the buffer is too small" and leaves unspecified bytes in it; nothing else can go wrong.
//! The payload of a SET is never copied: send [`encode_set_head`], the envelope's header, the
//! payload and [`SET_TAIL`] with one `writev`.

use super::CRLF;
use super::number::{Decimal, decimal_bytes};

/// What follows the value of a SET on the wire.
pub const SET_TAIL: &[u8; 2] = CRLF;

/// How many bytes [`encode_get`] writes for a key of `key_bytes`.
#[must_use]
pub const fn get_request_bytes(key_bytes: usize) -> usize {
    array_head_bytes(2) + bulk_bytes(3) + bulk_bytes(key_bytes)
}

/// How many bytes [`encode_set_head`] writes for a key and a value of these sizes.
#[must_use]
pub const fn set_head_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    array_head_bytes(3) + bulk_bytes(3) + bulk_bytes(key_bytes) + bulk_head_bytes(value_bytes)
}

const fn array_head_bytes(items: usize) -> usize {
    1 + decimal_bytes(items) + CRLF.len()
}

const fn bulk_head_bytes(bytes: usize) -> usize {
    1 + decimal_bytes(bytes) + CRLF.len()
}

const fn bulk_bytes(bytes: usize) -> usize {
    bulk_head_bytes(bytes) + bytes + CRLF.len()
}

/// Writes `GET key`; returns how many bytes of `out` it took.
#[must_use]
pub fn encode_get(out: &mut [u8], key: &[u8]) -> Option<usize> {
    encode_command(out, &[b"GET", key])
}

/// Writes `MGET key...`; returns how many bytes of `out` it took.
#[must_use]
pub fn encode_mget<K: AsRef<[u8]>>(out: &mut [u8], keys: &[K]) -> Option<usize> {
    encode_keys(out, b"MGET", keys)
}

/// Writes `DEL key...`; returns how many bytes of `out` it took.
#[must_use]
pub fn encode_del<K: AsRef<[u8]>>(out: &mut [u8], keys: &[K]) -> Option<usize> {
    encode_keys(out, b"DEL", keys)
}

/// Writes `SET key` up to the place where `value_bytes` of value begin, which the caller sends
/// next, followed by [`SET_TAIL`]; returns how many bytes of `out` it took.
#[must_use]
pub fn encode_set_head(out: &mut [u8], key: &[u8], value_bytes: usize) -> Option<usize> {
    let mut writer = Writer { out, len: 0 };
    writer.head(b'*', 3)?;
    writer.bulk(b"SET")?;
    writer.bulk(key)?;
    writer.head(b'$', value_bytes)?;
    Some(writer.len)
}

/// Writes any command, name first; returns how many bytes of `out` it took.
#[must_use]
pub fn encode_command(out: &mut [u8], parts: &[&[u8]]) -> Option<usize> {
    let mut writer = Writer { out, len: 0 };
    writer.head(b'*', parts.len())?;
    for part in parts {
        writer.bulk(part)?;
    }
    Some(writer.len)
}

fn encode_keys<K: AsRef<[u8]>>(out: &mut [u8], name: &[u8], keys: &[K]) -> Option<usize> {
    let mut writer = Writer { out, len: 0 };
    writer.head(b'*', keys.len().checked_add(1)?)?;
    writer.bulk(name)?;
    for key in keys {
        writer.bulk(key.as_ref())?;
    }
    Some(writer.len)
}

/// A cursor over the caller's buffer that stops at its end.
struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.out.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    fn head(&mut self, kind: u8, number: usize) -> Option<()> {
        self.put(&[kind])?;
        self.put(Decimal::new(number).as_bytes())?;
        self.put(CRLF)
    }

    fn bulk(&mut self, bytes: &[u8]) -> Option<()> {
        self.head(b'$', bytes.len())?;
        self.put(bytes)?;
        self.put(CRLF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    #[test]
    fn requests_are_what_redis_expects() {
        let mut out = [0u8; 256];
        let len = encode_get(&mut out, &KEY).unwrap();
        assert_eq!(
            &out[..len],
            b"*2\r\n$3\r\nGET\r\n$16\r\n0123456789abcdef\r\n"
        );
        let len = encode_mget(&mut out, &[b"a", b"b"]).unwrap();
        assert_eq!(&out[..len], b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n");
        let len = encode_del(&mut out, &[b"a"]).unwrap();
        assert_eq!(&out[..len], b"*2\r\n$3\r\nDEL\r\n$1\r\na\r\n");
        let len = encode_set_head(&mut out, &KEY, 8224).unwrap();
        assert_eq!(
            &out[..len],
            b"*3\r\n$3\r\nSET\r\n$16\r\n0123456789abcdef\r\n$8224\r\n"
        );
    }

    #[test]
    fn computed_sizes_are_exact() {
        let mut out = [0u8; 256];
        assert_eq!(
            encode_get(&mut out, &KEY),
            Some(get_request_bytes(KEY.len()))
        );
        for value_bytes in [0, 9, 10, 4128, 65568] {
            let len = encode_set_head(&mut out, &KEY, value_bytes);
            assert_eq!(len, Some(set_head_bytes(KEY.len(), value_bytes)));
        }
    }

    #[test]
    fn a_short_buffer_is_refused_at_every_length() {
        let mut out = [0u8; 256];
        let need = encode_get(&mut out, &KEY).unwrap();
        for len in 0..need {
            assert_eq!(encode_get(&mut out[..len], &KEY), None, "{len}");
        }
        assert_eq!(encode_get(&mut out[..need], &KEY), Some(need));
    }
}
