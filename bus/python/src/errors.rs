//! The bus's errors as Python exceptions, with the bus's own words.

use bus::Error;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;

create_exception!(
    ramgrid_bus,
    BusError,
    PyException,
    "Anything the bus refused."
);
create_exception!(
    ramgrid_bus,
    Full,
    BusError,
    "No room in the ring in the time given."
);
create_exception!(
    ramgrid_bus,
    Empty,
    BusError,
    "No message in the time given."
);
create_exception!(
    ramgrid_bus,
    NoChannel,
    BusError,
    "Nobody made such a channel."
);
create_exception!(
    ramgrid_bus,
    InUse,
    BusError,
    "Another process has this end."
);
create_exception!(
    ramgrid_bus,
    TooLarge,
    BusError,
    "The message can never fit."
);
create_exception!(
    ramgrid_bus,
    Damaged,
    BusError,
    "Messages were lost to damage; go on."
);
create_exception!(ramgrid_bus, Removed, BusError, "The channel was removed.");
create_exception!(ramgrid_bus, Forked, BusError, "Bound before a fork.");

/// The exception for an error.
pub fn told(error: Error) -> PyErr {
    let words = error.to_string();
    match error {
        Error::Full => Full::new_err(words),
        Error::Empty => Empty::new_err(words),
        Error::NoChannel { .. } => NoChannel::new_err(words),
        Error::Bound { .. } => InUse::new_err(words),
        Error::TooLarge { .. } => TooLarge::new_err(words),
        Error::Damaged { .. } | Error::Contradiction { .. } => Damaged::new_err(words),
        Error::Removed => Removed::new_err(words),
        Error::Forked => Forked::new_err(words),
        Error::System { .. } => PyOSError::new_err(words),
        _ => BusError::new_err(words),
    }
}

/// Adds them to the module.
///
/// # Errors
///
/// The interpreter's.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    for (name, class) in [
        ("BusError", py.get_type::<BusError>()),
        ("Full", py.get_type::<Full>()),
        ("Empty", py.get_type::<Empty>()),
        ("NoChannel", py.get_type::<NoChannel>()),
        ("InUse", py.get_type::<InUse>()),
        ("TooLarge", py.get_type::<TooLarge>()),
        ("Damaged", py.get_type::<Damaged>()),
        ("Removed", py.get_type::<Removed>()),
        ("Forked", py.get_type::<Forked>()),
    ] {
        module.add(name, class)?;
    }
    Ok(())
}
