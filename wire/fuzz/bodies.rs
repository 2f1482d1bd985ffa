//! What the fuzz targets do with their bytes: the properties that no input may break.
//!
//! Shared by the libFuzzer targets (`make fuzz`, unbounded) and by `tests/mutations.rs` (stable, a
//! few hundred thousand mutations in every test run). A body panics when a property is broken.

#![allow(dead_code, reason = "each fuzz target uses one of the bodies")]

use wire::resp::reply::{Head, parse_head, text};
use wire::resp::request::{Limits, Parser, Step};
use wire::{BlockId, HEADER_BYTES, Integrity, Keys};

const LIMITS: Limits = Limits {
    bulk_bytes_max: 4096,
    request_bytes_max: 16 * 1024,
};

/// Requests: whole or in two pieces, the same bytes give the same requests and the same end.
pub fn request(data: &[u8]) {
    let whole = requests(data, data.len());
    for cut in [0, 1, data.len() / 2, data.len().saturating_sub(1)] {
        assert_eq!(requests(data, cut.min(data.len())), whole, "cut at {cut}");
    }
}

type Seen = (Vec<Vec<Vec<u8>>>, Result<usize, String>);

/// All requests in `data`, of which at first only `cut` bytes have arrived; and how it ended: with
/// an error, or after so many bytes.
fn requests(data: &[u8], cut: usize) -> Seen {
    let (mut parser, mut from, mut to) = (Parser::new(LIMITS), 0, cut);
    let mut seen = Vec::new();
    loop {
        let bytes = &data[from..to];
        match parser.parse(bytes) {
            Ok(Step::Ready { consumed }) => {
                assert!(consumed >= 1 && consumed <= bytes.len());
                seen.push(
                    (0..parser.args())
                        .map(|i| parser.arg(bytes, i).to_vec())
                        .collect(),
                );
                from += consumed;
            }
            Ok(Step::More { bytes }) => {
                assert!(bytes >= 1 && to - from + bytes <= LIMITS.request_bytes_max + 64);
                if to == data.len() {
                    return (seen, Ok(from));
                }
                to = data.len();
            }
            Err(error) => return (seen, Err(error.to_string())),
        }
    }
}

/// Replies: a head never takes more than there is, and what is a head stays one when more follows.
pub fn reply(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((head, consumed))) = parse_head(rest) {
        assert!(consumed >= 3 && consumed <= rest.len());
        assert!(text(rest, consumed).len() <= consumed);
        assert_eq!(parse_head(&rest[..consumed]), Ok(Some((head, consumed))));
        for cut in 0..consumed.min(40) {
            assert_eq!(parse_head(&rest[..cut]), Ok(None), "cut at {cut}");
        }
        rest = &rest[consumed..];
        if let Head::Bulk(bytes) | Head::BulkError(bytes) = head {
            rest = rest.get(bytes.saturating_add(2)..).unwrap_or_default();
        }
    }
}

/// Envelopes: nothing opens but what was sealed, and what was sealed opens only unchanged, however
/// it is protected.
pub fn envelope(data: &[u8]) {
    for integrity in [Integrity::Tag, Integrity::Checksum, Integrity::Sealed] {
        envelope_of(integrity, data);
    }
}

fn envelope_of(integrity: Integrity, data: &[u8]) {
    let keys = Keys::derive(&[0x42; 32], integrity);
    let id = BlockId {
        dev: 1,
        ino: 2,
        birth_ns: 3,
        block_log2: 12,
        ..BlockId::default()
    };
    let (header, payload) = data.split_at(data.len().min(HEADER_BYTES));
    let mut body = payload.to_vec();
    let genuine = keys.seal(&id, &mut body);
    let opens = |header: &[u8], body: &[u8]| {
        let mut body = body.to_vec();
        keys.open(&id, header, &mut body).map(|()| body)
    };
    assert_eq!(opens(header, &body).is_ok(), header == genuine);
    assert_eq!(opens(&genuine, &body).as_deref(), Ok(payload));
    if let [first, ..] = payload {
        let at = usize::from(*first) % body.len();
        body[at] ^= 1;
        assert!(opens(&genuine, &body).is_err());
    }
}
