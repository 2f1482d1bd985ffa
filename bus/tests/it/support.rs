//! A bus in a directory of its own, gone with the test.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use bus::{Address, Bus, Endpoint, Role, Spec, Template};

/// A bus for one test.
pub struct Bed {
    pub bus: Bus,
    path: PathBuf,
}

impl Bed {
    pub fn new() -> Bed {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ramgrid-bus-test-{}-{nth}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let bus = Bus::open(path.to_str().unwrap()).unwrap();
        bus.make().unwrap();
        Bed { bus, path }
    }

    /// A bed with one channel between 0.0.1.1 and 0.0.2.1.
    pub fn with_pair(ring_bytes: u64) -> Bed {
        let bed = Bed::new();
        bed.join("0.0.1.1", "0.0.2.1", ring_bytes);
        bed
    }

    pub fn join(&self, a: &str, b: &str, ring_bytes: u64) -> PathBuf {
        self.bus.create(&spec(a, b, ring_bytes)).unwrap()
    }

    pub fn bind(&self, address: &str) -> Endpoint {
        self.bus.bind(address).unwrap()
    }

    pub fn bind_as(&self, address: &str, role: Role) -> Endpoint {
        self.bus.bind_as(at(address), role).unwrap()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

pub fn at(address: &str) -> Address {
    Template::default().address(address).unwrap()
}

pub fn spec(a: &str, b: &str, ring_bytes: u64) -> Spec {
    Spec {
        template: Template::default(),
        ends: [at(a), at(b)],
        ring_bytes: [ring_bytes; 2],
        message_bytes_max: None,
        is_summed: true,
        is_stamped: false,
        priority: 0,
        description: String::new(),
    }
}

/// A payload that says which message it is, of a length that differs.
pub fn payload(seq: u64) -> Vec<u8> {
    let length = 8 + (seq * 37 % 400) as usize;
    let mut bytes = seq.to_le_bytes().to_vec();
    bytes.extend((8..length).map(|at| (at as u64 ^ seq) as u8));
    bytes
}
