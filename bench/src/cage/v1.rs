//! Control groups version 1: the `memory` and `blkio` hierarchies.

use std::fs;
use std::path::Path;

use super::write;
use crate::error::{Because, Result, unexpected};

pub fn limit_memory(dir: &Path, bytes: u64) -> Result<()> {
    write(dir, "memory.limit_in_bytes", &bytes.to_string())?;
    // Shared memory must stay in memory: swapping it would measure another disk.
    let _ = write(dir, "memory.swappiness", "0");
    Ok(())
}

pub fn cap_reads(dir: &Path, device: &str, iops: u32) -> Result<()> {
    write(
        dir,
        "blkio.throttle.read_iops_device",
        &format!("{device} {iops}"),
    )
}

pub fn empty(dir: &Path) {
    let _ = write(dir, "memory.force_empty", "0");
}

pub fn reads(dir: &Path, device: &str) -> Result<u64> {
    let path = dir.join("blkio.throttle.io_serviced");
    let text = fs::read_to_string(&path).because(|| path.display().to_string())?;
    parse(&text, device).ok_or_else(|| unexpected(path.display().to_string(), &text))
}

/// `254:0 Read 48587`; a device without a line was not used yet.
fn parse(text: &str, device: &str) -> Option<u64> {
    let prefix = format!("{device} Read ");
    match text.lines().find_map(|line| line.strip_prefix(&prefix)) {
        Some(number) => number.parse().ok(),
        None => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_of_one_device_are_found() {
        let text = "8:0 Read 7\n254:0 Read 48587\n254:0 Write 35\nTotal 48629\n";
        assert_eq!(parse(text, "254:0"), Some(48587));
        assert_eq!(parse(text, "8:0"), Some(7));
        assert_eq!(parse("Total 0\n", "254:0"), Some(0));
        assert_eq!(parse("254:0 Read many\n", "254:0"), None);
    }
}
