//! Warming the hooked side: sequential passes until the node holds the data.
//!
//! Filling is limited by the disk (a block has to be read once), so the cap is lifted meanwhile
//! unless `--warm capped` asks for the real time. Before each pass the page cache is emptied,
//! because only blocks that come off the device are worth filling. The report says how long it
//! took; measured rounds are the steady state.

use std::path::Path;
use std::time::{Duration, Instant};

use super::rounds::empty;
use crate::cage::Cage;
use crate::cli::Warm;
use crate::error::Result;
use crate::report::Warmth;
use crate::stats::Hits;
use crate::stop;

/// Share of the data on the node that counts as warm.
const WARM: f64 = 0.995;

/// Passes without progress before giving up. A file must have been left alone for up to 10 s
/// before it is filled, so giving up takes longer than that.
const IDLE_PASSES_MAX: u32 = 4;

/// Most passes: what is not warm by then is said in the report.
const PASSES_MAX: u32 = 12;

/// Pause after a pass without progress.
const PAUSE: Duration = Duration::from_secs(3);

/// How long blocks may take to reach the node after a pass.
const DRAIN: Duration = Duration::from_secs(10);

/// What is warmed.
pub struct Cold<'a> {
    /// Its cage.
    pub cage: &'a Cage,
    /// Its files.
    pub data: &'a Path,
    /// Bytes that can be served remotely.
    pub bytes: u64,
}

/// Warms by `pass` until `hits` shows the data on the node.
pub fn warm(
    how: Warm,
    cold: &Cold,
    pass: &mut dyn FnMut() -> Result<()>,
    hits: &mut dyn FnMut() -> Result<Option<Hits>>,
) -> Result<Option<Warmth>> {
    if how == Warm::None || hits()?.is_none() {
        return Ok(None);
    }
    let begun = Instant::now();
    cold.cage.cap(how == Warm::Capped)?;
    let (mut passes, mut idle, mut held) = (0, 0, 0);
    let cold_still = |held: u64| (held as f64) < WARM * cold.bytes as f64;
    while idle < IDLE_PASSES_MAX && passes < PASSES_MAX && cold_still(held) {
        empty(cold.cage, cold.data);
        pass()?;
        passes += 1;
        let now = drained(hits)?;
        if now.saturating_sub(held) < cold.bytes / 100 {
            idle += 1;
            stop::sleep(PAUSE)?;
        } else {
            idle = 0;
        }
        held = now;
    }
    cold.cage.cap(true)?;
    Ok(Some(Warmth {
        seconds: begun.elapsed().as_secs_f64(),
        passes,
        capped: how == Warm::Capped,
        remote_bytes: held,
        data_bytes: cold.bytes,
    }))
}

/// Bytes on the node once they stopped growing.
fn drained(hits: &mut dyn FnMut() -> Result<Option<Hits>>) -> Result<u64> {
    let mut last = None;
    let stable = stop::until(DRAIN, || {
        stop::sleep(Duration::from_millis(200))?;
        let now = hits()?.map_or(0, |hits| hits.remote_bytes);
        let same = last.replace(now) == Some(now);
        Ok(same.then_some(now))
    })?;
    Ok(stable.or(last).unwrap_or(0))
}
