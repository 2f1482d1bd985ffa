//! The words of the product: every counter, every reason for leaving a call alone (bypass) and
//! every reason for turning back to the kernel (fallback), with the one spelling that flags, JSON
//! keys, columns and documents use. Their order is the layout of the process records: append only,
//! and bump `LAYOUT_VERSION` when something moves.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in the order of the process record.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The one spelling.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// Plain counters of a process.
    Counter {
        /// Whole read calls on served kinds of files.
        Reads = "reads",
        /// Bytes that those calls returned.
        ReadBytes = "read_bytes",
        /// Calls served from the region.
        HitsLocal = "hits_local",
        /// Calls for which a memory node was asked and answered.
        HitsRemote = "hits_remote",
        /// Calls that the kernel served.
        ReadsDisk = "reads_disk",
        /// Write-like calls that were counted in version cells.
        Writes = "writes",
        /// Write-like calls that put a whole file under a new epoch.
        Invalidations = "invalidations",
        /// Blocks handed to the hook server for the nodes.
        Refreshes = "refreshes",
        /// Blocks not handed over: no free refresh slot, or the rate limit.
        PushDropped = "push_dropped",
        /// Blocks read through the kernel to bring them back into the page cache.
        Promotions = "promotions",
        /// Served reads repeated through the kernel.
        Verified = "verified",
        /// Repeated reads that differed although version and stamp had not moved.
        VerifyFailed = "verify_failed",
        /// Files put out of service for the rest of the session.
        Poisoned = "poisoned",
        /// Blocks fetched from nodes.
        BlocksRemote = "blocks_remote",
        /// Calls that advised reading blocks which a node holds: the disk was spared.
        Advised = "advised",
    }
}

words! {
    /// Why a read was left to the kernel without trying.
    Bypass {
        /// The governor found the page cache faster on this descriptor.
        PageCache = "page_cache",
        /// The pages asked for are in the page cache right now.
        Resident = "resident",
        /// No node is believed to hold the block at its version.
        NotHeld = "not_held",
        /// A write of the session is in flight on the block or the file.
        WriteInFlight = "write_in_flight",
        /// The file's stamp is not (yet) proved, or somebody else changed the file.
        Unproved = "unproved",
        /// Not a regular file.
        NotRegular = "not_regular",
        /// A file system that is not served (only ext4, xfs and btrfs are).
        FileSystem = "file_system",
        /// Left out by --include or --exclude.
        Excluded = "excluded",
        /// Beyond the end of the file, or crossing it.
        PastEnd = "past_end",
        /// Empty, negative, flagged, or longer than one call may be served.
        Shape = "shape",
        /// Opened with O_DIRECT, and not as aligned as that asks for: the kernel knows what it
        /// gives then.
        Direct = "direct",
        /// The session is switched off, or its hook server is silent.
        Off = "off",
        /// Mode observe: the read came off the device, and would have been tried.
        Observe = "observe",
        /// The process could not join the session.
        NotJoined = "not_joined",
        /// A table of the region, or of buffers, is full.
        TableFull = "table_full",
        /// The number of the descriptor is beyond the table.
        HighDescriptor = "high_descriptor",
        /// A child that shares its parent's memory (vfork).
        SharedMemoryChild = "shared_memory_child",
        /// No node is up.
        NoNode = "no_node",
        /// Read in sequence: the kernel's readahead is better than a round trip per block.
        Sequential = "sequential",
        /// Opened for writing alone, or by O_PATH: the kernel says EBADF.
        NotForReading = "not_for_reading",
        /// At the file offset of an open file that somebody else may be moving.
        FileOffset = "file_offset",
        /// The process is leaving its region, because it changes its credentials: what it reads
        /// until it has joined another one is counted nowhere. Counted once for each departure.
        Left = "left",
        /// The credentials of the process do not let it open this file: it has the descriptor from
        /// somebody else, and the region is for all who have its credentials.
        Entrusted = "entrusted",
        /// Mode observe: the read came off the device, of a file that is not proved or is being
        /// written: if the session owned it (`--own`), it would have been tried.
        ObserveUnproved = "observe_unproved",
    }
}

words! {
    /// Why a read that was tried went to the kernel after all.
    Fallback {
        /// The node did not answer within the deadline.
        Deadline = "deadline",
        /// The connection broke, or could not be used.
        Connection = "connection",
        /// No free connection to the node in this process.
        NoSocket = "no_socket",
        /// The node answered that it does not hold the block.
        Missing = "missing",
        /// The answer was no answer to the question, or not RESP.
        Protocol = "protocol",
        /// The envelope did not prove the block.
        Envelope = "envelope",
        /// A write came between question and answer.
        Changed = "changed",
        /// The caller's buffer cannot be written; the kernel says so best.
        BadBuffer = "bad_buffer",
        /// A panic in the shim, caught before any side effect.
        Panic = "panic",
        /// The cluster has given the block's slot to another node, or is about to.
        Moved = "moved",
        /// The node answered with an error: it is loading, its cluster does not stand, ...
        Refused = "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn words_are_snake_case_and_unique() {
        let mut all: Vec<&str> = Counter::ALL.iter().map(|c| c.word()).collect();
        all.extend(Bypass::ALL.iter().map(|b| b.word()));
        all.extend(Fallback::ALL.iter().map(|f| f.word()));
        for word in &all {
            assert!(
                word.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{word}"
            );
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
