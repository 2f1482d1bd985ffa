//! ^C, SIGTERM and SIGHUP: a flag that every wait in the lab looks at.
//!
//! The lab owns control groups, servers and gigabytes of run data. A signal therefore never ends
//! it on the spot: it sets the flag, the current wait returns `Error::Stopped`, and the guards
//! clean up on the way out. Children run in process groups of their own, so that a ^C at the
//! terminal reaches the lab alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{Because, Error, Result};

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// How often waits look at the flag.
const LOOK: Duration = Duration::from_millis(5);

/// Installs the handlers; called once by `main` for the commands that own things.
pub fn install() -> Result<()> {
    let flag = Arc::clone(STOP.get_or_init(Arc::default));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .because(|| "installing the signal handlers")?;
    }
    Ok(())
}

/// Whether a signal asked the lab to end.
pub fn requested() -> bool {
    STOP.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Fails once a signal arrived.
pub fn check() -> Result<()> {
    if requested() {
        Err(Error::Stopped)
    } else {
        Ok(())
    }
}

/// Sleeps, unless a signal arrives.
pub fn sleep(time: Duration) -> Result<()> {
    until(time, || Ok(None::<()>)).map(|_| ())
}

/// Asks `probe` until it answers or `time` is over (`None`), unless a signal arrives.
pub fn until<T>(time: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + time;
    loop {
        check()?;
        if let Some(answer) = probe()? {
            return Ok(Some(answer));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(left.min(LOOK));
    }
}
