//! What an error reply means: whose fault it is, and what helps. Redis and Valkey, single or in a
//! cluster, say it in the first word.
//!
//! Called by the shim (is the node to blame?) and the drain (where does the block go?). Every word
//! that is not known here is taken for the least telling kind.

/// Why a node does not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The slot is another node's, or on its way to one, or this node is no master any more: the
    /// slot map is stale, and the node as good as before (MOVED, ASK, TRYAGAIN, READONLY).
    Moved,
    /// It cannot serve now, and says so of itself: still loading, or its cluster does not stand.
    Unready,
    /// It has no room for this value.
    Full,
    /// It wants a password, another one, or gives this user no permission.
    Denied,
    /// Anything else.
    Other,
}

/// What the text of an error reply means (without its `-`; [`super::reply::text`]).
#[must_use]
pub fn of_text(text: &[u8]) -> Refusal {
    let word = text.split(|byte| *byte == b' ').next().unwrap_or_default();
    match word {
        b"MOVED" | b"ASK" | b"TRYAGAIN" | b"READONLY" => Refusal::Moved,
        b"CLUSTERDOWN" | b"LOADING" | b"MASTERDOWN" | b"BUSY" | b"NOREPLICAS" | b"MISCONF" => {
            Refusal::Unready
        }
        b"OOM" => Refusal::Full,
        b"NOAUTH" | b"WRONGPASS" | b"NOPERM" => Refusal::Denied,
        _ => Refusal::Other,
    }
}

/// Where `MOVED SLOT HOST:PORT` points: host (empty: the one that was asked) and port.
#[must_use]
pub fn moved_to(text: &[u8]) -> Option<(&str, u16)> {
    let mut words = core::str::from_utf8(text).ok()?.split(' ');
    if words.next() != Some("MOVED") {
        return None;
    }
    let (host, port) = words.nth(1)?.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_tells() {
        for (text, meant) in [
            ("MOVED 3999 127.0.0.1:6381", Refusal::Moved),
            ("ASK 3999 127.0.0.1:6381", Refusal::Moved),
            ("TRYAGAIN Multiple keys request", Refusal::Moved),
            ("READONLY You can't write", Refusal::Moved),
            ("CLUSTERDOWN The cluster is down", Refusal::Unready),
            ("LOADING Redis is loading", Refusal::Unready),
            ("OOM command not allowed", Refusal::Full),
            ("NOAUTH Authentication required.", Refusal::Denied),
            ("ERR unknown command", Refusal::Other),
            ("MOVEDX", Refusal::Other),
            ("", Refusal::Other),
        ] {
            assert_eq!(of_text(text.as_bytes()), meant, "{text}");
        }
    }

    #[test]
    fn where_a_slot_went_is_read() {
        assert_eq!(moved_to(b"MOVED 1 10.0.0.7:6381"), Some(("10.0.0.7", 6381)));
        assert_eq!(moved_to(b"MOVED 1 ::1:6381"), Some(("::1", 6381)));
        assert_eq!(moved_to(b"MOVED 1 :6381"), Some(("", 6381)));
        for text in [
            "MOVED",
            "MOVED 1",
            "MOVED 1 x",
            "MOVED 1 x:99999",
            "ASK 1 x:1",
        ] {
            assert_eq!(moved_to(text.as_bytes()), None, "{text}");
        }
        assert_eq!(moved_to(b"\xff\xfe"), None);
    }
}
