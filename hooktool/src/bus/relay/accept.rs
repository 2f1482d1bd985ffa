//! The receiving side of a connection: one task for each relay that dialled.
//!
//! Grants streams into the rings of our programs, puts messages there, and says what is committed,
//! what was handed out, and what there is room for.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bus::Address;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::hub::Hub;
use super::inlet::Inlet;
use super::pipe::Pipe;
use super::tls::Names;
use super::wire::{Frame, Open, REASON_BYTES_MAX};
use crate::failure::note;

/// Most connections at once.
const CONNECTIONS_MAX: usize = 1000;
/// Most streams of a connection.
const STREAMS_MAX: usize = 1024;
/// News that can wait does so long.
const SLOW: Duration = Duration::from_millis(20);
/// Without anything happening, the streams are looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Accepts relays, for ever.
pub async fn listen(hub: Rc<Hub>, listener: TcpListener) {
    let count = Rc::new(Cell::new(0));
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                note(&format!("cannot accept a connection: {error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        if count.get() >= CONNECTIONS_MAX {
            note(&format!(
                "{peer} was turned away: {CONNECTIONS_MAX} connections"
            ));
            continue;
        }
        count.set(count.get() + 1);
        let (hub, count) = (Rc::clone(&hub), Rc::clone(&count));
        tokio::task::spawn_local(async move {
            if let Err(why) = serve(&hub, socket).await {
                note(&format!("from {peer}: {why}"));
            }
            count.set(count.get() - 1);
        });
    }
}

/// A connection and its streams.
struct Session<'a> {
    hub: &'a Hub,
    pipe: Pipe,
    names: Names,
    inlets: BTreeMap<u32, Inlet>,
    /// When the news that can wait is due.
    slow: Option<Instant>,
}

async fn serve(hub: &Hub, socket: TcpStream) -> Result<(), String> {
    socket
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let linked = timeout(hub.dead_after, hub.security.accepted(socket)).await;
    let (link, names) = linked.map_err(|_| "it says nothing".to_string())??;
    let mut pipe = Pipe::new(link, hub.doorbell.listen(), hub.dead_after);
    pipe.greet(hub.template.get().bits()).await?;
    let mut session = Session {
        hub,
        pipe,
        names,
        inlets: BTreeMap::new(),
        slow: None,
    };
    loop {
        session.hear()?;
        session.tell();
        let most = match session.slow {
            Some(at) => at.saturating_duration_since(Instant::now()),
            None => LOOK_EVERY,
        };
        session
            .pipe
            .wait(most.max(Duration::from_millis(1)))
            .await?;
    }
}

impl Session<'_> {
    /// Takes what the sender said.
    fn hear(&mut self) -> Result<(), String> {
        loop {
            let mut fault = None;
            match self.pipe.next()? {
                None => return Ok(()),
                Some((id, Frame::Open(open))) => {
                    fault = self.open(id, &open).err().map(|w| (id, w))
                }
                Some((id, Frame::Data(body))) => {
                    // An unknown stream is one that was refused while this was on its way.
                    if let Some(inlet) = self.inlets.get_mut(&id).filter(|i| i.is_current()) {
                        fault = inlet.take(body).err().map(|why| (id, why));
                    }
                }
                Some((id, Frame::Close)) => drop(self.inlets.remove(&id)),
                Some((_, Frame::Ping)) => self.pipe.say(0, &Frame::Pong),
                Some((_, Frame::Pong)) => {}
                Some((_, other)) => return Err(format!("{other:?} came from who dialled")),
            }
            if let Some((id, why)) = fault {
                self.refuse(id, &why);
            }
        }
    }

    fn refuse(&mut self, id: u32, why: &str) {
        self.inlets.remove(&id);
        let bytes = &why.as_bytes()[..why.len().min(REASON_BYTES_MAX)];
        self.pipe.say(id, &Frame::Refused(bytes));
    }

    fn open(&mut self, id: u32, open: &Open) -> Result<(), String> {
        let (from, to) = (Address(open.from), Address(open.to));
        let template = self.hub.template.get();
        let [source, target] = [from, to].map(|address| template.show(address));
        if !self.names.has(template, from) {
            return Err(format!(
                "your certificate does not name {source}: add URI:ramgrid-bus:{source} to it"
            ));
        }
        if self.inlets.len() >= STREAMS_MAX {
            return Err(format!(
                "{STREAMS_MAX} streams of one connection are the most"
            ));
        }
        let end = self
            .hub
            .end(to, from)
            .ok_or_else(|| match self.hub.is_routed(from) {
                true => format!("there is no channel {source} to {target}, or it is bound there"),
                false => {
                    format!("there is no route for {source} there, so its end is not the relay's")
                }
            })?;
        let (inlet, opened) = Inlet::grant(&end, open, self.hub.next_filler())?;
        self.inlets.insert(id, inlet);
        self.pipe.say(id, &Frame::Opened(opened));
        Ok(())
    }

    /// Says what is new of each stream.
    fn tell(&mut self) {
        let is_slow = self.slow.is_some_and(|at| at <= Instant::now());
        let mut waits = false;
        let mut broken = Vec::new();
        for (id, inlet) in &mut self.inlets {
            if !inlet.is_current() {
                broken.push((
                    *id,
                    "the channel is no longer here, or a younger stream fills it".into(),
                ));
                continue;
            }
            match inlet.news(is_slow) {
                Ok((Some(ack), _)) => self.pipe.say(*id, &Frame::Ack(ack)),
                Ok((None, is_behind)) => waits |= is_behind,
                Err(why) => broken.push((*id, why)),
            }
        }
        for (id, why) in broken {
            self.refuse(id, &why);
        }
        self.slow = match (waits, self.slow) {
            (false, _) => None,
            (true, Some(at)) if !is_slow => Some(at),
            (true, _) => Some(Instant::now() + SLOW),
        };
    }
}
