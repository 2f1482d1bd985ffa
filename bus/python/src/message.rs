//! A message as Python sees it: its bytes where they lie in the ring, by the buffer protocol.
//!
//! # Safety
//!
//! A view points into the mapping of the channel. The message keeps the `Channel` object, hence the
//! mapping; and while a view is out, the channel refuses whatever would acknowledge the message, so
//! that its sender does not write there. Both are counted under the interpreter's lock.
#![allow(unsafe_code)]

use std::os::raw::c_int;
use std::sync::atomic::Ordering;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::channel::Channel;

/// A message received. Its bytes may be looked at until the next receive.
#[pyclass(frozen, module = "ramgrid_bus")]
pub struct Message {
    channel: Py<Channel>,
    /// The channel's count of receives when it was handed out: it is valid while that stands.
    turn: u64,
    /// Address of the payload in the mapping.
    place: usize,
    bytes: usize,
    /// Number in its ring, from 1 without gaps.
    #[pyo3(get)]
    seq: u64,
    /// The address it came from.
    #[pyo3(get)]
    source: String,
    /// The address it came to.
    #[pyo3(get)]
    destination: String,
    /// Nanoseconds since 1970 at which it was sent, if noted.
    #[pyo3(get)]
    sent_ns: Option<u64>,
    /// It may have been handed out before, to a process that died.
    #[pyo3(get)]
    is_redelivered: bool,
    /// A tool sent it to try the channel.
    #[pyo3(get)]
    is_test: bool,
    /// It is an answer on its way back.
    #[pyo3(get)]
    is_backward: bool,
}

impl Message {
    /// What was just received on `channel`.
    pub fn new(
        channel: Py<Channel>,
        turn: u64,
        message: &bus::Message<'_>,
        show: impl Fn(bus::Address) -> String,
    ) -> Message {
        Message {
            channel,
            turn,
            place: message.payload().as_ptr().addr(),
            bytes: message.len(),
            seq: message.seq(),
            source: show(message.source()),
            destination: show(message.destination()),
            sent_ns: message.sent_ns(),
            is_redelivered: message.is_redelivered(),
            is_test: message.is_test(),
            is_backward: message.is_backward(),
        }
    }
}

#[pymethods]
impl Message {
    /// The bytes where they lie, as a read-only view. `bytes(message)` copies them.
    #[getter]
    fn payload<'py>(slf: &Bound<'py, Message>) -> PyResult<Bound<'py, PyMemoryView>> {
        PyMemoryView::from(slf.as_any())
    }

    fn __len__(&self) -> usize {
        self.bytes
    }

    /// An empty message is a message.
    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self) -> String {
        format!(
            "<message {} from {} to {}, {} bytes>",
            self.seq, self.source, self.destination, self.bytes
        )
    }

    /// # Safety
    ///
    /// Called by the interpreter, with a view it owns.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Message>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let message = slf.get();
        let channel = message.channel.get();
        if channel.turn.load(Ordering::Relaxed) != message.turn {
            return Err(PyBufferError::new_err(format!(
                "message {} is acknowledged, its place may be overwritten: copy it with bytes() \
                 before the next receive",
                message.seq
            )));
        }
        let place = std::ptr::with_exposed_provenance_mut(message.place);
        // SAFETY: so many bytes are mapped there while the channel lives, which `slf` keeps; the
        // view keeps `slf`; read-only, so nobody writes through it.
        let filled = unsafe {
            let bytes = message.bytes as ffi::Py_ssize_t;
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), place, bytes, 1, flags)
        };
        if filled != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        channel.views.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// # Safety
    ///
    /// Called by the interpreter, once for each view it got.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.channel.get().views.fetch_sub(1, Ordering::Relaxed);
    }
}
