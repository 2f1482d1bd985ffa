//! The functions C calls.
//!
//! # Safety
//!
//! C promises what each function's comment asks: handles that this library gave and that were not
//! given back, pointers to memory of the length beside them, texts that end in zero. Null is
//! refused wherever it is not allowed.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bus::message::Envelope;
use bus::{Address, Bus, Endpoint, Error, Role, Wait};

use crate::status::*;

/// Most parts of one message.
const PARTS_MAX: usize = 64;

/// A bus.
pub struct rg_bus {
    bus: Bus,
}

/// A bound address.
pub struct rg_bus_endpoint {
    endpoint: Endpoint,
    /// Somebody is inside.
    busy: AtomicBool,
    /// The message `rg_bus_peek` gave and nobody has taken yet.
    peeked: Option<Peeked>,
}

/// A message that lies in its ring.
#[derive(Clone, Copy)]
struct Peeked {
    data: NonNull<u8>,
    length: usize,
    info: rg_bus_message,
}

/// What a process wants of an address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rg_bus_role {
    /// To send and to receive.
    RgBusBoth = 0,
    /// To send only: another process may receive.
    RgBusSend = 1,
    /// To receive only: another process may send.
    RgBusReceive = 2,
}

/// A part of a message.
#[repr(C)]
pub struct rg_bus_part {
    /// Where it lies.
    pub data: *const c_void,
    /// Its bytes.
    pub length: usize,
}

/// What came with a message.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rg_bus_message {
    /// Who sent it.
    pub source: u32,
    /// Who receives it.
    pub destination: u32,
    /// Its number in the channel, from 1 without gaps.
    pub seq: u64,
    /// When it was sent, in nanoseconds since 1970; 0: not noted.
    pub sent_ns: u64,
    /// 1: it may have been handed out before, to a receiver that died.
    pub is_redelivered: u8,
    /// 1: a tool wrote it, to try the channel.
    pub is_test: u8,
    /// 1: an answer on its way back along a route.
    pub is_backward: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

fn info(envelope: &Envelope) -> rg_bus_message {
    rg_bus_message {
        source: envelope.source().0,
        destination: envelope.destination().0,
        seq: envelope.seq(),
        sent_ns: envelope.sent_ns().unwrap_or(0),
        is_redelivered: u8::from(envelope.is_redelivered()),
        is_test: u8::from(envelope.is_test()),
        is_backward: u8::from(envelope.is_backward()),
        reserved: [0; 5],
    }
}

/// Milliseconds as C gives them: negative waits for ever.
fn wait(wait_ms: i64) -> Wait {
    match u64::try_from(wait_ms) {
        Err(_) => Wait::Forever,
        Ok(0) => Wait::No,
        Ok(wait_ms) => Wait::For(Duration::from_millis(wait_ms)),
    }
}

/// Runs a call: errors become codes, a panic stays inside.
fn run(call: impl FnOnce() -> Result<(), rg_bus_status>) -> c_int {
    let done = catch_unwind(AssertUnwindSafe(call));
    match done {
        Ok(Ok(())) => RgBusOk as c_int,
        Ok(Err(status)) => status as c_int,
        Err(_) => RgBusInternal as c_int,
    }
}

/// Runs a call on an endpoint that nobody else is using.
fn on(
    endpoint: *mut rg_bus_endpoint,
    call: impl FnOnce(&mut Endpoint, &mut Option<Peeked>) -> Result<(), rg_bus_status>,
) -> c_int {
    run(|| {
        let endpoint = NonNull::new(endpoint).ok_or(RgBusInvalid)?;
        // SAFETY: C gives a handle that rg_bus_bind made and nobody gave back; `busy` is an atomic,
        // so looking at it needs no exclusive access.
        let busy = unsafe { &(*endpoint.as_ptr()).busy };
        if busy.swap(true, Ordering::Acquire) {
            return Err(RgBusBusy);
        }
        // SAFETY: as above; `busy` was false, so nobody else has a reference to these fields.
        let (inner, peeked) = unsafe {
            let handle = endpoint.as_ptr();
            (&mut (*handle).endpoint, &mut (*handle).peeked)
        };
        let done = catch_unwind(AssertUnwindSafe(|| call(inner, peeked)));
        busy.store(false, Ordering::Release);
        done.unwrap_or(Err(RgBusInternal))
    })
}

fn text<'a>(text: *const c_char) -> Result<&'a str, rg_bus_status> {
    if text.is_null() {
        return Err(RgBusInvalid);
    }
    // SAFETY: not null, and C promises a text that ends in zero and stays during the call.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| RgBusInvalid)
}

fn bytes<'a>(data: *const c_void, length: usize) -> Result<&'a [u8], rg_bus_status> {
    match (data.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(RgBusInvalid),
        // SAFETY: not null, and C promises so many bytes that stay during the call.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(data.cast(), length) }),
    }
}

/// Stores a result where C wants it; null: it does not.
fn give<T>(place: *mut T, value: T) {
    if let Some(place) = NonNull::new(place) {
        // SAFETY: not null, and C promises room for one.
        unsafe { place.write(value) };
    }
}

fn coded<T>(result: Result<T, Error>) -> Result<T, rg_bus_status> {
    result.map_err(|error| code(&error))
}

/// Opens the bus of this name, or, where the name has a slash, in this directory.
///
/// # Safety
///
/// `name` is a text; `out` has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_open(name: *const c_char, out: *mut *mut rg_bus) -> c_int {
    run(|| {
        let bus = coded(Bus::open(text(name)?))?;
        match out.is_null() {
            true => Err(RgBusInvalid),
            false => {
                give(out, Box::into_raw(Box::new(rg_bus { bus })));
                Ok(())
            }
        }
    })
}

/// Closes a bus. Endpoints bound on it stay. Null is nothing.
///
/// # Safety
///
/// `bus` came from `rg_bus_open` and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_close(bus: *mut rg_bus) {
    if !bus.is_null() {
        // SAFETY: made by Box::into_raw in rg_bus_open, given back once.
        drop(unsafe { Box::from_raw(bus) });
    }
}

/// Reads an address, such as 0.0.1.1, as this bus writes them.
///
/// # Safety
///
/// `bus` is open; `address` is a text; `out` has room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_address(
    bus: *const rg_bus,
    address: *const c_char,
    out: *mut u32,
) -> c_int {
    run(|| {
        // SAFETY: C promises an open bus, or null.
        let bus = unsafe { bus.as_ref() }.ok_or(RgBusInvalid)?;
        let template = coded(bus.bus.template())?;
        give(out, coded(template.address(text(address)?))?.0);
        Ok(())
    })
}

/// Binds an address: every channel that ends in it.
///
/// # Safety
///
/// `bus` is open; `out` has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_bind(
    bus: *const rg_bus,
    address: u32,
    role: c_int,
    out: *mut *mut rg_bus_endpoint,
) -> c_int {
    run(|| {
        // SAFETY: C promises an open bus, or null.
        let bus = unsafe { bus.as_ref() }.ok_or(RgBusInvalid)?;
        let role = match role {
            0 => Role::Both,
            1 => Role::Send,
            2 => Role::Receive,
            _ => return Err(RgBusInvalid),
        };
        if out.is_null() {
            return Err(RgBusInvalid);
        }
        let handle = rg_bus_endpoint {
            endpoint: coded(bus.bus.bind_as(Address(address), role))?,
            busy: AtomicBool::new(false),
            peeked: None,
        };
        give(out, Box::into_raw(Box::new(handle)));
        Ok(())
    })
}

/// Acknowledges everything received and gives the address up. (A process that ends without it gets
/// its last message again, marked.) Null is nothing.
///
/// # Safety
///
/// `endpoint` came from `rg_bus_bind` and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_unbind(endpoint: *mut rg_bus_endpoint) {
    if !endpoint.is_null() {
        // SAFETY: made by Box::into_raw in rg_bus_bind, given back once.
        let handle = unsafe { Box::from_raw(endpoint) };
        let _ = catch_unwind(AssertUnwindSafe(|| handle.endpoint.close()));
    }
}

/// Sends a message, waiting at most so many milliseconds for room (0: not at all, negative: for
/// ever).
///
/// # Safety
///
/// `endpoint` is bound; `length` bytes lie at `data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_send(
    endpoint: *mut rg_bus_endpoint,
    to: u32,
    data: *const c_void,
    length: usize,
    wait_ms: i64,
) -> c_int {
    on(endpoint, |endpoint, _| {
        coded(endpoint.send(Address(to), bytes(data, length)?, wait(wait_ms))).map(|_| ())
    })
}

/// Sends one message that lies in parts, at most 64.
///
/// # Safety
///
/// `endpoint` is bound; `count` parts lie at `parts`, each as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_sendv(
    endpoint: *mut rg_bus_endpoint,
    to: u32,
    parts: *const rg_bus_part,
    count: usize,
    wait_ms: i64,
) -> c_int {
    on(endpoint, |endpoint, _| {
        if count > PARTS_MAX || (parts.is_null() && count > 0) {
            return Err(RgBusInvalid);
        }
        let mut slices: [&[u8]; PARTS_MAX] = [&[]; PARTS_MAX];
        for (nth, slice) in slices.iter_mut().enumerate().take(count) {
            // SAFETY: nth < count, and C promises so many parts.
            let part = unsafe { &*parts.add(nth) };
            *slice = bytes(part.data, part.length)?;
        }
        coded(endpoint.send_parts(Address(to), &slices[..count], wait(wait_ms))).map(|_| ())
    })
}

/// Sends to every channel of the address, without waiting; stores how many took it and how many
/// were full.
///
/// # Safety
///
/// `endpoint` is bound; `length` bytes lie at `data`; `sent` and `full` are null or have room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_broadcast(
    endpoint: *mut rg_bus_endpoint,
    data: *const c_void,
    length: usize,
    sent: *mut usize,
    full: *mut usize,
) -> c_int {
    on(endpoint, |endpoint, _| {
        let done = coded(endpoint.broadcast(bytes(data, length)?))?;
        give(sent, done.sent);
        give(full, done.full);
        Ok(())
    })
}

/// Receives a message into a buffer. `length` holds the room and then the bytes of the message,
/// also if it did not fit. The next receive acknowledges it.
///
/// # Safety
///
/// `endpoint` is bound; `*length` bytes have room at `buffer`; `message` is null or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_recv(
    endpoint: *mut rg_bus_endpoint,
    buffer: *mut c_void,
    length: *mut usize,
    message: *mut rg_bus_message,
    wait_ms: i64,
) -> c_int {
    on(endpoint, |endpoint, peeked| {
        let length = NonNull::new(length).ok_or(RgBusInvalid)?;
        // SAFETY: not null, and C promises one there.
        let room = unsafe { length.read() };
        let found = match *peeked {
            Some(found) => found,
            None => peek(endpoint, wait(wait_ms))?,
        };
        *peeked = Some(found);
        // SAFETY: as above.
        unsafe { length.write(found.length) };
        if found.length > room {
            return Err(RgBusBufferTooSmall);
        }
        if found.length > 0 {
            let buffer = NonNull::new(buffer.cast::<u8>()).ok_or(RgBusInvalid)?;
            // SAFETY: the message lies in its ring until it is acknowledged, which only this
            // endpoint does; C promises `room` bytes at buffer, and found.length fits.
            unsafe {
                std::ptr::copy_nonoverlapping(found.data.as_ptr(), buffer.as_ptr(), found.length)
            };
        }
        give(message, found.info);
        *peeked = None;
        Ok(())
    })
}

fn peek(endpoint: &mut Endpoint, wait: Wait) -> Result<Peeked, rg_bus_status> {
    let message = coded(endpoint.receive(wait))?;
    Ok(Peeked {
        data: NonNull::from(message.payload()).cast(),
        length: message.payload().len(),
        info: info(&message),
    })
}

/// Gives the next message where it lies, the same one until `rg_bus_delete` or `rg_bus_recv` takes
/// it. It stays readable until then.
///
/// # Safety
///
/// `endpoint` is bound; `data` and `length` have room; `message` is null or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_peek(
    endpoint: *mut rg_bus_endpoint,
    data: *mut *const c_void,
    length: *mut usize,
    message: *mut rg_bus_message,
    wait_ms: i64,
) -> c_int {
    on(endpoint, |endpoint, peeked| {
        let found = match *peeked {
            Some(found) => found,
            None => peek(endpoint, wait(wait_ms))?,
        };
        *peeked = Some(found);
        give(data, found.data.as_ptr().cast_const().cast());
        give(length, found.length);
        give(message, found.info);
        Ok(())
    })
}

/// Acknowledges everything received: a message that was peeked at is gone, one that was received
/// will not come again.
///
/// # Safety
///
/// `endpoint` is bound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_delete(endpoint: *mut rg_bus_endpoint) -> c_int {
    on(endpoint, |endpoint, peeked| {
        *peeked = None;
        endpoint.acknowledge();
        Ok(())
    })
}

/// Sends the message received last on to another address, noting where it came from.
///
/// # Safety
///
/// `endpoint` is bound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_forward(
    endpoint: *mut rg_bus_endpoint,
    to: u32,
    wait_ms: i64,
) -> c_int {
    on(endpoint, |endpoint, _| {
        coded(endpoint.forward(Address(to), wait(wait_ms))).map(|_| ())
    })
}

/// Answers the message received last: to its source, and on along the route it came by.
///
/// # Safety
///
/// `endpoint` is bound; `length` bytes lie at `data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_answer(
    endpoint: *mut rg_bus_endpoint,
    data: *const c_void,
    length: usize,
    wait_ms: i64,
) -> c_int {
    on(endpoint, |endpoint, _| {
        coded(endpoint.answer(bytes(data, length)?, wait(wait_ms))).map(|_| ())
    })
}

/// Sends an answer received last one step back along its route.
///
/// # Safety
///
/// `endpoint` is bound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rg_bus_backward(endpoint: *mut rg_bus_endpoint, wait_ms: i64) -> c_int {
    on(endpoint, |endpoint, _| {
        coded(endpoint.backward(wait(wait_ms))).map(|_| ())
    })
}
