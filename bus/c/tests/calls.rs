//! The functions C calls, called the way a careless C program would.
//!
//! # Safety
//!
//! Plain calls with pointers to what lives in the test.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{null, null_mut};

use bus::{Address, Bus, Spec, Template};
use ramgrid_bus::*;

const HERE: u32 = 0x101;
const THERE: u32 = 0x201;

/// Both ends of a channel in a directory of its own.
struct Pair {
    path: std::path::PathBuf,
    bus: *mut rg_bus,
    near: *mut rg_bus_endpoint,
    far: *mut rg_bus_endpoint,
}

impl Pair {
    fn new(name: &str) -> Pair {
        let name = format!("ramgrid-bus-calls-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = Bus::open(path.to_str().unwrap()).unwrap();
        made.make().unwrap();
        let spec = Spec {
            template: Template::default(),
            ends: [Address(HERE), Address(THERE)],
            ring_bytes: [4096; 2],
            message_bytes_max: None,
            is_summed: true,
            is_stamped: false,
            priority: 0,
            description: String::new(),
        };
        made.create(&spec).unwrap();
        let words = CString::new(path.to_str().unwrap()).unwrap();
        let mut pair = Pair {
            path,
            bus: null_mut(),
            near: null_mut(),
            far: null_mut(),
        };
        // SAFETY: a text, and room for a pointer each.
        unsafe {
            assert_eq!(rg_bus_open(words.as_ptr(), &raw mut pair.bus), 0);
            assert_eq!(rg_bus_bind(pair.bus, HERE, 0, &raw mut pair.near), 0);
            assert_eq!(rg_bus_bind(pair.bus, THERE, 0, &raw mut pair.far), 0);
        }
        pair
    }

    fn send(&self, payload: &[u8]) -> c_int {
        let data = payload.as_ptr().cast::<c_void>();
        // SAFETY: a bound endpoint, and a slice.
        unsafe { rg_bus_send(self.near, THERE, data, payload.len(), 0) }
    }

    /// Status, bytes (or the length that was needed).
    fn receive(&self, room: usize) -> (c_int, Vec<u8>, usize) {
        let (mut buffer, mut length) = (vec![0u8; room], room);
        let data = buffer.as_mut_ptr().cast::<c_void>();
        // SAFETY: a bound endpoint, a buffer of that length.
        let status = unsafe { rg_bus_recv(self.far, data, &raw mut length, null_mut(), 0) };
        buffer.truncate(length);
        (status, buffer, length)
    }

    fn peek(&self) -> (c_int, Vec<u8>) {
        let (mut data, mut length) = (null::<c_void>(), 0);
        // SAFETY: a bound endpoint, and room for the results.
        let status =
            unsafe { rg_bus_peek(self.far, &raw mut data, &raw mut length, null_mut(), 0) };
        if status != 0 {
            return (status, Vec::new());
        }
        // SAFETY: peek gave so many bytes there, until the next call.
        (
            0,
            unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) }.to_vec(),
        )
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // SAFETY: given back once.
        unsafe {
            rg_bus_unbind(self.near);
            rg_bus_unbind(self.far);
            rg_bus_close(self.bus);
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[test]
fn messages_stay_until_they_are_taken() {
    let pair = Pair::new("taken");
    assert_eq!((pair.send(b"one"), pair.send(b"two")), (0, 0));
    assert_eq!(pair.peek(), (0, b"one".to_vec()));
    assert_eq!(pair.peek(), (0, b"one".to_vec()));
    assert_eq!(
        pair.receive(2),
        (RgBusBufferTooSmall as c_int, vec![0; 2], 3)
    );
    assert_eq!(pair.receive(3).1, b"one");
    assert_eq!(pair.peek().1, b"two");
    // SAFETY: a bound endpoint.
    assert_eq!(unsafe { rg_bus_delete(pair.far) }, 0);
    assert_eq!(pair.peek().0, RgBusEmpty as c_int);
}

#[test]
fn parts_routes_and_everybody() {
    let pair = Pair::new("parts");
    let parts = [&b"a "[..], b"", b"whole"].map(|part| rg_bus_part {
        data: part.as_ptr().cast(),
        length: part.len(),
    });
    let (mut sent, mut full) = (9, 9);
    // SAFETY: bound endpoints, slices, and room for the results.
    unsafe {
        assert_eq!(
            rg_bus_sendv(pair.near, THERE, parts.as_ptr(), parts.len(), 0),
            0
        );
        assert_eq!(pair.receive(64).1, b"a whole");
        assert_eq!(rg_bus_forward(pair.far, HERE, 0), 0);
        assert_eq!(rg_bus_answer(pair.far, b"yes".as_ptr().cast(), 3, 0), 0);
        assert_eq!(rg_bus_backward(pair.far, 0), RgBusLimit as c_int);
        let data = b"all".as_ptr().cast();
        assert_eq!(
            rg_bus_broadcast(pair.near, data, 3, &raw mut sent, &raw mut full),
            0
        );
    }
    assert_eq!((sent, full), (1, 0));
}

#[test]
fn mistakes_get_a_code_and_words() {
    let pair = Pair::new("mistakes");
    assert_eq!(pair.send(&[0; 1025]), RgBusTooLarge as c_int);
    let words = || {
        // SAFETY: the words live until the next error.
        let words = unsafe { CStr::from_ptr(rg_bus_last_error()) };
        words.to_str().unwrap().to_string()
    };
    assert!(words().contains("1025 bytes are too large"), "{}", words());
    while pair.send(&[0; 900]) == 0 {}
    assert_eq!(pair.send(&[0; 900]), RgBusFull as c_int);
    let (mut again, mut nothing, mut address) = (null_mut(), null_mut(), 0);
    // SAFETY: null is what is tried; the rest is as it should be.
    unsafe {
        assert_eq!(
            rg_bus_bind(pair.bus, HERE, 0, &raw mut again),
            RgBusBound as c_int
        );
        assert!(
            words().contains(&format!("pid {}", std::process::id())),
            "{}",
            words()
        );
        assert_eq!(
            rg_bus_bind(pair.bus, 0x999, 0, &raw mut again),
            RgBusNoChannel as c_int
        );
        assert_eq!(
            rg_bus_bind(pair.bus, HERE, 7, &raw mut again),
            RgBusInvalid as c_int
        );
        assert_eq!(
            rg_bus_send(null_mut(), THERE, null(), 0, 0),
            RgBusInvalid as c_int
        );
        assert_eq!(
            rg_bus_send(pair.near, THERE, null(), 5, 0),
            RgBusInvalid as c_int
        );
        assert_eq!(rg_bus_open(null(), &raw mut nothing), RgBusInvalid as c_int);
        let text = c"0.0.2.1".as_ptr();
        assert_eq!(rg_bus_address(pair.bus, text, &raw mut address), 0);
        let text = c"0.0.2".as_ptr();
        assert_eq!(
            rg_bus_address(pair.bus, text, null_mut()),
            RgBusBadAddress as c_int
        );
        rg_bus_unbind(null_mut());
        rg_bus_close(null_mut());
    }
    assert_eq!(address, THERE);
}

/// Two threads at once on one endpoint: the second is refused, whatever the first does.
#[test]
fn an_endpoint_in_use_is_busy() {
    let pair = Pair::new("busy");
    let far = pair.far as usize;
    let waiter = std::thread::spawn(move || {
        let (mut byte, mut length) = (0u8, 1);
        let data = (&raw mut byte).cast::<c_void>();
        let far = far as *mut rg_bus_endpoint;
        // SAFETY: a bound endpoint; the other thread is refused while this one is inside.
        unsafe { rg_bus_recv(far, data, &raw mut length, null_mut(), -1) }
    });
    // SAFETY: a bound endpoint.
    while unsafe { rg_bus_delete(pair.far) } != RgBusBusy as c_int {
        std::thread::yield_now();
    }
    assert_eq!(pair.send(b"x"), 0);
    assert_eq!(waiter.join().unwrap(), 0);
}
