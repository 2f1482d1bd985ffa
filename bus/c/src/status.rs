//! What a call answers: one code for each kind of error, and the words of the last one.
//!
//! # Safety
//!
//! The functions C calls are exported under their own names, which nothing else has.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{c_char, c_int};
use std::fmt::Write;

use bus::Error;

/// Bytes of the words kept of the last error, with the zero behind them.
const WORDS_BYTES: usize = 512;

/// What a call answers. Values never change; new ones may come.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rg_bus_status {
    /// Done.
    RgBusOk = 0,
    /// No room in the time given: the receiver is behind, or not there.
    RgBusFull = -1,
    /// No message in the time given.
    RgBusEmpty = -2,
    /// Nobody made a channel for this address or pair.
    RgBusNoChannel = -3,
    /// A living process has this end bound; rg_bus_last_error names it.
    RgBusBound = -4,
    /// Not an address of this bus, or not a template.
    RgBusBadAddress = -5,
    /// The message can never fit this channel.
    RgBusTooLarge = -6,
    /// The buffer is too small; the message stays, and its length was stored.
    RgBusBufferTooSmall = -7,
    /// Messages were lost to damage; rg_bus_last_error tells how many. Receive again.
    RgBusDamaged = -8,
    /// The file is of another version, or no channel.
    RgBusNotAChannel = -9,
    /// The channel was removed.
    RgBusRemoved = -10,
    /// The process was forked since it bound.
    RgBusForked = -11,
    /// The endpoint is in use by another thread, or by what a signal interrupted.
    RgBusBusy = -12,
    /// A null pointer, or a text that is none.
    RgBusInvalid = -13,
    /// Too many channels or stations, or no route to go back.
    RgBusLimit = -14,
    /// The kernel refused; rg_bus_last_error tells what.
    RgBusSystem = -15,
    /// A bug in this library.
    RgBusInternal = -16,
}

pub use rg_bus_status::*;

/// The words of the last error of a thread.
struct Words {
    bytes: [u8; WORDS_BYTES],
    length: usize,
}

thread_local! {
    static LAST: RefCell<Words> = const {
        RefCell::new(Words { bytes: [0; WORDS_BYTES], length: 0 })
    };
}

impl Write for Words {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = WORDS_BYTES - 1 - self.length;
        let taken = text.len().min(room);
        self.bytes[self.length..self.length + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        self.bytes[self.length] = 0;
        Ok(())
    }
}

/// The code of an error; its words are kept for `rg_bus_last_error`, unless it is an ordinary
/// answer.
pub(crate) fn code(error: &Error) -> rg_bus_status {
    let code = match error {
        Error::Full => return RgBusFull,
        Error::Empty => return RgBusEmpty,
        Error::NoChannel { .. } => RgBusNoChannel,
        Error::Bound { .. } => RgBusBound,
        Error::BadTemplate { .. } | Error::BadAddress { .. } => RgBusBadAddress,
        Error::TooLarge { .. } => RgBusTooLarge,
        Error::BufferTooSmall { .. } => RgBusBufferTooSmall,
        Error::Damaged { .. } | Error::Contradiction { .. } => RgBusDamaged,
        Error::NotAChannel { .. } | Error::Version { .. } => RgBusNotAChannel,
        Error::Removed => RgBusRemoved,
        Error::Forked => RgBusForked,
        Error::TooMany { .. } | Error::NoRoute => RgBusLimit,
        _ => RgBusSystem,
    };
    LAST.with_borrow_mut(|words| {
        words.length = 0;
        let _ = write!(words, "{error}");
    });
    code
}

/// What a status means, in one line. Never null; lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn rg_bus_error_string(status: c_int) -> *const c_char {
    let text = match status {
        0 => c"done",
        -1 => c"the channel is full: the other side has not read; send again, or wait longer",
        -2 => c"the channel is empty: nothing has come; receive again, or wait longer",
        -3 => c"no such channel: make one with hooktool bus apply",
        -4 => c"bound by another process",
        -5 => c"not an address of this bus",
        -6 => c"the message is too large for this channel",
        -7 => c"the buffer is too small: receive again with a larger one",
        -8 => c"messages were lost to damage: receive again",
        -9 => c"not a channel, or one of another version",
        -10 => c"the channel was removed",
        -11 => c"bound before a fork: bind an address of your own",
        -12 => c"the endpoint is in use",
        -13 => c"a null pointer, or a text that is none",
        -14 => c"too many, or no route to go back",
        -15 => c"the kernel refused",
        _ => c"not a status of this library",
    };
    text.as_ptr()
}

/// The words of the last error of this thread, with names and numbers. Lives until the next error.
#[unsafe(no_mangle)]
pub extern "C" fn rg_bus_last_error() -> *const c_char {
    LAST.with_borrow(|words| words.bytes.as_ptr().cast())
}
