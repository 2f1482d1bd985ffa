//! Replies, appended to the buffer of the worker that serves: RESP2, and RESP3 after `HELLO 3`.
//!
//! Called by the commands. It writes; whether what is written makes one whole reply is theirs.

use wire::resp::number::Decimal;

use crate::store::{Out, Value};

/// Where a command writes its reply.
pub struct Reply<'a> {
    /// All replies of the burst that is being served.
    pub out: &'a mut Out,
    /// Does the client understand RESP3?
    pub resp3: bool,
}

impl Reply<'_> {
    /// A short text such as `OK`.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// A refusal; its first word is its code.
    pub fn error(&mut self, text: &str) {
        // A line may not contain an end of line, whatever a client put into it.
        let clean: Vec<u8> = text
            .bytes()
            .map(|byte| if byte.is_ascii_control() { b' ' } else { byte })
            .collect();
        self.line(b'-', &clean);
    }

    /// A number.
    pub fn integer(&mut self, number: i64) {
        self.line(b':', number.to_string().as_bytes());
    }

    /// Bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.head(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A value of the store.
    pub fn value(&mut self, value: &mut Value<'_>) {
        self.head(b'$', value.len());
        self.out.value(value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Nothing there.
    pub fn nil(&mut self) {
        self.out
            .extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// So many items follow.
    pub fn array(&mut self, items: usize) {
        self.head(b'*', items);
    }

    /// So many pairs follow; to a RESP2 client, twice as many items.
    pub fn map(&mut self, pairs: usize) {
        match self.resp3 {
            true => self.head(b'%', pairs),
            false => self.head(b'*', pairs * 2),
        }
    }

    /// So many items follow, each once; to a RESP2 client, an array.
    pub fn set(&mut self, items: usize) {
        self.head(if self.resp3 { b'~' } else { b'*' }, items);
    }

    /// Text for people, as INFO gives it.
    pub fn text(&mut self, text: &str) {
        if self.resp3 {
            self.head(b'=', text.len() + 4);
            self.out.extend_from_slice(b"txt:");
            self.out.extend_from_slice(text.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }

    fn head(&mut self, kind: u8, number: usize) {
        self.line(kind, Decimal::new(number).as_bytes());
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(resp3: bool, write: impl Fn(&mut Reply<'_>)) -> Vec<u8> {
        let mut out = Out::new(0);
        write(&mut Reply {
            out: &mut out,
            resp3,
        });
        out.bytes().to_vec()
    }

    #[test]
    fn the_two_protocols_differ_where_they_should() {
        assert_eq!(written(false, |reply| reply.nil()), b"$-1\r\n");
        assert_eq!(written(true, |reply| reply.nil()), b"_\r\n");
        assert_eq!(written(false, |reply| reply.map(3)), b"*6\r\n");
        assert_eq!(written(true, |reply| reply.map(3)), b"%3\r\n");
        assert_eq!(written(true, |reply| reply.text("hi")), b"=6\r\ntxt:hi\r\n");
    }

    #[test]
    fn an_error_stays_one_line() {
        assert_eq!(
            written(false, |reply| reply.error("ERR a\r\n+OK")),
            b"-ERR a  +OK\r\n"
        );
    }
}
