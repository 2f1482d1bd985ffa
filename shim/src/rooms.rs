//! Rooms: the regions that this process has mapped, one after the other. A process that changes its
//! credentials moves out of its region before the call, and may move into another one later.
//!
//! Called by `session`, which decides when. What is vacated shows zeros from then on, keys
//! included: nothing that was read under the old credentials can be read there, and nothing that is
//! written there reaches anybody. The address stays taken, because another thread may still be in
//! the middle of a call in there. Its reads fail at rule S3 (no epoch of a file that has a record
//! is 0), and a write notices after it has entered its cells (`is_current`).
//!
//! # Safety
//! What is dangerous here: memory changes under references. All of a region is atomics or raw
//! content; the keys are plain numbers without invalid patterns, whose results are believed only
//! while the room is the current one.
#![allow(unsafe_code)]

use grid::region::Region;
use grid::sync::{AtomicU64, Ordering, fence};
use wire::{Integrity, Keys};

use crate::sys;
use crate::sys::once::Once;

/// Rooms that a process and its forebears may use up; whoever changes credentials more often than
/// that stays with the kernel.
const ROOMS_MAX: usize = 16;

/// A region, as long as it is the process's own.
pub struct Joined {
    /// The mapped region.
    pub region: Region,
    /// Keys derived from its secret.
    pub keys: &'static Keys,
    /// Its number in the session.
    pub domain: u32,
    /// What `PLACE` says while it is the current one.
    place: u64,
}

struct Room {
    base: AtomicU64,
    bytes: AtomicU64,
    /// Where the keys lie.
    keys: AtomicU64,
    /// Not 0 once zeros have been put there.
    vacated: AtomicU64,
    joined: Once<Joined>,
}

static ROOMS: [Room; ROOMS_MAX] = [const {
    Room {
        base: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        keys: AtomicU64::new(0),
        vacated: AtomicU64::new(0),
        joined: Once::new(),
    }
}; ROOMS_MAX];

/// Changes of credentials so far << 8 | number of the current room + 1, 0 none.
static PLACE: AtomicU64 = AtomicU64::new(0);

/// The region that the process is in.
#[inline]
pub fn current() -> Option<&'static Joined> {
    let room = PLACE.load(Ordering::Acquire) & 0xFF;
    ROOMS.get((room as usize).wrapping_sub(1))?.joined.get()
}

/// Whether the process is still in there. What was copied out of the region, or entered into it,
/// before this was asked has come from the region itself, or reached it.
pub fn is_current(joined: &Joined) -> bool {
    fence(Ordering::SeqCst);
    PLACE.load(Ordering::SeqCst) == joined.place
}

impl Joined {
    /// A number for this stay in this region, never used again in this process.
    pub fn stay(&self) -> u64 {
        self.place
    }
}

/// Where the process is, for `furnish`.
pub fn place() -> u64 {
    PLACE.load(Ordering::SeqCst)
}

/// Whether this process, or one that it was forked from, has ever been in a region.
pub fn were_used() -> bool {
    ROOMS[0].base.load(Ordering::Relaxed) != 0
}

/// Whether there is a room left to move into.
pub fn has_fresh() -> bool {
    let last = &ROOMS[ROOMS_MAX - 1];
    last.base.load(Ordering::Relaxed) == 0
}

impl Room {
    fn vacate(&self) {
        let at = |word: &AtomicU64| word.load(Ordering::SeqCst) as *mut u8;
        let (base, keys) = (at(&self.base), at(&self.keys));
        if base.is_null() || self.vacated.load(Ordering::Relaxed) != 0 {
            return;
        }
        let bytes = self.bytes.load(Ordering::Relaxed) as usize;
        // SAFETY: both were made by `furnish`; who reads there copes with zeros (see the head).
        unsafe {
            sys::memory::vacate(base, bytes);
            if !keys.is_null() {
                sys::memory::vacate(keys, size_of::<Keys>());
            }
        }
        // After it is true, for the sake of a child that is forked in between: it does it again.
        self.vacated.store(1, Ordering::Release);
    }
}

/// Maps the region `fd` of `bytes` into a fresh room, for a process that was at `place`. One thread
/// at a time. `None`: it cannot be mapped, or the rooms are used up.
pub fn furnish(fd: i32, bytes: u64, domain: u32, place: u64) -> Option<&'static Joined> {
    let is_fresh = |room: &&Room| room.base.load(Ordering::Relaxed) == 0;
    let number = ROOMS.iter().position(|room| is_fresh(&room))?;
    let room = &ROOMS[number];
    let base = sys::memory::reserve(bytes as usize).ok()?;
    // Known before anything is there: whoever moves out meanwhile, in a child too, vacates it.
    room.bytes.store(bytes, Ordering::Relaxed);
    room.base.store(base as u64, Ordering::SeqCst);
    // SAFETY: reserved just now.
    unsafe { sys::memory::map_region(base, bytes as usize, fd) }.ok()?;
    let region = sys::memory::open_region(base, bytes)?;
    let (keys, at) = derive(&region)?;
    room.keys.store(at as u64, Ordering::SeqCst);
    room.joined.set(Joined {
        region,
        keys,
        domain,
        place: place & !0xFF | (number as u64 + 1),
    });
    room.joined.get()
}

/// What `derive` takes and gives.
struct Deriving {
    secret: [u8; 32],
    integrity: Integrity,
    kept: Option<(&'static Keys, *mut u8)>,
}

/// Derives the keys on a stack of its own: it takes several KiB.
fn derive(region: &Region) -> Option<(&'static Keys, *mut u8)> {
    let mut deriving = Deriving {
        secret: region.header().secret_bytes(),
        integrity: Integrity::from_word(region.header().integrity.load(Ordering::Relaxed))?,
        kept: None,
    };
    sys::aside::run(derive_aside, &mut deriving);
    deriving.kept
}

extern "C" fn derive_aside(deriving: *mut Deriving) {
    // SAFETY: `derive` lends it for this call.
    let deriving = unsafe { &mut *deriving };
    deriving.kept = sys::memory::keep(Keys::derive(&deriving.secret, deriving.integrity));
}

/// The process is in this region from now on, unless it has changed its credentials since `place`.
pub fn move_in(joined: &'static Joined, place: u64) -> bool {
    let swapped = PLACE.compare_exchange(place, joined.place, Ordering::SeqCst, Ordering::Relaxed);
    if swapped.is_err() {
        vacate_all();
    }
    swapped.is_ok()
}

/// The process is in no region any more.
pub fn move_out() {
    let _ = PLACE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |place| {
        Some(((place >> 8) + 1) << 8)
    });
    vacate_all();
}

fn vacate_all() {
    ROOMS.iter().for_each(Room::vacate);
}
