//! Coreutils and their friends, one session per command line.

use std::path::Path;

use harness::bed::Bed;
use harness::both_modes;
use harness::files::{noise, text};
use harness::mode::Mode;
use harness::run::{assert_same, run_with_input};
use harness::tree::assert_same_tree;

both_modes!(read_files, write_files, pipelines);

/// Lines that read.
const READERS: &str = "
cat data
cat data text -
sha256sum data text
sort text
sort -S 64k -T . -n text
sort -u -o sorted text
tail -n 100 text
tail -c 5000 data
head -c 12345 data
od -A d -t x1z data
wc text data
tac text
cmp data data
cmp data text
diff text data
comm text text
join text text
uniq -c text
base64 data
fold -w 20 text
nl text
shuf --random-source=data text
cksum data
md5sum data
grep -c word text
cut -d w -f 1 text
dd if=data bs=4096 skip=3 count=7 status=none
dd if=data iflag=direct bs=4096 count=8 status=none
stat -c %s data
cat missing
ls
";

/// Lines that write.
const WRITERS: &str = "
cp data copy
cp --sparse=always data sparse
cp --reflink=auto -a data archive
dd if=data of=out bs=777 conv=notrunc status=none
dd if=text of=data bs=4096 seek=5 conv=notrunc status=none
dd if=text of=data oflag=append conv=notrunc status=none
dd if=data of=direct oflag=direct bs=4096 count=16 status=none
truncate -s 1000 data
truncate -s 1M data
fallocate -l 200000 data
fallocate -p -o 4096 -l 8192 data
split -b 10000 data part-
csplit -s text 100 200 300
tee one two
install -m 640 data installed
mv text data
ln data hard
ln -s data soft
rm data
tar --create --file=all.tar --sort=name --mtime=@0 --owner=0 --group=0 data text
gzip -n -k data
sed -i s/word/WORD/ text
shred -n 1 --random-source=data -x text
sync data
mkfifo pipe
";

fn lines(of: &str) -> impl Iterator<Item = &str> {
    of.lines().filter(|line| !line.is_empty())
}

fn furnish(dir: &Path) {
    std::fs::create_dir_all(dir).expect("make a directory");
    std::fs::write(dir.join("data"), noise(1, 300_001)).expect("write data");
    std::fs::write(dir.join("text"), text(2, 200_000)).expect("write text");
}

/// Runs one line both ways, in directories of its own.
fn same_line(bed: &Bed, nth: usize, words: &[&str]) {
    let (here, there) = (
        bed.join(format!("native-{nth}")),
        bed.join(format!("hooked-{nth}")),
    );
    furnish(&here);
    furnish(&there);
    let input = text(3, 50_000);
    let native = run_with_input(&mut bed.native(&here, words), &input);
    let hooked = bed.hooked();
    let outcome = run_with_input(&mut hooked.command(&there, words), &input);
    let what = words.join(" ");
    assert_same(&native, &outcome, &what);
    assert_same_tree(&here, &there, &what);
    hooked.final_stats();
}

fn read_files(mode: Mode) {
    let bed = Bed::new("readers", mode);
    for (nth, line) in lines(READERS).enumerate() {
        same_line(&bed, nth, &line.split(' ').collect::<Vec<_>>());
    }
}

fn write_files(mode: Mode) {
    let bed = Bed::new("writers", mode);
    for (nth, line) in lines(WRITERS).enumerate() {
        same_line(&bed, nth, &line.split(' ').collect::<Vec<_>>());
    }
}

fn pipelines(mode: Mode) {
    let bed = Bed::new("pipelines", mode);
    let scripts = [
        "cat | sort | uniq -c | tail -5",
        "sort text | tee copy | tail -3; cat copy | wc -l",
        "cat data | dd bs=1k status=none | sha256sum",
        "cp data a && cmp data a && mv a b && tail -c 10 b | od -c",
        "(cat text; cat data) | gzip -nc | gunzip -c | md5sum",
        "for i in 1 2 3 4 5; do head -c $((i*1000)) data >> log; done; wc -c < log",
        "exec 5<data; head -c 10 <&5 >/dev/null; cat <&5 | wc -c",
        "exec 5<>data; echo changed >&5; exec 5>&-; head -c 20 data | od -c",
        "cat <<END\nhere document $((40+2))\nEND",
        "set -e; false; echo never",
        "tar cf - --sort=name --mtime=@0 data text | tar tvf - | awk '{print $3, $6}'",
        "yes | head -100000 | wc",
    ];
    for (nth, script) in scripts.iter().enumerate() {
        same_line(&bed, nth, &["/bin/sh", "-c", script]);
    }
}
