//! The first page of a region: what it is, how it is cut up, the heartbeat of the hook server, and
//! the switches that it flips while processes run.

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::trace;

/// First eight bytes of a region: "RAMGRID" and a zero.
pub const MAGIC: u64 = u64::from_le_bytes(*b"RAMGRID\0");
/// Bumped whenever a byte of the layout, or the meaning of one, changes.
///
/// History, newest first:
/// * 7: the ring of traces.
/// * 6: `integrity`.
/// * 5: keys with hash tags; readers count the answers that sent them elsewhere.
/// * 4: `pool_changes`, and the generation of a node's record.
/// * 3: `disk_alone_ns`.
/// * 2: words that processes write have a cache line of their own.
/// * 1: the first layout.
pub const LAYOUT_VERSION: u64 = 7;
/// The session stops serving when the heartbeat is older than this.
pub const HEARTBEAT_MAX_MS: u64 = 700;

/// Switch bits of `Header::switches`.
pub mod switch {
    /// Serve (else everything goes to the kernel).
    pub const SERVE: u64 = 1;
    /// Measure and predict only.
    pub const OBSERVE: u64 = 1 << 1;
    /// `--fill always`: no page-cache question, no governor, no admission.
    pub const FILL_ALWAYS: u64 = 1 << 2;
    /// The host's processors have idle time: a reader may spin for its reply.
    pub const SPIN: u64 = 1 << 3;
    /// Stamps are as coarse as the clock tick: a young stamp proves nothing.
    pub const COARSE_STAMPS: u64 = 1 << 4;
    /// There is room for promotion (no memory pressure).
    pub const PROMOTE: u64 = 1 << 5;
    /// Globs are in force: a file is not served before the hook server has judged its name.
    pub const JUDGE_NAMES: u64 = 1 << 6;
    /// io_uring setup is answered with ENOSYS (`--no-io-uring`).
    pub const NO_IO_URING: u64 = 1 << 7;
    /// Memory pressure: nothing is kept locally.
    pub const PRESSURE: u64 = 1 << 8;
    /// Nobody can promise any more that files are written by this region's processes alone: no
    /// file is owned.
    pub const DISOWNED: u64 = 1 << 9;
    /// Files may be owned: a process must not write before the hook server knows of it.
    pub const OWNS: u64 = 1 << 10;
    /// Somebody records which blocks are read and written.
    pub const TRACE: u64 = 1 << 11;
}

/// The header: one page.
#[repr(C, align(4096))]
pub struct Header {
    /// `MAGIC`.
    pub magic: AtomicU64,
    /// `LAYOUT_VERSION`.
    pub layout_version: AtomicU64,
    /// Counts of the parts, in the order of `layout::Shape`.
    pub shape: [AtomicU64; 8],
    /// Monotonic milliseconds, written by the hook server every 100 ms.
    pub heartbeat_ms: AtomicU64,
    /// Bits of `switch`.
    pub switches: AtomicU64,
    /// Share of served reads to repeat through the kernel, parts per million.
    pub verify_ppm: AtomicU64,
    /// Time-stamp counter ticks per microsecond.
    pub ticks_per_us: AtomicU64,
    /// Longest wait for a node in microseconds.
    pub deadline_us: AtomicU64,
    /// A read slower than this came off the device, nanoseconds.
    pub slow_ns: AtomicU64,
    /// Sets of the local cache in use.
    pub local_active: AtomicU64,
    /// The secret that wire keys and tags derive from.
    pub secret: [AtomicU64; 4],
    /// Moves when a node's number has changed hands: connections may be of no use any more.
    pub pool_changes: AtomicU64,
    /// How blocks are protected on the nodes: `wire::Integrity` as a word. Never changes.
    pub integrity: AtomicU64,
    /// What follows is written by the processes: in a cache line of its own.
    _apart: AtomicU64,
    /// Smoothed latency of a read from the device in nanoseconds (processes and hook server).
    pub disk_ns: AtomicU64,
    /// Reads that may be promoted until the hook server grants more.
    pub promote_tokens: AtomicU64,
    /// Blocks that may be pushed until the hook server grants more (`--fill-rate`).
    pub fill_tokens: AtomicU64,
    /// Remote hits whose page was wanted locally (tells the hook server to grow the local cache).
    pub local_wanted: AtomicU64,
    /// Futex word: rung after a refresh slot or a proof request was left for the hook server.
    pub doorbell: AtomicU32,
    /// Not 0 while the hook server sleeps on `doorbell`.
    pub asleep: AtomicU32,
    /// Smoothed latency of a device read while the kernel served all of a file's reads, in
    /// nanoseconds: what the device takes when the nodes relieve it of nothing.
    pub disk_alone_ns: AtomicU64,
    /// Answers that sent a reader to another node of a cluster: the slot map is stale.
    pub moved: AtomicU64,
    /// Ends of the ring of traces, in a cache line of their own.
    _apart_from_trace: AtomicU64,
    /// See `trace`.
    pub trace: trace::Ends,
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<Header>() == 4096);

impl Header {
    /// Whether a switch is on.
    pub fn is_on(&self, bits: u64) -> bool {
        self.switches.load(Ordering::Relaxed) & bits == bits
    }

    /// Flips switches (hook server; any process may turn SERVE off after a failed verification).
    pub fn set_switch(&self, bits: u64, on: bool) {
        match on {
            true => self.switches.fetch_or(bits, Ordering::SeqCst),
            false => self.switches.fetch_and(!bits, Ordering::SeqCst),
        };
    }

    /// Whether the hook server has been heard of lately.
    pub fn is_alive(&self, now_ms: u64) -> bool {
        let heartbeat = self.heartbeat_ms.load(Ordering::Relaxed);
        now_ms.saturating_sub(heartbeat) < HEARTBEAT_MAX_MS
    }

    /// Takes one token; false: none left.
    pub fn take_token(tokens: &AtomicU64) -> bool {
        let left = tokens.load(Ordering::Relaxed);
        left != 0
            && tokens
                .compare_exchange(left, left - 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Smoothed latency of a read from the device in nanoseconds; 0: none seen yet.
    pub fn disk_ns(&self) -> u64 {
        self.disk_ns.load(Ordering::Relaxed)
    }

    /// Ticks of the time-stamp counter per microsecond.
    pub fn ticks_per_us(&self) -> u64 {
        self.ticks_per_us.load(Ordering::Relaxed)
    }

    /// A read slower than this came off the device, nanoseconds.
    pub fn slow_ns(&self) -> u64 {
        self.slow_ns.load(Ordering::Relaxed)
    }

    /// The secret as bytes.
    pub fn secret_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(&self.secret) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        bytes
    }

    /// Stores the secret (hook server, once).
    pub fn set_secret(&self, secret: &[u8; 32]) {
        for (chunk, word) in secret.chunks_exact(8).zip(&self.secret) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(chunk);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
    }

    /// What a device read takes where the nodes relieve the device of nothing, in nanoseconds: the
    /// measure for what a node saves. A few reads among many that nodes serve are faster where the
    /// device was the bottleneck, and slower where it was not. Until it is known, `disk_ns`.
    pub fn disk_alone_ns(&self) -> u64 {
        match self.disk_alone_ns.load(Ordering::Relaxed) {
            0 => self.disk_ns(),
            known => known,
        }
    }

    /// Notes the latency of one device read.
    pub fn note_disk(&self, latency_ns: u64) {
        smooth(&self.disk_ns, latency_ns);
    }

    /// The same of a read of a file that the kernel serves altogether.
    pub fn note_disk_alone(&self, latency_ns: u64) {
        smooth(&self.disk_alone_ns, latency_ns);
    }

    /// The few reads that the device still makes are faster than the nodes: either these relieve
    /// it, or what was known of it is out of date. Believes a little less in that, so that it is
    /// measured anew in the end.
    pub fn doubt_disk_alone(&self) {
        let known = self.disk_alone_ns.load(Ordering::Relaxed);
        self.disk_alone_ns
            .store(known - known / 32, Ordering::Relaxed);
    }
}

/// Takes one latency into a smoothed one (weight 1/16). Updates of others may be lost.
fn smooth(place: &AtomicU64, latency_ns: u64) {
    let old = place.load(Ordering::Relaxed);
    let new = match old {
        0 => latency_ns,
        old => old - old / 16 + latency_ns / 16,
    };
    place.store(new, Ordering::Relaxed);
}
