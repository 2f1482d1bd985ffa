//! The two variables that carry the shim into children: `LD_PRELOAD` and `HOOKTOOL_SESSION`. An
//! environment that has both is passed on untouched, whatever it points to; one that was rebuilt
//! without them gets them back, in memory of the shim's own.
//!
//! # Safety
//! What is dangerous here: arrays of C strings, walked up to their null entry, as exec itself does.
//! New arrays live in private mappings or, in a `vfork` child, in static blocks (a mapping made
//! there would stay in the parent for ever).
#![allow(unsafe_code)]

use libc::c_char;

use crate::sys;
use crate::sys::once::Once;
use grid::sync::{AtomicU64, Ordering};

type Strings = *const *const c_char;

/// Longest `LD_PRELOAD=...` that is remembered or composed, terminator included.
const ENTRY_BYTES_MAX: usize = 2048;
/// Bytes of a composed environment: its array, and one entry behind it.
const BLOCK_BYTES: usize = 32 * 1024;
const BLOCK_ENTRIES: usize = (BLOCK_BYTES - ENTRY_BYTES_MAX) / 8;
/// Blocks for `vfork` children: a child needs its own for the moment until its exec.
const SHARED_BLOCKS: usize = 8;

/// What the constructor saved.
pub struct Ours {
    preload: [u8; ENTRY_BYTES_MAX],
    preload_len: usize,
    session: [u8; 256],
    session_len: usize,
}

static OURS: Once<Ours> = Once::new();

#[repr(C, align(16))]
struct Block([AtomicU64; BLOCK_BYTES / 8]);
static SHARED: [Block; SHARED_BLOCKS] =
    [const { Block([const { AtomicU64::new(0) }; BLOCK_BYTES / 8]) }; SHARED_BLOCKS];
static NEXT_SHARED: AtomicU64 = AtomicU64::new(0);

const PRELOAD: &[u8] = b"LD_PRELOAD=";
const SESSION: &[u8] = b"HOOKTOOL_SESSION=";

/// Saves the two entries: the path of the shim and the value of the session variable.
pub fn remember(path: &[u8], session: &[u8]) -> bool {
    let mut ours = Ours {
        preload: [0; ENTRY_BYTES_MAX],
        preload_len: PRELOAD.len() + path.len(),
        session: [0; 256],
        session_len: SESSION.len() + session.len(),
    };
    let joined = |to: &mut [u8], name: &[u8], value: &[u8]| {
        let fits = name.len() + value.len() < to.len();
        if fits {
            to[..name.len()].copy_from_slice(name);
            to[name.len()..name.len() + value.len()].copy_from_slice(value);
        }
        fits
    };
    joined(&mut ours.preload, PRELOAD, path)
        && joined(&mut ours.session, SESSION, session)
        && OURS.set(ours)
}

/// An environment to hand to exec.
pub struct Environment {
    strings: Strings,
    mapped: Option<*mut u8>,
}

impl Environment {
    /// The environment with our entries in it.
    ///
    /// # Safety
    /// `env` must be null or a null-terminated array of strings.
    pub unsafe fn with_ours(env: Strings, shared_memory_child: bool) -> Environment {
        // SAFETY: by the caller's promise.
        let composed = unsafe { compose(env, shared_memory_child) };
        composed.unwrap_or(Environment {
            strings: env,
            mapped: None,
        })
    }

    /// The array.
    pub fn strings(&self) -> Strings {
        self.strings
    }

    /// Exec failed, or spawn returned: the memory is not needed any more.
    pub fn give_back(self) {
        if let Some(at) = self.mapped {
            sys::memory::unmap(at, BLOCK_BYTES);
        }
    }
}

/// Composes a new array if one is needed; `None`: `env` will do as it is.
///
/// # Safety
/// `env` must be null or a null-terminated array of strings.
unsafe fn compose(env: Strings, shared_memory_child: bool) -> Option<Environment> {
    let ours = OURS.get()?;
    if env.is_null() {
        return None;
    }
    let mut preload = None;
    let mut has_session = false;
    let mut count = 0;
    loop {
        // SAFETY: up to the null entry the array is the caller's.
        let entry = unsafe { *env.add(count) };
        if entry.is_null() {
            break;
        }
        // SAFETY: entries are strings.
        let text = unsafe { core::ffi::CStr::from_ptr(entry) }.to_bytes();
        if text.starts_with(PRELOAD) {
            preload = Some((count, text));
        }
        has_session |= text.starts_with(SESSION);
        count += 1;
    }
    let path = &ours.preload[PRELOAD.len()..ours.preload_len];
    let names_us = |text: &[u8]| {
        text[PRELOAD.len()..]
            .windows(path.len())
            .any(|part| part == path)
    };
    let has_preload = preload.is_some_and(|(_, text)| names_us(text));
    if (has_preload && has_session) || count + 3 > BLOCK_ENTRIES {
        return None;
    }
    let (block, mapped) = block(shared_memory_child)?;
    let array = block.cast::<*const c_char>();
    // SAFETY: `count + 3` entries and one string of `ENTRY_BYTES_MAX` fit into the block.
    unsafe {
        core::ptr::copy_nonoverlapping(env, array, count);
        let mut at = count;
        if !has_preload {
            let place = preload.map_or(at, |(place, _)| place);
            at += usize::from(preload.is_none());
            let theirs = preload.map_or(&[][..], |(_, text)| &text[PRELOAD.len()..]);
            let string = block.add(BLOCK_BYTES - ENTRY_BYTES_MAX);
            *array.add(place) = write_preload(ours, theirs, string);
        }
        if !has_session {
            *array.add(at) = ours.session.as_ptr().cast();
            at += 1;
        }
        *array.add(at) = core::ptr::null();
    }
    debug_assert!(ours.session_len < 256);
    Some(Environment {
        strings: array,
        mapped,
    })
}

/// `LD_PRELOAD=ours:theirs`.
///
/// # Safety
/// `to` must have room for `ENTRY_BYTES_MAX` bytes.
unsafe fn write_preload(ours: &Ours, theirs: &[u8], to: *mut u8) -> *const c_char {
    // SAFETY: by the caller's promise, and nobody else knows the block yet.
    let room = unsafe { sys::memory::bytes_mut(to, ENTRY_BYTES_MAX) };
    let len = ours.preload_len;
    room[..len].copy_from_slice(&ours.preload[..len]);
    room[len] = 0;
    let whole = len + 1 + theirs.len();
    if !theirs.is_empty() && whole < ENTRY_BYTES_MAX {
        room[len] = b':';
        room[len + 1..whole].copy_from_slice(theirs);
        room[whole] = 0;
    }
    to.cast()
}

fn block(shared_memory_child: bool) -> Option<(*mut u8, Option<*mut u8>)> {
    if shared_memory_child {
        let nth = NEXT_SHARED.fetch_add(1, Ordering::Relaxed) as usize % SHARED_BLOCKS;
        let at = SHARED[nth].0.as_ptr() as *mut u8;
        return Some((at, None));
    }
    let at = sys::memory::map_private(BLOCK_BYTES).ok()?;
    Some((at, Some(at)))
}
