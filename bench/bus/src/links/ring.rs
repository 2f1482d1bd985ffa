//! The bus: an address bound at each end; over the relay each end has a bus of its own.

use std::path::Path;
use std::time::Duration;

use bus::wait::Pace;
use bus::{Address, Bus, Endpoint, Error, Wait};

use crate::Result;
use crate::cli::{ActorArgs, Kind, Role};
use crate::link::Link;
use crate::stage;

/// Messages that a receiver of many takes at once, and leaves unacknowledged.
const BATCH: usize = 32;

/// One end.
pub struct Ring {
    endpoint: Endpoint,
    peer: Address,
}

impl Ring {
    /// Binds one end of the stage's channel.
    pub fn open(stage: &Path, is_first: bool, arguments: &ActorArgs) -> Result<Ring> {
        let place = match arguments.kind {
            Kind::Relay => stage.join(if is_first { "near" } else { "far" }),
            _ => stage.to_path_buf(),
        };
        let bus = Bus::open(&place.display().to_string())?;
        let [near, far] = stage::ends();
        let (me, peer) = if is_first { (near, far) } else { (far, near) };
        let mut endpoint = bus.bind_as(me, bus::Role::Both)?;
        endpoint.set_pace(match arguments.kind {
            Kind::RingSpin => Pace::fixed(Duration::MAX),
            Kind::RingSleep => Pace::fixed(Duration::ZERO),
            _ => Pace::default(),
        });
        if arguments.role == Role::Sink {
            endpoint.set_unacknowledged_max(BATCH as u64);
        }
        Ok(Ring { endpoint, peer })
    }
}

impl Link for Ring {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.endpoint.send(self.peer, message, Wait::Forever)?;
        Ok(())
    }

    fn send_batch(&mut self, messages: &[&[u8]]) -> Result<()> {
        let endpoint = &mut self.endpoint;
        endpoint.send_batch(self.peer, messages, Wait::Forever)?;
        Ok(())
    }

    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        each(self.endpoint.receive(Wait::Forever)?.payload());
        Ok(())
    }

    fn receive_batch(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let endpoint = &mut self.endpoint;
        endpoint.receive_batch(BATCH, Wait::Forever, |message| each(message.payload()))?;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        match self.endpoint.receive(Wait::No).map(|_| ()) {
            Err(Error::Empty) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        self.endpoint.acknowledge();
        Ok(())
    }
}
