//! The governor: not slower, by construction. A descriptor whose reads the page cache serves fast
//! touches nothing shared; only where reads are slow enough to gain is the grid consulted, and only
//! while it pays.
//!
//! ```text
//!            a slow read among          2 slow reads, or one that brought
//!            every 7th, timed           readahead, within a sample of 64
//!   KERNEL ------------------> SAMPLE ---------------------> SERVE
//!     ^  \_______________________|________________________^    |
//!     |    256 reads that came off the device by readahead     |
//!     |                          |                             |
//!     +--- sample without -------+        nothing saved over --+
//!          2 slow reads                   1024 reads, or 32 device reads
//!                                         lost at once (pause doubles)
//! ```
//!
//! The word's count field is the countdown of the mode. The gain word, also private:
//!
//! ```text
//!   63     60 59   56 55   48 47          32 31                    0
//!  +---------+-------+-------+--------------+------------------------+
//!  | learnt  | least | pause | reads        | saved, units of 64 ns  |
//!  +---------+-------+-------+--------------+------------------------+
//!   learnt/least: reads seen and least log2 of their sizes, until the block size is fixed
//! ```

use grid::files::{FileRecord, PAYS};
use grid::header::{Header, switch};
use grid::sync::Ordering;

use crate::fdtable::{self, Word};

/// Reads go straight to the kernel; every 7th is timed.
pub const KERNEL: u64 = 0;
/// Every read is timed.
pub const SAMPLE: u64 = 1;
/// The grid is asked first.
pub const SERVE: u64 = 2;

/// In mode KERNEL, one read in so many is timed. Not a power of two: readahead makes one read in
/// 32 slow, and this must not keep step with it.
const TIMED_EVERY: u64 = 7;
/// In mode KERNEL, reads are counted in the region so many at a time.
pub const COUNT_EVERY: u64 = 256;
const SAMPLE_READS: u64 = 64;
const SLOW_ENOUGH: u64 = 2;
/// A read that brought so many bytes off the device did so for many reads after it.
const READAHEAD_BYTES: u64 = 32 * 1024;
const WINDOW_READS: u64 = 1024;
/// A window that has lost the time of so many device reads ends at once: asking the grid where it
/// cannot win must be found out cheaply, or finding out is what makes it slower.
const LOST_READS: i64 = 32;
/// A remote hit counts as saving a quarter of a device read less than the clock says. Device reads
/// that are made now and then are slower than those in a row, which the grid replaces, and what a
/// node and the network cost this host's processors is in no clock of the reader.
const MARGIN_SHARE: u64 = 4;
const PAUSE_MAX: u64 = 10;
/// What asking the grid costs a read that the page cache then serves, in nanoseconds.
const OVERHEAD_NS: i64 = 700;
/// One local hit in so many is looked at for what it saved: asking the kernel costs a system call.
const LOOKED_AT_EVERY: u64 = 16;
/// Of the remote hits that cost more than a read of the device at this time, one in so many lowers
/// what a device read is believed to take where nobody relieves the device.
const DOUBTED_EVERY: u64 = 512;
/// Reads from which the block size is learnt.
const LEARN_READS: u64 = 4;

/// The mode in which a fresh descriptor starts.
pub fn first_mode(header: &Header, record: &FileRecord) -> u64 {
    match header.is_on(switch::FILL_ALWAYS) || record.has_policy(PAYS) {
        true => SERVE,
        false => SAMPLE,
    }
}

/// What mode KERNEL wants of a read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// Nothing.
    Pass,
    /// Time it.
    Time,
    /// Time it, and count the last `COUNT_EVERY` reads in the region.
    TimeAndCount,
}

/// Mode KERNEL: counts down in the private word.
#[inline]
pub fn tick(fd: i32, word: Word) -> Tick {
    let count = word.count();
    fdtable::set(fd, word.with(KERNEL, count.wrapping_sub(1), 0));
    match count {
        0 => Tick::TimeAndCount,
        count if count % TIMED_EVERY == 0 => Tick::Time,
        _ => Tick::Pass,
    }
}

/// Turns a descriptor to mode SAMPLE.
pub fn sample(fd: i32, word: Word) {
    fdtable::set(fd, word.with(SAMPLE, SAMPLE_READS, 0));
}

/// After a slow read in mode KERNEL: look closer, unless the descriptor sits out a pause.
pub fn slow_in_kernel_mode(fd: i32, word: Word) {
    if !paused(fd) {
        fdtable::set(fd, word.with(SAMPLE, SAMPLE_READS, 1));
    }
}

/// Mode KERNEL, after `len` bytes of reads during which the device was made to read `brought`: fast
/// as they were, a pass in sequence came off the device and is worth filling, unless the descriptor
/// sits out a pause.
pub fn counted_in_kernel_mode(fd: i32, word: Word, len: u64, brought: u64) {
    if len != 0 && fdtable::run(fd).credit_unnoted(len, brought) && !paused(fd) {
        fdtable::set(fd, word.with(SERVE, 0, 0));
    }
}

/// Whether the local hit that began at `ticks` stands for its like: one in `LOOKED_AT_EVERY`,
/// chosen by the low digits of the clock. The others are not accounted.
#[inline]
pub fn looks_closer(ticks: u64) -> bool {
    (ticks >> 6).is_multiple_of(LOOKED_AT_EVERY)
}

/// Whether a remote hit that began at `ticks` casts doubt on what is known of the device: one in
/// `DOUBTED_EVERY` of those that were slower than what the device still reads.
pub fn doubts(ticks: u64, took_ns: u64, disk_ns: u64) -> bool {
    remote_hit_saved_ns(took_ns, disk_ns) < 0 && (ticks >> 6).is_multiple_of(DOUBTED_EVERY)
}

/// What a local hit and those it stands for have saved. A page that the kernel holds as well has
/// saved no read of the device, and was served slower than the kernel would have: a file that lies
/// in the page cache must not be kept from it because a few of its pages are in the local cache.
pub fn local_hits_saved_ns(is_resident: bool, disk_ns: u64) -> i64 {
    let each_ns = match is_resident {
        true => -OVERHEAD_NS,
        false => disk_ns as i64,
    };
    each_ns.saturating_mul(LOOKED_AT_EVERY as i64)
}

/// What a remote hit that took `took_ns` has saved, as far as the governor believes it.
pub fn remote_hit_saved_ns(took_ns: u64, disk_ns: u64) -> i64 {
    (disk_ns - disk_ns / MARGIN_SHARE) as i64 - took_ns as i64
}

/// After a read in mode SAMPLE, in which the kernel `brought` so many bytes off the device. True:
/// the next descriptor on the file should ask the grid from its first read on. It may have no
/// other: servers open a small file, read it at once, and close it.
pub fn sampled(fd: i32, word: Word, was_slow: bool, brought: u64) -> bool {
    let is_first = word.count() == 0;
    let slow = word.slow()
        + match brought {
            0 => u64::from(was_slow),
            1..READAHEAD_BYTES => 1,
            _ => {
                fdtable::run(fd).credit_unnoted(0, brought);
                SLOW_ENOUGH
            }
        };
    let left = if word.count() == 0 {
        SAMPLE_READS
    } else {
        word.count()
    } - 1;
    let next = match (slow >= SLOW_ENOUGH, left) {
        (true, _) => word.with(SERVE, 0, 0),
        (false, 0) => word.with(KERNEL, COUNT_EVERY - 1, 0),
        (false, left) => word.with(SAMPLE, left, slow),
    };
    fdtable::set(fd, next);
    slow >= SLOW_ENOUGH || (is_first && slow > 0)
}

/// Whether the descriptor has accounted nothing yet: what its read meets was there before.
pub fn is_fresh(fd: i32) -> bool {
    fdtable::gain(fd).load(Ordering::Relaxed) << 8 == 0
}

/// A descriptor that fell back from SERVE sits out a number of slow reads, doubling each time.
fn paused(fd: i32) -> bool {
    let gain = fdtable::gain(fd);
    let word = gain.load(Ordering::Relaxed);
    let reads = word >> 32 & 0xFFFF;
    if reads == 0 {
        return false;
    }
    gain.store(word - (1 << 32), Ordering::Relaxed);
    true
}

/// Mode SERVE: accounts one read that saved `saved_ns` against the device (0: the kernel served
/// it), of which a read takes `disk_ns`. True: the window ended without a gain and the descriptor
/// has turned to KERNEL, unless it `always` asks (`--fill always`).
pub fn account(fd: i32, word: Word, saved_ns: i64, disk_ns: u64, always: bool) -> bool {
    let gain = fdtable::gain(fd);
    let old = gain.load(Ordering::Relaxed);
    let saved = old as u32 as i32;
    let sum = saved.saturating_add(((saved_ns - OVERHEAD_NS) >> 6) as i32);
    let reads = (old >> 32 & 0xFFFF) + 1;
    let pause = old >> 48 & 0xFF;
    let keep = old & 0xFF << 56;
    let pack = |pause: u64, reads: u64, saved: i32| {
        gain.store(
            keep | pause << 48 | reads << 32 | u64::from(saved as u32),
            Ordering::Relaxed,
        );
    };
    let lost_most = -(disk_ns as i64).saturating_mul(LOST_READS) >> 6;
    let is_lost = disk_ns != 0 && i64::from(sum) < lost_most;
    if reads < WINDOW_READS && !is_lost {
        pack(pause, reads, sum);
        return false;
    }
    if sum > 0 || always {
        pack(0, 0, 0);
        return false;
    }
    let pause = (pause + 1).min(PAUSE_MAX);
    pack(pause, 1 << pause, 0);
    fdtable::set(fd, word.with(KERNEL, COUNT_EVERY - 1, 0));
    true
}

/// The block size of a file, learnt from the smallest of its first reads. `None`: not yet. A file
/// of which one read wants the `whole` is read so, by descriptors that may have no other.
pub fn learn(
    fd: i32,
    header: &Header,
    record: &FileRecord,
    len: u64,
    offset: u64,
    largest_log2: u8,
    whole: bool,
) -> Option<u8> {
    if let Some(log2) = record.block_log2() {
        return Some(log2);
    }
    let fitting = (63 - len.max(1).leading_zeros()).min(offset.trailing_zeros()) as u64;
    let log2 = fitting.clamp(12, u64::from(largest_log2));
    let gain = fdtable::gain(fd);
    let word = gain.load(Ordering::Relaxed);
    let seen = (word >> 60) + 1;
    let least = match word >> 56 & 0xF {
        0 => log2,
        known => log2.min(known + 4),
    };
    if seen >= LEARN_READS || whole || header.is_on(switch::FILL_ALWAYS) {
        return Some(record.learn_block_log2(least as u8));
    }
    gain.store(
        word & !(0xFF << 56) | seen << 60 | (least - 4) << 56,
        Ordering::Relaxed,
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use grid::files::RecordRef;

    /// Device reads of a spinning disk's array at its limit.
    const DISK_NS: u64 = 3_300_000;

    /// One window of a descriptor of its own, in which one read in `every` is a local hit and the
    /// kernel serves the others from its cache. Whether it turned to mode KERNEL.
    fn window_turns(fd: i32, every: u64, is_resident: bool, always: bool) -> bool {
        let word = Word::file(
            RecordRef {
                index: 1,
                generation: 1,
            },
            SERVE,
        );
        let mut turned = false;
        fdtable::set(fd, word);
        for read in 1..=WINDOW_READS {
            let saved_ns = match read % (every * LOOKED_AT_EVERY) {
                0 => local_hits_saved_ns(is_resident, DISK_NS),
                _ => 0,
            };
            turned |= account(fd, word, saved_ns, DISK_NS, always);
        }
        assert_eq!(
            turned,
            fdtable::get(fd).is_some_and(|word| word.mode() == KERNEL)
        );
        turned
    }

    #[test]
    fn local_hits_of_pages_that_the_kernel_holds_do_not_keep_a_file_from_its_cache() {
        assert!(window_turns(900, 8, true, false), "nothing was saved");
        assert!(
            !window_turns(901, 8, false, false),
            "device reads were saved"
        );
        assert!(
            !window_turns(902, 8, true, true),
            "--fill always asks always"
        );
    }

    /// Reads until a descriptor whose every read is a remote hit of `took_ns` turns to mode KERNEL.
    fn turns_after(fd: i32, took_ns: u64, disk_ns: u64) -> Option<u64> {
        let record = RecordRef {
            index: 1,
            generation: 1,
        };
        let word = Word::file(record, SERVE);
        fdtable::set(fd, word);
        let saved_ns = remote_hit_saved_ns(took_ns, disk_ns);
        (1..=4 * WINDOW_READS).find(|_| account(fd, word, saved_ns, disk_ns, false))
    }

    #[test]
    fn a_node_that_is_hardly_faster_than_the_disk_is_left_and_a_slower_one_soon() {
        assert_eq!(turns_after(904, 40_000, DISK_NS), None);
        assert_eq!(turns_after(905, 30_000, 60_000), None, "half the time");
        assert!(
            turns_after(906, 50_000, 60_000).is_some(),
            "five sixths of it"
        );
        let soon = turns_after(907, 80_000, 60_000).expect("it turns");
        assert!(soon < 64, "{soon} reads");
        let slow = turns_after(908, 4_000_000, DISK_NS).expect("it turns");
        assert!(slow < 128, "{slow} reads");
    }

    #[test]
    fn a_descriptor_that_fell_back_sits_out_a_pause_that_doubles() {
        let fd = 903;
        for pause in [2, 4, 8] {
            assert!(window_turns(fd, 8, true, false));
            let sat_out = (0..).take_while(|_| paused(fd)).count();
            assert_eq!(sat_out, pause);
        }
    }
}
