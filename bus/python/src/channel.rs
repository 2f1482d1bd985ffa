//! A bound address as Python sees it.
//!
//! Whatever may acknowledge (receiving, closing) is refused while somebody holds a view of the
//! message handed out last. Waiting goes on in slices, so that Ctrl-C is heard.
//!
//! # Safety
//!
//! The bytes of a caller's buffer are read in place. The buffer is held exported meanwhile, which
//! keeps it where it is; a program that changes it from another thread sends a mixture.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bus::{Endpoint, Error, Role, Wait, Waiter};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::told;
use crate::message::Message;

/// Longest wait between two looks at signals.
const SLICE: Duration = Duration::from_millis(50);

/// All channels of an address.
#[pyclass(frozen, module = "ramgrid_bus")]
pub struct Channel {
    endpoint: Mutex<Option<Endpoint>>,
    waiter: Mutex<Waiter>,
    /// Receives so far.
    pub turn: AtomicU64,
    /// Views of the last message that are out.
    pub views: AtomicUsize,
    address: String,
}

impl Channel {
    /// Binds an address.
    ///
    /// # Errors
    ///
    /// As the bus; `ValueError` for a role that is none.
    pub fn bind(bus: &bus::Bus, address: &str, role: &str) -> PyResult<Channel> {
        let role = match role {
            "both" => Role::Both,
            "send" => Role::Send,
            "receive" => Role::Receive,
            _ => {
                let words = format!("role {role:?} is none: write both, send or receive");
                return Err(PyValueError::new_err(words));
            }
        };
        let template = bus.template().map_err(told)?;
        let parsed = template.address(address).map_err(told)?;
        let endpoint = bus.bind_as(parsed, role).map_err(told)?;
        Ok(Channel {
            waiter: Mutex::new(endpoint.waiter()),
            endpoint: Mutex::new(Some(endpoint)),
            turn: AtomicU64::new(0),
            views: AtomicUsize::new(0),
            address: address.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Endpoint>> {
        // A panic inside left the endpoint in one piece: everything in it can be learnt anew.
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Endpoint) -> bus::Result<T>) -> PyResult<T> {
        match self.lock().as_mut() {
            Some(endpoint) => act(endpoint).map_err(told),
            None => Err(PyValueError::new_err("the channel is closed")),
        }
    }

    /// Acknowledges nothing yet, but makes sure that nobody looks at what may be acknowledged.
    fn turn_over(&self) -> PyResult<u64> {
        match self.views.load(Ordering::Relaxed) {
            0 => Ok(self.turn.fetch_add(1, Ordering::Relaxed) + 1),
            views => Err(PyBufferError::new_err(format!(
                "{views} view(s) of the last message are still held: release() them first"
            ))),
        }
    }

    /// Tries until it is done or the time is over; `Full` is tried again, in slices.
    fn patiently<T: Send>(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        mut act: impl FnMut(&mut Endpoint, Wait) -> bus::Result<T> + Send,
    ) -> PyResult<T> {
        let deadline = deadline(timeout)?;
        match self.with(|endpoint| match act(endpoint, Wait::No) {
            Err(Error::Full) => Ok(None),
            done => done.map(Some),
        })? {
            Some(done) => return Ok(done),
            None if timeout == Some(0.0) => return Err(told(Error::Full)),
            None => {}
        }
        loop {
            let slice = Instant::now() + SLICE;
            let end = deadline.map_or(slice, |deadline| deadline.min(slice));
            let done = py.detach(|| {
                let mut endpoint = self.lock();
                endpoint.as_mut().map(|it| act(it, Wait::Until(end)))
            });
            match done {
                None => return Err(PyValueError::new_err("the channel is closed")),
                Some(Err(Error::Full)) if deadline.is_none_or(|end| Instant::now() < end) => {}
                Some(done) => return done.map_err(told),
            }
            py.check_signals()?;
        }
    }

    /// Waits until there may be a message; `false`: the time is over.
    fn wait_until(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<bool> {
        let left = deadline.map_or(SLICE, |end| {
            end.saturating_duration_since(Instant::now()).min(SLICE)
        });
        if left.is_zero() {
            return Ok(false);
        }
        py.detach(|| {
            let mut waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner);
            waiter.wait(left)
        });
        py.check_signals()?;
        Ok(true)
    }

    /// Receives by `act`, which does not wait, as soon as there is something.
    fn receive_by<T>(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        mut act: impl FnMut(&mut Endpoint, u64) -> bus::Result<T>,
    ) -> PyResult<T> {
        let deadline = deadline(timeout)?;
        loop {
            let turn = self.turn_over()?;
            let found = self.with(|endpoint| match act(endpoint, turn) {
                Err(Error::Empty) => {
                    // Held by another thread that waits: it is aimed already.
                    if let Ok(mut waiter) = self.waiter.try_lock() {
                        endpoint.aim(&mut waiter);
                    }
                    Ok(None)
                }
                found => found.map(Some),
            })?;
            if let Some(found) = found {
                return Ok(found);
            }
            if !self.wait_until(py, deadline)? {
                return Err(told(Error::Empty));
            }
        }
    }
}

#[pymethods]
impl Channel {
    /// The address.
    #[getter]
    fn address(&self) -> &str {
        &self.address
    }

    /// The addresses at the other ends.
    #[getter]
    fn peers(&self) -> PyResult<Vec<String>> {
        self.with(|endpoint| {
            let peers = endpoint.peers().map(|peer| endpoint.show(peer).to_string());
            Ok(peers.collect())
        })
    }

    /// Sends bytes (anything with a contiguous buffer); returns the message's number.
    #[pyo3(signature = (to, data, timeout = None))]
    fn send(
        &self,
        py: Python<'_>,
        to: &str,
        data: PyBuffer<u8>,
        timeout: Option<f64>,
    ) -> PyResult<u64> {
        let to = self.with(|endpoint| endpoint.parse(to))?;
        let bytes = slice_of(&data)?;
        self.patiently(py, timeout, |endpoint, wait| endpoint.send(to, bytes, wait))
    }

    /// Sends many messages; returns how many found room in the time given.
    #[pyo3(signature = (to, messages, timeout = None))]
    fn send_many(
        &self,
        py: Python<'_>,
        to: &str,
        messages: Vec<PyBuffer<u8>>,
        timeout: Option<f64>,
    ) -> PyResult<usize> {
        let to = self.with(|endpoint| endpoint.parse(to))?;
        let slices: Vec<&[u8]> = messages.iter().map(slice_of).collect::<PyResult<_>>()?;
        let mut sent = 0;
        let tried = self.patiently(py, timeout, |endpoint, wait| {
            sent += endpoint.send_batch(to, &slices[sent..], wait)?;
            (sent == slices.len()).then_some(()).ok_or(Error::Full)
        });
        match tried {
            Err(error) if sent == 0 || !error.is_instance_of::<crate::errors::Full>(py) => {
                Err(error)
            }
            _ => Ok(sent),
        }
    }

    /// Sends to every channel, without waiting; returns (sent, full).
    fn broadcast(&self, data: PyBuffer<u8>) -> PyResult<(usize, usize)> {
        let bytes = slice_of(&data)?;
        let done = self.with(|endpoint| endpoint.broadcast(bytes))?;
        Ok((done.sent, done.full))
    }

    /// Receives the next message; the one before is acknowledged.
    #[pyo3(signature = (timeout = None))]
    fn receive(slf: &Bound<'_, Channel>, timeout: Option<f64>) -> PyResult<Message> {
        let channel = slf.clone().unbind();
        slf.get().receive_by(slf.py(), timeout, |endpoint, turn| {
            let template = endpoint.template();
            let message = endpoint.receive(Wait::No)?;
            let channel = channel.clone_ref(slf.py());
            let show = |address| template.show(address).to_string();
            Ok(Message::new(channel, turn, &message, show))
        })
    }

    /// Receives what is there, at most `most` messages, as copies; waits for the first only.
    #[pyo3(signature = (most = 32, timeout = None))]
    fn receive_many<'py>(
        &self,
        py: Python<'py>,
        most: usize,
        timeout: Option<f64>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.receive_by(py, timeout, |endpoint, _| {
            let mut copies = Vec::new();
            let copy = |message: bus::Message<'_>| copies.push(PyBytes::new(py, message.payload()));
            endpoint.receive_batch(most.max(1), Wait::No, copy)?;
            Ok(copies)
        })
    }

    /// Waits until there may be a message, without receiving it; `False`: none came.
    fn wait(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let left =
            deadline(Some(timeout))?.map(|end| end.saturating_duration_since(Instant::now()));
        Ok(py.detach(|| {
            let mut waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner);
            waiter.wait(left.unwrap_or(SLICE))
        }))
    }

    /// Acknowledges what was received: it will not come again.
    fn acknowledge(&self) -> PyResult<()> {
        self.turn_over()?;
        self.with(|endpoint| {
            endpoint.acknowledge();
            Ok(())
        })
    }

    /// From now on only `acknowledge` acknowledges.
    fn set_manual(&self, is_manual: bool) -> PyResult<()> {
        self.with(|endpoint| {
            endpoint.set_manual(is_manual);
            Ok(())
        })
    }

    /// Sends the message received last on to another address, and notes where it came from.
    #[pyo3(signature = (to, timeout = None))]
    fn forward(&self, py: Python<'_>, to: &str, timeout: Option<f64>) -> PyResult<u64> {
        let to = self.with(|endpoint| endpoint.parse(to))?;
        self.patiently(py, timeout, |endpoint, wait| endpoint.forward(to, wait))
    }

    /// Answers the message received last: to its source, and on along its route.
    #[pyo3(signature = (data, timeout = None))]
    fn answer(&self, py: Python<'_>, data: PyBuffer<u8>, timeout: Option<f64>) -> PyResult<u64> {
        let bytes = slice_of(&data)?;
        self.patiently(py, timeout, |endpoint, wait| endpoint.answer(bytes, wait))
    }

    /// Sends an answer received last one step back along its route.
    #[pyo3(signature = (timeout = None))]
    fn backward(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<u64> {
        self.patiently(py, timeout, |endpoint, wait| endpoint.backward(wait))
    }

    /// Gives the address up. What was received last is acknowledged unless `keep`.
    #[pyo3(signature = (*, keep = false))]
    fn close(&self, keep: bool) -> PyResult<()> {
        self.turn_over()?;
        match (self.lock().take(), keep) {
            (Some(endpoint), false) => endpoint.close(),
            (endpoint, _) => drop(endpoint),
        }
        Ok(())
    }

    fn __enter__(slf: Bound<'_, Channel>) -> Bound<'_, Channel> {
        slf
    }

    /// After an exception the message being worked on stays, and comes again, marked.
    fn __exit__(
        &self,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.close(!kind.is_none())
    }

    fn __iter__(slf: Bound<'_, Channel>) -> Bound<'_, Channel> {
        slf
    }

    fn __next__(slf: &Bound<'_, Channel>) -> PyResult<Message> {
        Channel::receive(slf, None)
    }

    fn __repr__(&self) -> String {
        format!("<channel of {}>", self.address)
    }
}

fn deadline(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    let Some(seconds) = timeout else {
        return Ok(None);
    };
    let time = Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("timeout {seconds} is no time in seconds")))?;
    Ok(Instant::now().checked_add(time))
}

fn slice_of(buffer: &PyBuffer<u8>) -> PyResult<&[u8]> {
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err(
            "the bytes do not lie in one piece: copy them first",
        ));
    }
    if buffer.len_bytes() == 0 {
        return Ok(&[]);
    }
    // SAFETY: exported and contiguous, so many bytes, there for as long as `buffer` lives.
    Ok(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes()) })
}
