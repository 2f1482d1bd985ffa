//! What the receivers have seen, in a file that outlives them: one line for each message, written
//! by one `write` before the message is acknowledged.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// A line: number, repeated, good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub seq: u64,
    pub is_repeat: bool,
}

/// A receiver's pen.
pub struct Ledger(File);

impl Ledger {
    pub fn open(directory: &Path) -> Ledger {
        let path = directory.join("ledger");
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ledger(file.expect("the ledger"))
    }

    pub fn write(&mut self, line: Line) {
        let mut bytes = line.seq.to_le_bytes();
        bytes[7] = u8::from(line.is_repeat);
        self.0.write_all(&bytes).expect("the ledger");
    }
}

/// Everything that was written.
pub fn read(directory: &Path) -> Vec<Line> {
    let bytes = std::fs::read(directory.join("ledger")).unwrap_or_default();
    let lines = bytes.as_chunks::<8>().0.iter();
    lines
        .map(|bytes| {
            let mut seq = *bytes;
            seq[7] = 0;
            Line {
                seq: u64::from_le_bytes(seq),
                is_repeat: bytes[7] != 0,
            }
        })
        .collect()
}

/// The payload of a message: its number, then bytes that follow from it, of differing length.
pub fn payload(seq: u64, into: &mut Vec<u8>) {
    let length = 8 + (seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize % 1500;
    into.clear();
    into.extend_from_slice(&seq.to_le_bytes());
    into.resize(length, (seq * 31) as u8);
}
