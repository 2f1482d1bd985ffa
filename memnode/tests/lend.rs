//! `--memory auto` with a host of the test's own: what is given back, how, and what others notice.

mod support;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use memnode::host::Idle;
use memnode::{Config, Lend};
use support::{Embedded, MIB, WATCHDOG};

/// What the test's host has to spare.
static AVAILABLE_MIB: AtomicU64 = AtomicU64::new(4096);

fn look() -> Option<Idle> {
    let available_bytes = AVAILABLE_MIB.load(Relaxed) << 20;
    Some(Idle {
        total_bytes: 8 << 30,
        available_bytes,
        free_bytes: available_bytes,
        stalled: Duration::ZERO,
    })
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = text.split_whitespace().nth(1).unwrap();
    pages.parse::<usize>().unwrap() * 4096
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < WATCHDOG, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn memory_goes_back_to_the_host_coldest_first_and_comes_again() {
    // Intent: a full node in a host in need: resident memory falls, what is read often stays, what
    // is served stays right; and when the need is over it grows again.
    let node = Embedded::start(Config {
        lend: Some(Lend {
            floor_bytes: 128 * MIB,
            begin_bytes: 256 * MIB,
        }),
        host: look,
        ..Config::new(256 * MIB)
    });
    let mut wire = node.connect();
    let block = |n: u32| vec![n as u8; 4096];
    for start in (0..60_000u32).step_by(50) {
        let requests = (start..start + 50)
            .flat_map(|n| support::encoded(&[b"SET", &n.to_le_bytes(), &block(n)]));
        wire.send(&requests.collect::<Vec<u8>>());
        wire.expect(&b"+OK\r\n".repeat(50));
    }
    let hot: Vec<u32> = (0..60_000).rev().take(1000).collect();
    let mut read = |n: u32| {
        wire.command(&[b"GET", &n.to_le_bytes()]);
        let head = wire.line();
        match head.as_str() {
            "$-1" => false,
            "$4096" => {
                assert!(wire.bytes(4098)[..4096] == block(n), "block {n}");
                true
            }
            other => panic!("{other}"),
        }
    };
    assert!(hot.iter().all(|n| read(*n)));
    let full = node.node.stats();
    assert!(full.memory_bytes <= 256 * MIB as u64 && full.used_bytes > 200 * MIB as u64);
    let before = resident_bytes();
    AVAILABLE_MIB.store(700, Relaxed);
    until("it gave nothing back", || {
        node.node.stats().given_back_bytes > 0
    });
    until("it is not at its floor", || {
        AVAILABLE_MIB.store(100, Relaxed);
        node.node.stats().memory_bytes == 128 * MIB as u64
    });
    until("the kernel did not get it", || {
        resident_bytes() + 80 * MIB < before
    });
    AVAILABLE_MIB.store(4096, Relaxed);
    let kept = hot.iter().filter(|n| read(**n)).count();
    assert!(kept > 990, "{kept} of 1000 blocks that were read are left");
    assert!((0..60_000).filter(|n| read(*n)).count() > 5_000);
    let mut fresh = node.connect();
    until("it did not take again", || {
        for n in 0..200u32 {
            fresh.command(&[b"SET", &(n + 100_000).to_le_bytes(), &block(n)]);
            fresh.expect(b"+OK\r\n");
        }
        node.node.stats().memory_bytes > 128 * MIB as u64
    });
}
