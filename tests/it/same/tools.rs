//! git, rsync and tar on trees of files; and CPython's own tests of its file calls.

use std::path::Path;

use harness::bed::Bed;
use harness::both_modes;
use harness::files::{noise, text};
use harness::mode::Mode;
use harness::run::{assert_same, run};
use harness::tree::assert_same_tree;
use harness::warm::{run_warm, scratch};

both_modes!(git, rsync_and_tar);

/// Commits, packs, damages nothing, checks and clones.
const GIT: &str = "
export HOME=$PWD GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
git init -q -b main repo; cd repo; git config user.name t; git config user.email t@t
for n in 1 2 3 4 5 6; do
    cp -r ../tree/. .; echo $n >>text; git add -A; git commit -qm $n
done
git fsck --full --strict 2>&1; git gc -q --prune=now; git fsck --full 2>&1
git repack -qadf --depth=5; git fsck 2>&1; git log --format=%H
git cat-file --batch-all-objects --batch-check
cd ..; git clone -q --no-hardlinks repo copy; cd copy; git fsck 2>&1; git status --short
sha256sum text data
";

/// Copies by checksum, changes in place, copies again, packs and unpacks.
const COPIES: &str = "
rsync -a --checksum tree/ one/; rsync -a --inplace --no-whole-file one/ two/
printf changed | dd of=one/data bs=1 seek=5000 conv=notrunc status=none
truncate -s 30000 one/text
rsync -a --inplace --no-whole-file --checksum --itemize-changes one/ two/ | cut -c1-3
rsync -a --append-verify tree/ two/; diff -r one tree >/dev/null || echo differ
sha256sum one/* two/*
tar --sort=name --mtime=@0 --owner=0 --group=0 -cf all.tar one two; tar -df all.tar | wc -l
mkdir out; tar -xf all.tar -C out; sha256sum all.tar out/one/* out/two/*
tar --sort=name --mtime=@0 --owner=0 --group=0 -C out -rf all.tar one
tar -tf all.tar; rm -r one two
";

fn git(mode: Mode) {
    same_script("git", GIT, mode);
}

fn rsync_and_tar(mode: Mode) {
    same_script("copies", COPIES, mode);
}

fn same_script(name: &str, lines: &str, mode: Mode) {
    let bed = Bed::new(name, mode);
    let words = [Path::new("/bin/sh"), Path::new("-c"), Path::new(lines)];
    let place = |name: &str| {
        let dir = scratch(&bed, name);
        bed.dir_of(&format!("{name}/tree"));
        bed.write(&format!("{name}/tree/data"), &noise(1, 300_000));
        bed.write(&format!("{name}/tree/text"), &text(2, 100_000));
        dir
    };
    let (here, there) = (place("native"), place("hooked"));
    let native = run(&mut bed.native(&here, &words));
    assert!(native.text().len() > 500, "{}", native.story());
    let hooked = bed.hooked();
    let outcome = run_warm(&bed, &hooked, &there, &words);
    assert_same(&native, &outcome, name);
    if name == "copies" {
        assert_same_tree(&here, &there, name);
    }
    hooked.final_stats().must_have_hits();
}

/// `RAMGRID_PYTHON_TESTS` names others.
#[test]
fn cpython() {
    let bed = Bed::new("cpython", Mode::Normal);
    let named = std::env::var("RAMGRID_PYTHON_TESTS").ok();
    let names = named.unwrap_or("test_fileio test_file test_mmap test_fcntl test_tempfile".into());
    let dir = scratch(&bed, "hooked");
    let temporary = dir.display().to_string();
    let start = [
        "/usr/bin/python3",
        "-m",
        "test",
        "-q",
        "--tempdir",
        &temporary,
    ];
    let words: Vec<&str> = start
        .into_iter()
        .chain(names.split_ascii_whitespace())
        .collect();
    let hooked = bed.hooked();
    let outcome = run_warm(&bed, &hooked, &dir, &words).must_pass();
    assert!(outcome.text().contains("SUCCESS"), "{}", outcome.story());
    hooked.final_stats().must_have_hits();
}
