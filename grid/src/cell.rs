//! One version cell: the 64-bit word in which writers announce themselves.
//!
//! ```text
//!   63                                            16 15             0
//!  +------------------------------------------------+----------------+
//!  | version: writes begun (48 bits)                | in flight (16) |
//!  +------------------------------------------------+----------------+
//!   in flight: 0 .. 0xFFFB   a count of writes between their begin and their end
//!              0xFFFC        POISONED: never again served, never released (see `poison`)
//!              0xFFFE        THAWING:  the hook server is about to release a dead writer's mark
//!              0xFFFF        FROZEN:   a writer died here, or the count overflowed
//! ```
//!
//! The rules W2, W4, R2 and R3 of `docs/design.md` are the functions below; `writes.rs` and
//! `reap.rs` call them in the right order. A cell is never reset: its version only grows, which is
//! what makes a key (file, block, epoch, version) unique for the whole session.

use crate::sync::{AtomicU64, Ordering};

const IN_FLIGHT_BITS: u32 = 16;
const IN_FLIGHT_MASK: u64 = (1 << IN_FLIGHT_BITS) - 1;
const ONE_VERSION: u64 = 1 << IN_FLIGHT_BITS;
const COUNT_MAX: u64 = 0xFFFB;
const POISONED: u64 = 0xFFFC;
const THAWING: u64 = 0xFFFE;
const FROZEN: u64 = 0xFFFF;

/// The version held in a cell word.
pub fn version_of(word: u64) -> u64 {
    word >> IN_FLIGHT_BITS
}

/// Whether nothing is in flight in this word: the block (or file) may be filled and served.
pub fn is_quiet(word: u64) -> bool {
    word & IN_FLIGHT_MASK == 0
}

/// Whether exactly one counted writer is in flight in this word.
pub fn is_sole(word: u64) -> bool {
    word & IN_FLIGHT_MASK == 1
}

/// Whether this cell has been taken out of service for the rest of the session.
pub fn is_poisoned(word: u64) -> bool {
    word & IN_FLIGHT_MASK == POISONED
}

fn with_in_flight(word: u64, in_flight: u64) -> u64 {
    (word & !IN_FLIGHT_MASK) | in_flight
}

/// What `enter` found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The writer added itself and must take itself out again with `leave`.
    pub counted: bool,
    /// Nobody else was in flight.
    pub alone: bool,
}

/// Rule W2: in flight + 1 and version + 1, in one step. A frozen, thawing or poisoned cell is left
/// out of service and the writer remembers that it is not counted.
///
/// The loads are sequentially consistent too: a writer that turns away from a frozen cell relies on
/// its record, published just before, being seen by whoever thaws the cell (rule R3).
pub fn enter(cell: &AtomicU64) -> Entered {
    let mut word = cell.load(Ordering::SeqCst);
    loop {
        let next = match word & IN_FLIGHT_MASK {
            FROZEN | POISONED => {
                return Entered {
                    counted: false,
                    alone: false,
                };
            }
            THAWING => with_in_flight(word, FROZEN),
            COUNT_MAX => with_in_flight(word, FROZEN).wrapping_add(ONE_VERSION),
            _ => word.wrapping_add(ONE_VERSION + 1),
        };
        match cell.compare_exchange(word, next, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => {
                let counted = next & IN_FLIGHT_MASK != FROZEN;
                return Entered {
                    counted,
                    alone: counted && is_quiet(word),
                };
            }
            Err(seen) => word = seen,
        }
    }
}

/// Enters only if nothing at all is in flight. Returns the word that stands as long as nobody else
/// comes, for `leave_if_still`.
pub fn enter_alone(cell: &AtomicU64) -> Option<u64> {
    let word = cell.load(Ordering::SeqCst);
    let next = word.wrapping_add(ONE_VERSION + 1);
    let entered = is_quiet(word)
        && cell
            .compare_exchange(word, next, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok();
    entered.then_some(next)
}

/// Rule W4: in flight - 1, unless the cell was frozen or poisoned meanwhile: then it stays so.
/// Call only after an `enter` that answered `counted`.
pub fn leave(cell: &AtomicU64) {
    let mut word = cell.load(Ordering::Relaxed);
    while word & IN_FLIGHT_MASK <= COUNT_MAX && !is_quiet(word) {
        match cell.compare_exchange(word, word - 1, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(seen) => word = seen,
        }
    }
}

/// Leaves only if the word is still exactly `word`; the caller has just settled something that is
/// true only while nobody else has come. Returns whether it left.
pub fn leave_if_still(cell: &AtomicU64, word: u64) -> bool {
    debug_assert!(is_sole(word));
    cell.compare_exchange(word, word - 1, Ordering::Release, Ordering::Relaxed)
        .is_ok()
}

/// A new version without a writer: everything published under the old one is garbage from here on.
pub fn bump(cell: &AtomicU64) {
    cell.fetch_add(ONE_VERSION, Ordering::SeqCst);
}

/// Rule R2: version + 1 and FROZEN in one step, for a cell that a dead writer may have entered.
pub fn freeze(cell: &AtomicU64) {
    let mut word = cell.load(Ordering::Relaxed);
    while word & IN_FLIGHT_MASK != POISONED {
        let next = with_in_flight(word, FROZEN).wrapping_add(ONE_VERSION);
        match cell.compare_exchange(word, next, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => return,
            Err(seen) => word = seen,
        }
    }
}

/// Out of service until the session ends. For writers that cannot be counted (no free operation
/// slot, an unregistered process, a mapping that a fork may have inherited).
pub fn poison(cell: &AtomicU64) {
    let mut word = cell.load(Ordering::Relaxed);
    while word & IN_FLIGHT_MASK != POISONED {
        let next = with_in_flight(word, POISONED).wrapping_add(ONE_VERSION);
        match cell.compare_exchange(word, next, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => return,
            Err(seen) => word = seen,
        }
    }
}

/// Rule R3, in one piece: FROZEN to THAWING, then `covered` (do all live records leave this cell
/// alone?), then back to FROZEN or on to (version + 1, nothing in flight). Returns whether the cell
/// is out of the frozen state (also when it was not frozen to begin with).
pub fn thaw(cell: &AtomicU64, covered: impl FnOnce() -> bool) -> bool {
    let word = cell.load(Ordering::SeqCst);
    if word & IN_FLIGHT_MASK < THAWING {
        return true;
    }
    let thawing = with_in_flight(word, THAWING);
    if cell
        .compare_exchange(word, thawing, Ordering::SeqCst, Ordering::Relaxed)
        .is_err()
    {
        return false;
    }
    crate::sync::fence(Ordering::SeqCst);
    let next = if covered() {
        with_in_flight(thawing, FROZEN)
    } else {
        with_in_flight(thawing, 0).wrapping_add(ONE_VERSION)
    };
    let swapped = cell.compare_exchange(thawing, next, Ordering::SeqCst, Ordering::Relaxed);
    swapped.is_ok() && is_quiet(next)
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn a_write_counts_in_and_out_and_leaves_a_new_version() {
        let cell = AtomicU64::new(0);
        assert_eq!(
            enter(&cell),
            Entered {
                counted: true,
                alone: true
            }
        );
        assert_eq!(
            enter(&cell),
            Entered {
                counted: true,
                alone: false
            }
        );
        assert!(!is_quiet(cell.load(Ordering::Relaxed)));
        leave(&cell);
        leave(&cell);
        let word = cell.load(Ordering::Relaxed);
        assert!(is_quiet(word));
        assert_eq!(version_of(word), 2);
    }

    #[test]
    fn a_frozen_cell_ignores_writers_until_it_is_thawed() {
        let cell = AtomicU64::new(0);
        assert!(enter(&cell).counted);
        freeze(&cell);
        leave(&cell);
        assert!(!is_quiet(cell.load(Ordering::Relaxed)));
        assert!(!enter(&cell).counted);
        assert!(!thaw(&cell, || true));
        assert!(thaw(&cell, || false));
        assert!(is_quiet(cell.load(Ordering::Relaxed)));
    }

    #[test]
    fn poison_outlives_freezing_and_thawing() {
        let cell = AtomicU64::new(0);
        poison(&cell);
        freeze(&cell);
        assert!(thaw(&cell, || false));
        assert!(is_poisoned(cell.load(Ordering::Relaxed)));
        assert!(!enter(&cell).counted);
    }

    #[test]
    fn who_wants_to_be_alone_does_not_join_others() {
        let cell = AtomicU64::new(0);
        let word = enter_alone(&cell).expect("quiet");
        assert!(is_sole(word));
        assert_eq!(enter_alone(&cell), None);
        assert!(leave_if_still(&cell, word));
        freeze(&cell);
        assert_eq!(enter_alone(&cell), None);
    }

    #[test]
    fn an_overflowing_count_freezes_instead_of_wrapping() {
        let cell = AtomicU64::new(COUNT_MAX);
        assert!(!enter(&cell).counted);
        assert_eq!(cell.load(Ordering::Relaxed) & IN_FLIGHT_MASK, FROZEN);
    }
}
