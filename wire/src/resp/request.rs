//! Requests as a server receives them: in pieces, pipelined, malformed, hostile.
//!
//! Called by memnode with everything a connection has sent and not yet had answered. The parser
//! remembers how far it came, so a request that trickles in byte by byte costs each byte once; the
//! arguments are places in the caller's buffer, never copies. Its limits are its memory: no
//! request makes it, or a caller that obeys [`Step::More`], keep more than they allow.
//!
//! Both spellings are understood: arrays of bulk strings (`*2\r\n$3\r\nGET\r\n...`) and one-line
//! commands as a person types them into netcat (`GET key\r\n`, `SET "a key" 'a value'\r\n`). Only
//! words of a line with quotes are copied, into the parser itself.

use super::inline::{Unquoted, has_quotes};
use super::number::parse_decimal;

/// Most arguments of one request, its name included.
pub const ARGS_MAX: usize = 1024;

/// Longest one-line request in bytes, its end included.
pub const INLINE_BYTES_MAX: usize = 4096;

/// Longest line that announces a count or a length, its end included.
const COUNT_LINE_BYTES_MAX: usize = 32;

/// What a server allows. All in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest single argument.
    pub bulk_bytes_max: usize,
    /// Longest request with everything in it; the caller's buffer never needs to be larger.
    pub request_bytes_max: usize,
}

/// What became of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One whole request, `consumed` bytes long. Its arguments can be read until the next call to
    /// [`Parser::parse`]; drop the bytes after that. No arguments at all: an empty line, ignore it.
    Ready {
        /// How many bytes the request took.
        consumed: usize,
    },
    /// Not whole yet: at least so many more bytes are needed.
    More {
        /// A lower bound, at least 1.
        bytes: usize,
    },
}

/// Why bytes are not a request: Redis' words for it, to be sent back before closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The number of arguments is not a number or over [`ARGS_MAX`].
    Count,
    /// The length of an argument is not a number or over its limit.
    Length,
    /// An argument does not begin with `$` but with this.
    Kind(u8),
    /// An argument is longer than announced.
    Tail,
    /// A line that announces a number does not end.
    CountLine,
    /// A one-line request over [`INLINE_BYTES_MAX`], or with over [`ARGS_MAX`] words.
    Inline,
    /// All arguments together are over the limit.
    Request,
    /// A one-line request with a quote that does not end, or goes on behind its end.
    Quotes,
}

impl core::fmt::Display for RequestError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            RequestError::Count => f.write_str("invalid multibulk length"),
            RequestError::Length => f.write_str("invalid bulk length"),
            RequestError::Kind(byte) => {
                write!(f, "expected '$', got '{}'", byte.escape_ascii())
            }
            RequestError::Tail => f.write_str("bulk string without its end"),
            RequestError::CountLine => f.write_str("too big count string"),
            RequestError::Inline => f.write_str("too big inline request"),
            RequestError::Request => f.write_str("too big request"),
            RequestError::Quotes => f.write_str("unbalanced quotes in request"),
        }
    }
}

impl core::error::Error for RequestError {}

/// Where an argument lies in the caller's buffer.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

/// The state of one connection's request. 12 KiB; keep it in a box.
#[derive(Clone, Debug)]
pub struct Parser {
    limits: Limits,
    /// The arguments found so far.
    spans: [Span; ARGS_MAX],
    /// How many of `spans` are filled.
    found: usize,
    /// How many arguments were announced; `None` before the first line is whole.
    expected: Option<usize>,
    /// How far into the buffer everything is understood.
    at: usize,
    /// The last request is whole: the next call begins another one.
    ready: bool,
    /// The words of a line with quotes: `spans` are places in here then.
    unquoted: Option<Unquoted>,
}

impl Parser {
    /// A parser before its first request.
    #[must_use]
    pub fn new(limits: Limits) -> Parser {
        let request_bytes_max = limits.request_bytes_max.min(u32::MAX as usize);
        Parser {
            limits: Limits {
                request_bytes_max,
                ..limits
            },
            spans: [Span::default(); ARGS_MAX],
            found: 0,
            expected: None,
            at: 0,
            ready: false,
            unquoted: None,
        }
    }

    /// Looks at `bytes`, which begin where the current request begins: between a [`Step::More`] and
    /// the next call they may only have grown.
    ///
    /// # Errors
    /// The bytes are not a request, see [`RequestError`]; close the connection.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Step, RequestError> {
        if self.ready {
            self.begin();
        }
        let step = match (self.expected, bytes.first()) {
            (None, None) => Ok(Step::More { bytes: 1 }),
            (None, Some(b'*')) => self.parse_count(bytes),
            (None, Some(_)) => self.parse_inline(bytes),
            (Some(_), _) => self.parse_args(bytes),
        }?;
        self.ready = matches!(step, Step::Ready { .. });
        Ok(step)
    }

    /// How many arguments the request has, its name included.
    #[must_use]
    pub fn args(&self) -> usize {
        self.found
    }

    /// Argument `index` of the request in `bytes`, empty if there is none.
    #[must_use]
    pub fn arg<'a>(&'a self, bytes: &'a [u8], index: usize) -> &'a [u8] {
        let bytes = self.unquoted.as_ref().map_or(bytes, Unquoted::bytes);
        let span = self
            .spans
            .get(..self.found)
            .and_then(|spans| spans.get(index));
        span.and_then(|span| bytes.get(span.start as usize..span.end as usize))
            .unwrap_or_default()
    }

    /// Is a request begun and not whole? (Tells a quiet connection from a stalled one.)
    #[must_use]
    pub fn in_request(&self) -> bool {
        self.expected.is_some() && !self.ready
    }

    fn begin(&mut self) {
        self.found = 0;
        self.expected = None;
        self.at = 0;
        self.ready = false;
        self.unquoted = None;
    }

    fn parse_count(&mut self, bytes: &[u8]) -> Result<Step, RequestError> {
        let Some((line, next)) = count_line(bytes, 0)? else {
            return Ok(Step::More { bytes: 1 });
        };
        let count = parse_decimal(line).ok_or(RequestError::Count)?;
        let count = usize::try_from(count).unwrap_or(0); // Redis ignores "*-1" like "*0"
        if count > ARGS_MAX {
            return Err(RequestError::Count);
        }
        self.expected = Some(count);
        self.at = next;
        self.parse_args(bytes)
    }

    fn parse_args(&mut self, bytes: &[u8]) -> Result<Step, RequestError> {
        while self.found < self.expected.unwrap_or(0) {
            match bytes.get(self.at) {
                None => return Ok(Step::More { bytes: 1 }),
                Some(b'$') => {}
                Some(byte) => return Err(RequestError::Kind(*byte)),
            }
            let Some((line, start)) = count_line(bytes, self.at)? else {
                return Ok(Step::More { bytes: 1 });
            };
            let length = parse_decimal(line).and_then(|length| usize::try_from(length).ok());
            let length = length.ok_or(RequestError::Length)?;
            if length > self.limits.bulk_bytes_max {
                return Err(RequestError::Length);
            }
            let end = start.saturating_add(length);
            let next = end.saturating_add(2);
            if next > self.limits.request_bytes_max {
                return Err(RequestError::Request);
            }
            match bytes.get(end..next) {
                Some(b"\r\n") => self.push(start, end)?,
                Some(_) => return Err(RequestError::Tail),
                None => {
                    return Ok(Step::More {
                        bytes: next.saturating_sub(bytes.len()).max(1),
                    });
                }
            }
            self.at = next;
        }
        Ok(Step::Ready { consumed: self.at })
    }

    fn parse_inline(&mut self, bytes: &[u8]) -> Result<Step, RequestError> {
        let window = bytes.get(..INLINE_BYTES_MAX).unwrap_or(bytes);
        let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
            let endless = window.len() == INLINE_BYTES_MAX;
            return if endless {
                Err(RequestError::Inline)
            } else {
                Ok(Step::More { bytes: 1 })
            };
        };
        let line = window.get(..end).unwrap_or_default();
        if has_quotes(line) {
            return self.parse_quoted(line);
        }
        let mut start = None;
        for (at, byte) in window.iter().enumerate().take(end.saturating_add(1)) {
            match (start, byte.is_ascii_whitespace()) {
                (None, false) => start = Some(at),
                (Some(from), true) => {
                    self.push(from, at)?;
                    start = None;
                }
                _ => {}
            }
        }
        Ok(Step::Ready {
            consumed: end.saturating_add(1),
        })
    }

    fn parse_quoted(&mut self, line: &[u8]) -> Result<Step, RequestError> {
        let mut words = Unquoted::new();
        let mut rest = line;
        while let Some((start, end)) = words.next(&mut rest)? {
            self.push(start, end)?;
        }
        self.unquoted = Some(words);
        Ok(Step::Ready {
            consumed: line.len().saturating_add(1),
        })
    }

    fn push(&mut self, start: usize, end: usize) -> Result<(), RequestError> {
        let place = self.spans.get_mut(self.found).ok_or(RequestError::Inline)?;
        let narrow = |at: usize| u32::try_from(at).map_err(|_| RequestError::Request);
        *place = Span {
            start: narrow(start)?,
            end: narrow(end)?,
        };
        self.found = self.found.saturating_add(1);
        Ok(())
    }
}

/// The number in the line at `at`, as text, and where the next line begins.
fn count_line(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, RequestError> {
    let rest = bytes.get(at.saturating_add(1)..).unwrap_or_default();
    let window = rest.get(..COUNT_LINE_BYTES_MAX).unwrap_or(rest);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        let endless = window.len() == COUNT_LINE_BYTES_MAX;
        return if endless {
            Err(RequestError::CountLine)
        } else {
            Ok(None)
        };
    };
    let line = window.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").ok_or(RequestError::CountLine)?;
    Ok(Some((line, at.saturating_add(end).saturating_add(2))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode_command;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const LIMITS: Limits = Limits {
        bulk_bytes_max: 10_000,
        request_bytes_max: 20_000,
    };

    fn parse(bytes: &[u8]) -> Result<Step, RequestError> {
        Parser::new(LIMITS).parse(bytes)
    }

    fn words(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut parser = Parser::new(LIMITS);
        assert_eq!(
            parser.parse(bytes),
            Ok(Step::Ready {
                consumed: bytes.len()
            })
        );
        (0..parser.args())
            .map(|index| parser.arg(bytes, index).to_vec())
            .collect()
    }

    #[test]
    fn both_spellings_are_understood() {
        assert_eq!(
            words(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
            [&b"GET"[..], b"k"]
        );
        assert_eq!(words(b"GET  k\r\n"), [&b"GET"[..], b"k"]);
        assert_eq!(words(b"PING\n"), [&b"PING"[..]]);
        assert!(words(b"\r\n").is_empty());
        assert!(words(b"*0\r\n").is_empty());
        assert!(words(b"*-1\r\n").is_empty());
        assert_eq!(
            words(b"*2\r\n$0\r\n\r\n$2\r\n\r\n\r\n"),
            [&b""[..], b"\r\n"]
        );
    }

    #[test]
    fn quotes_keep_a_word_together() {
        assert_eq!(
            words(b"SET \"a key\" 'a \\'v\\' \\x'\r\n"),
            [&b"SET"[..], b"a key", b"a 'v' \\x"]
        );
        assert_eq!(
            words(b"ECHO \"\\x41\\xfF\\n\\r\\t\\a\\b\\\"\\\\\\xg\"\n"),
            [&b"ECHO"[..], b"A\xff\n\r\t\x07\x08\"\\xg"]
        );
        assert_eq!(words(b"GET \"\" a'b c'\n"), [&b"GET"[..], b"", b"ab c"]);
        for line in [
            "GET \"a\r\n",
            "GET 'a\r\n",
            "GET \"a\"b\r\n",
            "GET 'a'b\n",
            "\"\\\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(RequestError::Quotes), "{line}");
        }
        // The request behind such a line is read from its own bytes again.
        let (bytes, mut parser) = (b"ECHO 'a b'\r\nGET k\r\n", Parser::new(LIMITS));
        assert_eq!(parser.parse(bytes), Ok(Step::Ready { consumed: 12 }));
        assert_eq!(parser.parse(&bytes[12..]), Ok(Step::Ready { consumed: 7 }));
        assert_eq!(parser.arg(&bytes[12..], 1), b"k");
    }

    #[test]
    fn malformed_requests_get_the_words_of_redis() {
        assert_eq!(parse(b"*x\r\n"), Err(RequestError::Count));
        assert_eq!(parse(b"*1025\r\n"), Err(RequestError::Count));
        assert_eq!(parse(b"*1\r\n$x\r\n"), Err(RequestError::Length));
        assert_eq!(parse(b"*1\r\n$-1\r\n"), Err(RequestError::Length));
        assert_eq!(parse(b"*1\r\n$10001\r\n"), Err(RequestError::Length));
        assert_eq!(parse(b"*1\r\n:3\r\n"), Err(RequestError::Kind(b':')));
        assert_eq!(parse(b"*1\r\n$1\r\nabc"), Err(RequestError::Tail));
        assert_eq!(parse(&[b'*'; 64]), Err(RequestError::CountLine));
        assert_eq!(parse(b"*1\n"), Err(RequestError::CountLine));
        assert_eq!(parse(&[b'a'; 5000]), Err(RequestError::Inline));
        assert_eq!(
            std::format!("{}", RequestError::Kind(b':')),
            "Protocol error: expected '$', got ':'"
        );
    }

    #[test]
    fn all_arguments_together_have_a_limit() {
        let mut bytes = vec![0u8; 40_000];
        let part = vec![b'x'; 9_000];
        let len = encode_command(&mut bytes, &[&part, &part, &part]).unwrap();
        assert_eq!(parse(&bytes[..len]), Err(RequestError::Request));
    }

    #[test]
    fn too_many_words_on_a_line_are_refused() {
        let mut bytes = b"a ".repeat(ARGS_MAX + 1);
        bytes.push(b'\n');
        assert_eq!(parse(&bytes), Err(RequestError::Inline));
    }

    #[test]
    fn an_announced_argument_says_how_much_is_missing() {
        assert_eq!(parse(b"*1\r\n$5000\r\nab"), Ok(Step::More { bytes: 5000 }));
    }

    fn any_request() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..8)
    }

    fn encoded(request: &[Vec<u8>]) -> Vec<u8> {
        let parts: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
        let mut bytes = vec![0u8; 10_000];
        let len = encode_command(&mut bytes, &parts).unwrap();
        bytes.truncate(len);
        bytes
    }

    proptest! {
        #[test]
        fn what_the_encoder_writes_is_read_back_in_any_pieces(
            requests in proptest::collection::vec(any_request(), 1..5), step in 1usize..40,
        ) {
            let stream: Vec<u8> = requests.iter().flat_map(|r| encoded(r)).collect();
            let (mut parser, mut from, mut to) = (Parser::new(LIMITS), 0, 0);
            let mut seen = Vec::new();
            while from < stream.len() {
                match parser.parse(&stream[from..to]) {
                    Ok(Step::Ready { consumed }) => {
                        let bytes = &stream[from..to];
                        seen.push((0..parser.args())
                            .map(|i| parser.arg(bytes, i).to_vec()).collect::<Vec<_>>());
                        from += consumed;
                    }
                    Ok(Step::More { bytes }) => {
                        prop_assert!(bytes >= 1 && to + bytes <= stream.len());
                        to = (to + step).min(stream.len());
                    }
                    Err(error) => prop_assert!(false, "{error}"),
                }
            }
            prop_assert_eq!(seen, requests);
        }

        #[test]
        fn noise_never_panics_and_never_over_consumes(bytes: Vec<u8>, cut: prop::sample::Index) {
            let mut parser = Parser::new(LIMITS);
            for end in [cut.index(bytes.len() + 1), bytes.len()] {
                match parser.parse(&bytes[..end]) {
                    Ok(Step::Ready { consumed }) => {
                        prop_assert!(consumed <= end);
                        break;
                    }
                    Ok(Step::More { bytes }) => prop_assert!(bytes >= 1),
                    Err(_) => break,
                }
            }
        }
    }
}
