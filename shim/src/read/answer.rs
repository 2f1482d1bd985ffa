//! The answer of a memory node, understood as it trickles in: which blocks came, where they lie,
//! and whether the node refused. A whole answer, a refusal included, leaves the connection in step.
//!
//! Called by `remote` alone. Nothing is copied or believed here: a payload proves itself later.

use wire::resp::refusal::{self, Refusal};
use wire::resp::reply::{self, Head, parse_head};

use super::target::BLOCKS_MAX;
use crate::sockets::BUFFER_BYTES;

/// Where the payload of each block lies in the receive buffer.
pub type Payloads = [u32; BLOCKS_MAX];

/// Marks a block that the node does not hold.
pub const ABSENT: u32 = u32::MAX;

/// How far an answer has been understood.
pub struct Scan {
    at: usize,
    next: usize,
    /// Blocks that each of the two questions asked for.
    parts: [usize; 2],
    part: usize,
    /// Items of the open array that are still to come.
    open: usize,
    /// Blocks that the node does not hold.
    pub missing: usize,
    /// What it said instead of an answer.
    pub refusal: Option<Refusal>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Receive more.
    More,
    /// All has come.
    Done,
    /// It is no answer to what was asked.
    Broken,
}

impl Scan {
    /// For `count` blocks: one question asked for the first `within` of them, another for the rest.
    pub fn new(count: usize, within: usize) -> Scan {
        let first = within.min(count);
        Scan {
            at: 0,
            next: 0,
            parts: [first, count - first],
            part: 0,
            open: 0,
            missing: 0,
            refusal: None,
        }
    }

    /// Takes in what has come so far: `bytes` from the beginning of the answer on.
    pub fn advance(&mut self, bytes: &[u8], payloads: &mut Payloads) -> Progress {
        // One block alone was asked for by GET, which answers without an array.
        let is_bare = self.parts == [1, 0];
        while let Some(wanted) = self.wanted() {
            let Some(rest) = bytes.get(self.at..) else {
                return Progress::More;
            };
            let (head, used) = match parse_head(rest) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => return Progress::More,
                Err(_) => return Progress::Broken,
            };
            let is_inside = is_bare || self.open != 0;
            match head {
                Head::Array(count) if !is_inside && count == wanted => {
                    self.open = count;
                    self.at += used;
                }
                Head::Error if self.open == 0 => {
                    self.refuse(refusal::of_text(reply::text(rest, used)));
                    self.at += used;
                }
                Head::Nil if is_inside => {
                    self.note(payloads, ABSENT);
                    self.missing += 1;
                    self.at += used;
                }
                Head::Bulk(len) if is_inside && len < BUFFER_BYTES => {
                    let end = self.at + used + len + 2;
                    if bytes.len() < end {
                        return Progress::More;
                    }
                    self.note(payloads, (self.at + used) as u32);
                    self.at = end;
                }
                _ => return Progress::Broken,
            }
        }
        if bytes.len() == self.at {
            Progress::Done
        } else {
            Progress::Broken
        }
    }

    /// How many blocks the answer that comes next was asked for; `None`: no answer is outstanding.
    fn wanted(&self) -> Option<usize> {
        self.parts.get(self.part).copied().filter(|part| *part != 0)
    }

    fn note(&mut self, payloads: &mut Payloads, offset: u32) {
        if let Some(place) = payloads.get_mut(self.next) {
            *place = offset;
        }
        self.next += 1;
        self.open = self.open.saturating_sub(1);
        if self.open == 0 {
            self.part += 1;
        }
    }

    /// The answer that comes next is a refusal. The one that says where the blocks are tells most.
    fn refuse(&mut self, refusal: Refusal) {
        if self.refusal != Some(Refusal::Moved) {
            self.refusal = Some(refusal);
        }
        self.next += self.wanted().unwrap_or(0);
        self.part += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLANK: Payloads = [0; BLOCKS_MAX];

    /// What all of `bytes` means; before them every prefix must ask for more.
    fn scan(count: usize, within: usize, bytes: &[u8]) -> (Progress, Scan, Payloads) {
        let (mut scan, mut payloads) = (Scan::new(count, within), BLANK);
        for end in 0..bytes.len() {
            let progress = scan.advance(&bytes[..end], &mut payloads);
            if progress != Progress::More {
                return (progress, scan, payloads);
            }
        }
        let progress = scan.advance(bytes, &mut payloads);
        (progress, scan, payloads)
    }

    #[test]
    fn one_block_comes_bare() {
        let (progress, scan, payloads) = scan(1, 1, b"$3\r\nabc\r\n");
        assert_eq!(
            (progress, scan.missing, payloads[0]),
            (Progress::Done, 0, 4)
        );
    }

    #[test]
    fn two_questions_get_two_arrays() {
        let bytes = b"*1\r\n$1\r\na\r\n*2\r\n$-1\r\n$1\r\nc\r\n";
        let (progress, scan, payloads) = scan(3, 1, bytes);
        assert_eq!((progress, scan.missing), (Progress::Done, 1));
        assert_eq!(payloads[..3], [8, ABSENT, 24]);
        assert_eq!(scan.refusal, None);
    }

    #[test]
    fn a_refusal_is_a_whole_answer_in_every_place() {
        let moved = "-MOVED 1 h:1\r\n";
        for (count, within, bytes) in [
            (1, 1, moved.to_string()),
            (3, 3, moved.to_string()),
            (3, 1, format!("{moved}-LOADING x\r\n")),
            (3, 1, format!("-LOADING x\r\n{moved}")),
            (3, 1, format!("{moved}*2\r\n$1\r\na\r\n$1\r\nb\r\n")),
            (3, 2, format!("*2\r\n$1\r\na\r\n$1\r\nb\r\n{moved}")),
        ] {
            let (progress, scan, _) = scan(count, within, bytes.as_bytes());
            assert_eq!(progress, Progress::Done, "{bytes}");
            assert_eq!(scan.refusal, Some(Refusal::Moved), "{bytes}");
        }
        let (progress, scan, _) = scan(2, 2, b"-CLUSTERDOWN The cluster is down\r\n");
        assert_eq!(
            (progress, scan.refusal),
            (Progress::Done, Some(Refusal::Unready))
        );
    }

    #[test]
    fn what_was_not_asked_for_is_no_answer() {
        for (count, within, bytes) in [
            (1, 1, &b"*1\r\n$1\r\na\r\n"[..]),
            (2, 2, b"*3\r\n$1\r\na\r\n"),
            (2, 2, b"*2\r\n-ERR\r\n$1\r\na\r\n"),
            (2, 1, b"*2\r\n$1\r\na\r\n"),
            (2, 2, b"$1\r\na\r\n"),
            (1, 1, b"$1\r\na\r\n$1\r\nb\r\n"),
            (1, 1, b"+OK\r\n"),
            (1, 1, b"HTTP"),
        ] {
            let (mut scan, mut payloads) = (Scan::new(count, within), BLANK);
            assert_eq!(scan.advance(bytes, &mut payloads), Progress::Broken);
        }
    }
}
