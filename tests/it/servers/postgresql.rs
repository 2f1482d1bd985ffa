//! PostgreSQL under pgbench, restarted, crashed and restarted again, hooked all along.

use harness::bed::Bed;
use harness::both_modes;
use harness::mode::Mode;
use harness::postgres::Postgres;
use harness::session::Hooked;

both_modes!(with_checksums, without_checksums, owned);

fn with_checksums(mode: Mode) {
    life(mode, true, false, false);
}

fn without_checksums(mode: Mode) {
    life(mode, false, false, false);
}

/// Blocks are encrypted on the node, and decrypted by every backend.
#[test]
fn sealed() {
    life(Mode::Normal, true, false, true);
}

/// With `--own`, identity alone is compared: what the documents propose for PostgreSQL.
fn owned(mode: Mode) {
    life(mode, true, true, false);
}

fn line<'a>(bed: &'a Bed, postgres: &Postgres, own: bool, sealed: bool) -> Hooked<'a> {
    let hooked = match sealed {
        true => bed.hooked().sealed(Some("postgres")),
        false => bed.hooked(),
    };
    if own {
        hooked.flag("--own", postgres.dir().join("**"))
    } else {
        hooked
    }
}

/// Everything a server goes through.
fn life(mode: Mode, checksums: bool, own: bool, sealed: bool) {
    let bed = Bed::new("pg", mode);
    let mut postgres = Postgres::init(&bed, checksums);
    let words = postgres.server_words();

    let first = line(&bed, &postgres, own, sealed);
    postgres.start(first.command(bed.path(), &words));
    postgres.pgbench(&["-i", "-q", "-s", "3"]);
    mixed_load(&postgres);
    postgres.sql("vacuum full pgbench_tellers");
    postgres.sql("create index on pgbench_accounts(abalance)");
    mixed_load(&postgres);
    postgres.must_be_clean();
    first.wait_stats("reads are served", |stats| stats.hits() > 1000);
    assert!(
        postgres.stop().success(),
        "a fast shutdown exits 0\n{}",
        postgres.log_text()
    );
    first.final_stats().must_have_hits();

    let second = line(&bed, &postgres, own, sealed);
    postgres.start(second.command(bed.path(), &words));
    postgres.must_be_clean();
    mixed_load(&postgres);
    postgres.crash();

    let third = line(&bed, &postgres, own, sealed);
    postgres.start(third.command(bed.path(), &words));
    assert!(
        postgres.log_text().contains("automatic recovery"),
        "it was no crash"
    );
    postgres.must_be_clean();
    mixed_load(&postgres);
    postgres.must_be_clean();
    third.wait_stats("reads are served", |stats| stats.hits() > 1000);
    assert!(postgres.stop().success());

    // What lies on the disk is right without the grid, too.
    if checksums {
        postgres.check_sums_offline();
    }
    postgres.start(bed.native(bed.path(), &words));
    postgres.must_be_clean();
    assert!(postgres.stop().success());
}

fn mixed_load(postgres: &Postgres) {
    postgres.pgbench(&["-n", "-c", "4", "-j", "2", "-t", "150"]);
    postgres.pgbench(&["-n", "-c", "4", "-j", "2", "-t", "1500", "-S"]);
    postgres.pgbench(&[
        "-n",
        "-c",
        "4",
        "-j",
        "2",
        "-t",
        "300",
        "-b",
        "simple-update@3",
        "-b",
        "select-only@7",
    ]);
}
