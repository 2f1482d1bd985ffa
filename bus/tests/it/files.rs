//! Files that are no channels, of other versions, beyond the limits: a clear error, nothing lost.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use bus::channel::{Access, File};
use bus::{Error, Wait};

use crate::support::{Bed, at, spec};

fn open(path: &Path) -> bus::Result<File> {
    File::open(path, Access::Bind)
}

#[test]
fn a_file_of_the_wrong_size_is_refused() {
    let bed = Bed::with_pair(4096);
    let path = bed.join("0.0.1.1", "0.0.3.1", 4096);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let refused = open(&path).unwrap_err();
    assert!(matches!(&refused, Error::NotAChannel { why, .. } if why.contains("should have")));
    file.set_len(10).unwrap();
    assert!(open(&path).unwrap_err().to_string().contains("too short"));
    // The neighbour is not hurt, and what is no channel can be removed.
    assert!(bed.bus.bind("0.0.2.1").is_ok());
    bed.bus.remove(&path, false).unwrap();
}

#[test]
fn other_versions_are_named() {
    let bed = Bed::with_pair(4096);
    let path = bed
        .bus
        .path_of(bus::Template::default(), [at("0.0.1.1"), at("0.0.2.1")]);
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut newer: [u8; 512] = bytes[..512].try_into().unwrap();
    newer[10] = 3;
    newer[400] = 77;
    let sum = bus::crc::of(&newer[..508]);
    newer[508..].copy_from_slice(&sum.to_le_bytes());
    file.write_all_at(&newer, 0).unwrap();
    assert_eq!(open(&path).unwrap().header().minor, 3);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    a.send(at("0.0.2.1"), b"to a newer file", Wait::No).unwrap();
    b.receive(Wait::No).unwrap();
    newer[8] = 2;
    file.write_all_at(&newer, 0).unwrap();
    let refused = open(&path).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Version {
                found_major: 2,
                known: 1,
                ..
            }
        ),
        "{refused}"
    );
}

#[test]
fn only_user_and_group_may_use_it_and_its_memory_is_there() {
    let bed = Bed::with_pair(1 << 20);
    let path = bed
        .bus
        .path_of(bus::Template::default(), [at("0.0.1.1"), at("0.0.2.1")]);
    let meta = std::fs::metadata(path).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    assert!(
        meta.blocks() * 512 >= 2 << 20,
        "{} blocks of {} bytes",
        meta.blocks(),
        meta.len()
    );
    let directory = std::fs::metadata(bed.bus.path()).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o750);
}

#[test]
fn impossible_channels_are_refused_before_anything_is_made() {
    let bed = Bed::new();
    let same = bed
        .bus
        .create(&spec("0.0.1.1", "0.0.1.1", 4096))
        .unwrap_err();
    assert!(same.to_string().contains("same address"));
    let large = bed
        .bus
        .create(&spec("0.0.1.1", "0.0.2.1", 1 << 33))
        .unwrap_err();
    assert!(matches!(large, Error::BadSpec { .. }));
    let mut message = spec("0.0.1.1", "0.0.2.1", 4096);
    message.message_bytes_max = Some(1025);
    assert!(
        bed.bus
            .create(&message)
            .unwrap_err()
            .to_string()
            .contains("1024 bytes")
    );
    assert_eq!(std::fs::read_dir(bed.bus.path()).unwrap().count(), 0);
    bed.join("0.0.1.1", "0.0.2.1", 4096);
    let twice = bed
        .bus
        .create(&spec("0.0.2.1", "0.0.1.1", 4096))
        .unwrap_err();
    assert!(twice.to_string().contains("exists"), "{twice}");
    assert_eq!(std::fs::read_dir(bed.bus.path()).unwrap().count(), 1);
}

#[test]
fn a_bus_that_is_not_there_is_empty_and_names_what_to_do() {
    let bed = Bed::new();
    let bus = bus::Bus::open(&format!("{}/nowhere", bed.bus.path().display())).unwrap();
    assert!(bus.files(Access::View).unwrap().is_empty());
    let refused = bus.bind("0.0.1.1").unwrap_err().to_string();
    assert!(refused.contains("hooktool bus apply"), "{refused}");
}

#[test]
fn two_tools_do_not_change_a_bus_at_once() {
    let bed = Bed::new();
    let lock = bed.bus.lock().unwrap();
    assert!(
        bed.bus
            .lock()
            .unwrap_err()
            .to_string()
            .contains("another tool")
    );
    drop(lock);
    assert!(bed.bus.lock().is_ok());
}
