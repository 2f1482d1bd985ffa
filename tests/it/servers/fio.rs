//! fio writes, reads and checks its own checksums, with every engine that reaches a file by calls
//! the shim knows, buffered and direct.

use harness::bed::Bed;
use harness::both_modes;
use harness::mode::Mode;
use harness::run::run;
use harness::stage::tool;

both_modes!(psync, pvsync, libaio, posixaio);

fn psync(mode: Mode) {
    verify("psync", mode, true);
}

fn pvsync(mode: Mode) {
    verify("pvsync", mode, true);
}

fn libaio(mode: Mode) {
    verify("libaio", mode, false);
}

fn posixaio(mode: Mode) {
    verify("posixaio", mode, false);
}

/// Writes and checks a file, buffered and direct. `served`: the engine reads by calls that are
/// served.
fn verify(engine: &str, mode: Mode, served: bool) {
    let bed = Bed::new(&format!("fio-{engine}"), mode);
    for direct in ["0", "1"] {
        let hooked = bed.hooked();
        let mut words = vec![tool("fio").display().to_string()];
        words.extend(
            [
                "name=job",
                "filename=data",
                "size=8M",
                "bs=8k",
                "rw=randrw",
                "iodepth=8",
                "loops=2",
                "verify=crc32c",
                "verify_fatal=1",
                "minimal",
            ]
            .map(|flag| format!("--{flag}")),
        );
        words.push(format!("--ioengine={engine}"));
        words.push(format!("--direct={direct}"));
        run(&mut hooked.command(bed.path(), &words)).must_pass();
        let stats = hooked.final_stats();
        assert!(stats.count("writes") > 0, "{engine}: {}", stats.all);
        if served {
            stats.must_have_hits();
        }
    }
}
