//! How the blocks of a session are protected on the nodes.
//!
//! The hook server decides it once, when the session begins, and every process of the session
//! learns it together with the secret. Never from a node: who could choose the kind of a value
//! could choose the weakest.

/// Who may read a block on a node, and who may alter it unnoticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Integrity {
    /// Everybody may read it, nobody may alter it: a tag under the session's key.
    #[default]
    Tag = 0,
    /// A checksum without a key: found is what happened by accident, not what somebody did.
    Checksum = 1,
    /// Nobody may read it, nobody may alter it: encrypted, and a tag under the session's key.
    Sealed = 2,
}

impl Integrity {
    /// From the word by which a region carries it; `None`: of another version.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Integrity> {
        match word {
            0 => Some(Integrity::Tag),
            1 => Some(Integrity::Checksum),
            2 => Some(Integrity::Sealed),
            _ => None,
        }
    }

    /// The word by which a region carries it.
    #[must_use]
    pub const fn word(self) -> u64 {
        self as u64
    }

    /// The kind of its envelopes.
    pub(crate) const fn kind(self) -> u8 {
        match self {
            Integrity::Tag => 1,
            Integrity::Sealed => 2,
            Integrity::Checksum => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_kinds_differ() {
        let all = [Integrity::Tag, Integrity::Checksum, Integrity::Sealed];
        for one in all {
            assert_eq!(Integrity::from_word(one.word()), Some(one));
            assert_eq!(all.iter().filter(|two| two.kind() == one.kind()).count(), 1);
        }
        assert_eq!(Integrity::from_word(3), None);
    }
}
