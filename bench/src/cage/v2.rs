//! Control groups version 2: the `memory` and `io` controllers of the unified hierarchy.

use std::fs;
use std::path::Path;

use super::{UNCAPPED_IOPS, write};
use crate::error::{Because, Result, unexpected};

pub fn limit_memory(dir: &Path, bytes: u64) -> Result<()> {
    write(dir, "memory.max", &bytes.to_string())?;
    // Shared memory must stay in memory: swapping it would measure another disk.
    let _ = write(dir, "memory.swap.max", "0");
    Ok(())
}

pub fn cap_reads(dir: &Path, device: &str, iops: u32) -> Result<()> {
    let value = if iops >= UNCAPPED_IOPS {
        "max".into()
    } else {
        iops.to_string()
    };
    write(dir, "io.max", &format!("{device} riops={value}"))
}

/// Linux 5.19 and later; before that the lab's `posix_fadvise` on the files has to do.
pub fn empty(dir: &Path) {
    let _ = write(dir, "memory.reclaim", "1073741824");
}

pub fn reads(dir: &Path, device: &str) -> Result<u64> {
    let path = dir.join("io.stat");
    let text = fs::read_to_string(&path).because(|| path.display().to_string())?;
    parse(&text, device).ok_or_else(|| unexpected(path.display().to_string(), &text))
}

/// `254:0 rbytes=.. wbytes=.. rios=.. wios=..`; a device without a line was not used yet.
fn parse(text: &str, device: &str) -> Option<u64> {
    let Some(line) = text
        .lines()
        .find(|line| line.split(' ').next() == Some(device))
    else {
        return Some(0);
    };
    let rios = line.split(' ').find_map(|word| word.strip_prefix("rios="));
    rios.map_or(Some(0), |number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_of_one_device_are_found() {
        let text = "8:0 rbytes=1 wbytes=0 rios=9 wios=0 dbytes=0 dios=0\n254:0\n";
        assert_eq!(parse(text, "8:0"), Some(9));
        assert_eq!(parse(text, "254:0"), Some(0));
        assert_eq!(parse("", "254:0"), Some(0));
        assert_eq!(parse("8:0 rios=x\n", "8:0"), None);
    }
}
