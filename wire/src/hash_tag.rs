//! Hash tags: the first four bytes of a key, `{ab}`, by which a Redis or Valkey Cluster places it
//! on the slot of our own slot map.
//!
//! Such a cluster hashes only what stands between the first `{` and the first `}` of a key, by
//! CRC16/XMODEM, modulo 16384. The CRC of two bytes is a bijection of 16 bits, so the two bytes of
//! a slot are computed backwards; no table, nothing to search. `keys` puts them before every key,
//! whatever the node is: one form, no branch. It holds no secret.

/// Bytes of a hash tag with its braces.
pub const TAG_BYTES: usize = 4;

/// Slots of a Redis Cluster, and of the slot map.
pub const SLOTS: usize = 16384;

/// The tag of a slot (modulo [`SLOTS`]). Of the four pairs of bytes that lead to it, the first one
/// without a brace: there always is one (a test looks at all slots).
#[must_use]
pub fn of_slot(slot: usize) -> [u8; TAG_BYTES] {
    let slot = (slot % SLOTS) as u16;
    let mut tag = [b'{', 0, 0, b'}'];
    for upper in 0..4_u16 {
        let [first, second] = before(slot | upper << 14);
        tag = [b'{', first, second, b'}'];
        if !is_brace(first) && !is_brace(second) {
            break;
        }
    }
    tag
}

fn is_brace(byte: u8) -> bool {
    byte == b'{' || byte == b'}'
}

/// The two bytes whose CRC16/XMODEM is `crc`.
///
/// One byte d takes a CRC of h:l (upper, lower half) to l:0 ^ `step`(h ^ d). The lower half of that
/// is the step's own, which gives the byte back; the first byte met a CRC of zero.
fn before(crc: u16) -> [u8; 2] {
    let second = byte_of(crc as u8);
    let halfway = (crc ^ step(second)) >> 8;
    let first = byte_of(halfway as u8);
    [first, second ^ (step(first) >> 8) as u8]
}

/// What a byte adds to a CRC: the polynomial x^16 + x^12 + x^5 + 1, eight bits at a time.
fn step(byte: u8) -> u16 {
    let folded = u16::from(byte ^ byte >> 4);
    folded << 12 ^ folded << 5 ^ folded
}

/// The byte whose `step` ends in `lower`.
fn byte_of(lower: u8) -> u8 {
    let folded = lower ^ lower << 5;
    folded ^ folded >> 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// The slot of a key as the cluster specification words it.
    fn slot_of(key: &[u8]) -> usize {
        let open = key.iter().position(|byte| *byte == b'{');
        let inner = open.and_then(|open| {
            let rest = &key[open + 1..];
            let close = rest.iter().position(|byte| *byte == b'}')?;
            (close > 0).then(|| &rest[..close])
        });
        let crc = inner.unwrap_or(key).iter().fold(0_u16, |crc, byte| {
            (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
                crc << 1 ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
            })
        });
        usize::from(crc) % SLOTS
    }

    #[test]
    fn the_checksum_of_the_test_is_the_one_of_clusters() {
        // From the specification: CRC16 of "123456789" is 0x31C3.
        assert_eq!(slot_of(b"123456789"), 0x31C3 % SLOTS);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
    }

    #[test]
    fn every_slot_has_a_tag_that_leads_to_it_whatever_follows() {
        for slot in 0..SLOTS {
            let tag = of_slot(slot);
            assert_eq!((tag[0], tag[3]), (b'{', b'}'));
            assert!(!is_brace(tag[1]) && !is_brace(tag[2]), "slot {slot}");
            let mut key = Vec::from(tag);
            key.extend_from_slice(b"}{any bytes{}");
            assert_eq!(slot_of(&key), slot);
        }
        assert_eq!(of_slot(SLOTS + 7), of_slot(7));
    }
}
