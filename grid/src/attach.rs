//! What a process and the hook server say to each other when the process joins: one message each
//! way over a `SOCK_SEQPACKET` socket with an abstract name, then both close. Encoded with postcard
//! into fixed buffers: the shim allocates nothing.
//!
//! The hook server answers a `Hello` with a `Welcome` and, as ancillary data, first the region's
//! descriptor (if asked for) and then one connected socket per node named in `sockets`.

use serde::{Deserialize, Serialize};

use crate::node::NODES_MAX;

/// Bumped when a message changes.
///
/// History, newest first:
/// * 5: a process says whether it waits as rule O4 asks.
/// * 4: a connection comes with the generation of its node.
/// * 3: a member may ask to be looked at under a descriptor that it is about to close.
/// * 2: regions are numbered; a process may move from one to another.
/// * 1: the first messages.
pub const ATTACH_VERSION: u32 = 5;
/// Largest encoded message.
pub const MESSAGE_BYTES_MAX: usize = 256;
/// Environment variable that names the session:
/// `<session id, 32 hex>:<token, 32 hex>:<name of the session>`.
pub const SESSION_ENV: &str = "HOOKTOOL_SESSION";
/// Longest name of a session, in bytes: letters, digits, dots, dashes, underscores.
pub const NAME_BYTES_MAX: usize = 64;
/// How the name of a mark begins: a memory file of which every hooked process maps a page from its
/// start to its end, so that a look at its mappings tells its session when its environment does not
/// any more: `hooktool-session-<id, 32 hex>-<first half of the token, 16 hex>-<name>`.
pub const MARK: &str = "hooktool-session-";
/// Longest name of a mark, in bytes.
pub const MARK_BYTES_MAX: usize = MARK.len() + 32 + 1 + 16 + 1 + NAME_BYTES_MAX;

/// The first and only message of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// `ATTACH_VERSION`.
    pub version: u32,
    /// Layout the shim was built for.
    pub layout_version: u64,
    /// Proof of belonging: the token from the environment.
    pub token: [u8; 16],
    /// What is wanted.
    pub want: Want,
    /// Whether it may change files next, and waits for the answer as rule O4 asks. Who only reads
    /// soon goes on without one, and asks again before its first change.
    pub is_patient: bool,
    /// Name of the program (`/proc/self/comm`), zero padded.
    pub comm: [u8; 16],
}

/// What a process asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// Region, registration, and a socket to each node. Also after exec: whatever an earlier
    /// program of the same process had in flight is over.
    Join,
    /// Region, registration and sockets for a process that has changed its credentials. Its other
    /// threads may still be in the calls that they began under the old ones.
    Move,
    /// Registration and sockets for a fork child, which has the region mapped already.
    Fork {
        /// The number of that region (`Welcome::domain`).
        domain: u32,
    },
    /// More sockets to one node, for a process already registered as `process`.
    Socket {
        /// Number of the node.
        node: u8,
        /// Slot of the process record.
        process: u16,
    },
    /// A look at a file, for a proof: its descriptor is open until the answer is there.
    Look {
        /// Slot of the process record.
        process: u16,
        /// The descriptor.
        fd: u32,
        /// Index and generation of the file's record.
        record: (u32, u32),
    },
}

impl Want {
    /// Whether it takes a process that is in already: who gets no answer goes on as before.
    pub fn is_of_a_member(&self) -> bool {
        matches!(self, Want::Socket { .. } | Want::Look { .. })
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// `ATTACH_VERSION`.
    pub version: u32,
    /// Whether the process is in.
    pub verdict: Verdict,
    /// The token again, so that an impostor under the abstract name is told apart.
    pub token: [u8; 16],
    /// Slot of the process record, which is also the owner number of operations.
    pub process: u16,
    /// Process id as the hook server sees it.
    pub pid: u32,
    /// Number of the region: which credentials it is for.
    pub domain: u32,
    /// Bytes of the region.
    pub region_bytes: u64,
    /// Whether a region descriptor comes first among the descriptors.
    pub has_region: bool,
    /// Nodes to which the following descriptors are connected, in order.
    pub sockets: [NodeRef; NODES_MAX],
}

/// A node's number and generation in one word, or none: a process takes the answer on whatever
/// stack it is on, a signal handler's too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRef(u32);

impl NodeRef {
    /// Largest generation that it can tell.
    pub const GENERATION_MAX: u32 = (1 << 24) - 1;

    /// Of the node with this number, in this generation.
    pub fn new(number: u8, generation: u32) -> NodeRef {
        NodeRef((generation & NodeRef::GENERATION_MAX) << 8 | (u32::from(number) + 1) & 0xFF)
    }

    /// Number and generation; `None`: no node.
    pub fn get(self) -> Option<(usize, u32)> {
        let number = (self.0 & 0xFF).checked_sub(1)?;
        Some((number as usize, self.0 >> 8))
    }
}

/// Whether a process may join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Welcome.
    Joined,
    /// Wrong token or foreign credentials.
    Refused,
    /// Another release.
    Version,
    /// No process record is free.
    Full,
    /// A fork child with other credentials than its region is for: it has to leave it, and may join
    /// another then.
    Elsewhere,
}

/// Encodes a message; `None` if the buffer is too small.
pub fn encode<'a, T: Serialize>(message: &T, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    postcard::to_slice(message, buffer)
        .ok()
        .map(|bytes| &*bytes)
}

/// Decodes a message; `None` if it is not one.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_and_its_generation_share_a_word() {
        assert_eq!(NodeRef::default().get(), None);
        let last = (NODES_MAX - 1) as u8;
        let generation = NodeRef::GENERATION_MAX;
        assert_eq!(
            NodeRef::new(last, generation).get(),
            Some((usize::from(last), generation))
        );
        assert_eq!(NodeRef::new(0, 7).get(), Some((0, 7)));
    }

    #[test]
    fn messages_fit_their_buffer_and_come_back() {
        let hello = Hello {
            version: ATTACH_VERSION,
            layout_version: 1,
            token: [7; 16],
            want: Want::Socket {
                node: 3,
                process: 9,
            },
            is_patient: true,
            comm: *b"postgres\0\0\0\0\0\0\0\0",
        };
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let bytes = encode(&hello, &mut buffer).expect("fits");
        assert_eq!(decode::<Hello>(bytes), Some(hello));
        let welcome = Welcome {
            version: u32::MAX,
            verdict: Verdict::Full,
            token: [255; 16],
            process: u16::MAX,
            pid: u32::MAX,
            domain: u32::MAX,
            region_bytes: u64::MAX,
            has_region: true,
            sockets: [NodeRef::new(15, u32::MAX); NODES_MAX],
        };
        let bytes = encode(&welcome, &mut buffer).expect("fits");
        assert_eq!(decode::<Welcome>(bytes), Some(welcome));
        assert_eq!(decode::<Welcome>(&[1, 2, 3]), None);
    }
}
