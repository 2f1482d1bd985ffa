//! The native half of the Python package `ramgrid_bus` (`bus/python/ramgrid_bus`, which adds the
//! asyncio reader and the type stubs). Built by maturin; never used from Rust.
//!
//! A `Channel` is a bound address. Its endpoint is touched under the interpreter's lock, except
//! while a send waits for room; waiting for a message happens in a `Waiter`, with neither lock.

mod channel;
mod errors;
mod message;

use bus::channel::Access;
use pyo3::prelude::*;

use crate::channel::Channel;
use crate::errors::told;
use crate::message::Message;

/// A directory of channels.
#[pyclass(frozen, module = "ramgrid_bus")]
struct Bus {
    bus: bus::Bus,
}

#[pymethods]
impl Bus {
    #[new]
    #[pyo3(signature = (name = "default"))]
    fn new(name: &str) -> PyResult<Bus> {
        let bus = bus::Bus::open(name).map_err(told)?;
        Ok(Bus { bus })
    }

    /// The directory.
    #[getter]
    fn path(&self) -> std::path::PathBuf {
        self.bus.path().to_path_buf()
    }

    /// Binds an address: every channel that ends there.
    #[pyo3(signature = (address, role = "both"))]
    fn bind(&self, address: &str, role: &str) -> PyResult<Channel> {
        Channel::bind(&self.bus, address, role)
    }

    /// Makes a channel between two addresses; `hooktool bus apply` makes many from a table.
    #[pyo3(signature = (
        first, second, *, send = bus::RING_BYTES_DEFAULT, receive = bus::RING_BYTES_DEFAULT,
        message_max = None, checksum = true, timestamps = false, description = String::new()
    ))]
    #[allow(clippy::too_many_arguments)]
    fn create(
        &self,
        first: &str,
        second: &str,
        send: u64,
        receive: u64,
        message_max: Option<u64>,
        checksum: bool,
        timestamps: bool,
        description: String,
    ) -> PyResult<()> {
        self.bus.make().map_err(told)?;
        let template = self.bus.template().map_err(told)?;
        let address = |text: &str| template.address(text).map_err(told);
        let spec = bus::Spec {
            template,
            ends: [address(first)?, address(second)?],
            ring_bytes: [send, receive],
            message_bytes_max: message_max,
            is_summed: checksum,
            is_stamped: timestamps,
            priority: 0,
            description,
        };
        self.bus.create(&spec).map_err(told)?;
        Ok(())
    }

    /// Removes a channel; refused while a living process has an end of it, unless `force`.
    #[pyo3(signature = (first, second, *, force = false))]
    fn remove(&self, first: &str, second: &str, force: bool) -> PyResult<()> {
        let template = self.bus.template().map_err(told)?;
        let address = |text: &str| template.address(text).map_err(told);
        let path = self
            .bus
            .path_of(template, [address(first)?, address(second)?]);
        self.bus.remove(&path, force).map_err(told)
    }

    /// The pairs of addresses that have a channel, oldest first.
    fn channels(&self) -> PyResult<Vec<(String, String)>> {
        let files = self.bus.files(Access::View).map_err(told)?;
        let ends = files.into_iter().flatten().map(|file| {
            let header = file.header();
            let [first, second] = header.ends.map(|end| header.template.show(end).to_string());
            (first, second)
        });
        Ok(ends.collect())
    }

    fn __repr__(&self) -> String {
        format!("Bus({:?})", self.bus.path().display().to_string())
    }
}

/// The module `ramgrid_bus._native`.
#[pymodule(name = "_native")]
fn native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Bus>()?;
    module.add_class::<Channel>()?;
    module.add_class::<Message>()?;
    errors::add(module)
}
