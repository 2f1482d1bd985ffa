//! fio writes, reads and checks its own checksums, with every engine it has that reaches a file,
//! buffered and direct, and in several processes on one file.

use harness::bed::Bed;
use harness::both_modes;
use harness::mode::Mode;
use harness::run::run;
use harness::stage::tool;
use harness::stats::Stats;

both_modes!(
    positional,
    at_the_offset,
    asynchronous,
    mapped,
    several_processes
);

/// Engines whose reads are served.
fn positional(mode: Mode) {
    for engine in ["psync", "pvsync", "pvsync2"] {
        for stats in verify(engine, mode, &[]) {
            stats.must_have_hits();
        }
    }
}

/// Engines that read and write at the file offset, or by `splice`.
fn at_the_offset(mode: Mode) {
    for engine in ["sync", "vsync", "splice"] {
        verify(engine, mode, &[]);
    }
}

/// Engines whose writes land later.
fn asynchronous(mode: Mode) {
    for engine in ["libaio", "posixaio", "io_uring"] {
        verify(engine, mode, &[]);
    }
}

/// Writes that no call shows.
fn mapped(mode: Mode) {
    verify("mmap", mode, &[]);
}

/// Three processes, each with a third of one file: the blocks of one are not those of another.
fn several_processes(mode: Mode) {
    let thirds = ["--numjobs=3", "--offset_increment=8M"];
    for engine in ["psync", "pvsync2"] {
        for stats in verify(engine, mode, &thirds) {
            stats.must_have_hits();
        }
    }
    // Not `mmap`: its jobs truncate the file under each other, natively as well.
    for engine in ["sync", "libaio", "posixaio", "io_uring"] {
        verify(engine, mode, &thirds);
    }
}

/// Writes and checks a file, buffered and direct.
fn verify(engine: &str, mode: Mode, more: &[&str]) -> [Stats; 2] {
    let bed = Bed::new(&format!("fio-{engine}"), mode);
    ["0", "1"].map(|direct| {
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
        words.extend(more.iter().map(|flag| flag.to_string()));
        words.push(format!("--ioengine={engine}"));
        words.push(format!("--direct={direct}"));
        run(&mut hooked.command(bed.path(), &words)).must_pass();
        let stats = hooked.final_stats();
        // What a ring or a mapping writes, no hook can count.
        let silent = ["io_uring", "mmap"].contains(&engine);
        assert!(
            silent || stats.count("writes") > 0,
            "{engine}: {}",
            stats.all
        );
        stats
    })
}
