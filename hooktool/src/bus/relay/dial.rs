//! The sending side of a connection: one task for each relay that has some of our far addresses.
//!
//! Dials, with a pause that grows; asks for a stream for each end whose messages go there; then
//! carries messages one way and acknowledgements the other. What is not acknowledged when the
//! connection breaks stays in its ring, and goes again on the next.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::routes::table::Target;
use super::end::End;
use super::hub::Hub;
use super::outlet::Outlet;
use super::pipe::Pipe;
use super::tls::Names;
use super::wire::{Ack, Frame, Opened};

/// First and longest pause between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// A stream that was refused is asked for again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Without anything happening, the streams are looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a stream stands.
enum State {
    Asked,
    Open(Box<Outlet>),
    Refused(Instant),
}

/// A connection and its streams, by number.
struct Session<'a> {
    hub: &'a Hub,
    target: &'a Target,
    pipe: Pipe,
    names: Names,
    streams: BTreeMap<u32, (Rc<End>, State)>,
    next: u32,
    generation: Option<u64>,
}

/// Keeps a connection up for as long as it is wanted.
pub async fn keep(hub: Rc<Hub>, target: Target) {
    let mut pause = PAUSE_MIN;
    while hub.is_wanted(&target) {
        let begun = Instant::now();
        let why = match session(&hub, &target).await {
            Ok(()) => continue,
            Err(why) => why,
        };
        hub.standing(&target, |standing| {
            standing.is_up = false;
            standing.why = why;
            standing.refused.clear();
        });
        if begun.elapsed() > PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Between half of it and all, so that relays which lost each other do not knock in step.
fn jittered(pause: Duration) -> Duration {
    let random = bus::guard::random().unwrap_or(0) % 1024;
    pause / 2 + pause / 2 * random as u32 / 1024
}

/// One connection, from dialling to its end. `Ok`: nobody wants it any more.
async fn session(hub: &Hub, target: &Target) -> Result<(), String> {
    let dialled = TcpStream::connect((target.host.as_str(), target.port));
    let late = |_| format!("no answer within {} s", hub.dead_after.as_secs());
    let socket = timeout(hub.dead_after, dialled).await.map_err(late)?;
    let socket = socket.map_err(|error| error.to_string())?;
    socket
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let linked = timeout(hub.dead_after, hub.security.dialled(socket, target));
    let (link, names) = linked.await.map_err(late)??;
    let mut pipe = Pipe::new(link, hub.doorbell.listen(), hub.dead_after);
    pipe.greet(hub.template.get().bits()).await?;
    hub.standing(target, |standing| {
        standing.is_up = true;
        standing.why.clear();
        standing.refused.clear();
    });
    let mut session = Session {
        hub,
        target,
        pipe,
        names,
        streams: BTreeMap::new(),
        next: 1,
        generation: None,
    };
    while hub.is_wanted(target) {
        session.ask();
        session.hear()?;
        session.fill()?;
        session.pipe.wait(LOOK_EVERY).await?;
    }
    session.pipe.finish(Duration::from_millis(200)).await;
    Ok(())
}

impl Session<'_> {
    /// Asks for streams that are new or due again, and ends those whose end is gone.
    fn ask(&mut self) {
        if self.generation != Some(self.hub.generation.get()) {
            self.generation = Some(self.hub.generation.get());
            let ends = self.hub.ends_to(self.target);
            let is_there = |end: &Rc<End>| ends.iter().any(|other| Rc::ptr_eq(end, other));
            let pipe = &mut self.pipe;
            self.streams.retain(|id, (end, _)| {
                let stays = is_there(end);
                if !stays {
                    pipe.say(*id, &Frame::Close);
                }
                stays
            });
            let has = |streams: &BTreeMap<u32, (Rc<End>, State)>, end: &Rc<End>| {
                streams.values().any(|(other, _)| Rc::ptr_eq(other, end))
            };
            for end in &ends {
                if !has(&self.streams, end) {
                    let refused = State::Refused(Instant::now());
                    self.streams.insert(self.next, (Rc::clone(end), refused));
                    self.next += 1;
                }
            }
        }
        let is_due = |state: &State| matches!(state, State::Refused(at) if *at <= Instant::now());
        let due: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, (_, state))| is_due(state))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some((end, _)) = self.streams.remove(&id) else {
                continue;
            };
            self.ask_for(end);
        }
    }

    fn ask_for(&mut self, end: Rc<End>) {
        let id = self.next;
        self.next += 1;
        let is_theirs = self.names.has(end.template, end.far);
        self.streams.insert(id, (Rc::clone(&end), State::Asked));
        match is_theirs {
            true => self.pipe.say(id, &Outlet::ask(&end)),
            false => {
                let far = end.template.show(end.far);
                self.refuse(id, format!("the relay's certificate does not name {far}"));
            }
        }
    }

    /// Puts a stream aside for a while.
    fn refuse(&mut self, id: u32, why: String) {
        if let Some((end, state)) = self.streams.get_mut(&id) {
            let stream = end.way_out();
            *state = State::Refused(Instant::now() + ASK_AGAIN);
            self.hub.standing(self.target, |standing| {
                standing.refused.insert(stream, why);
            });
        }
    }

    /// Takes what the far side said.
    fn hear(&mut self) -> Result<(), String> {
        loop {
            match self.pipe.next()? {
                None => return Ok(()),
                Some((id, Frame::Opened(opened))) => self.open(id, &opened),
                Some((id, Frame::Ack(ack))) => self.acknowledge(id, &ack),
                Some((id, Frame::Refused(why))) => {
                    let why = String::from_utf8_lossy(why).into_owned();
                    self.refuse(id, why);
                }
                Some((_, Frame::Ping)) => self.pipe.say(0, &Frame::Pong),
                Some((_, Frame::Pong)) => {}
                Some((_, other)) => return Err(format!("{other:?} came to who dialled")),
            }
        }
    }

    fn open(&mut self, id: u32, opened: &Opened) {
        let Some((end, State::Asked)) = self.streams.get(&id) else {
            return;
        };
        let end = Rc::clone(end);
        match Outlet::begin(&end, opened) {
            Err(why) => {
                self.pipe.say(id, &Frame::Close);
                self.refuse(id, why);
            }
            Ok((outlet, loss)) => {
                if let Some(loss) = loss {
                    self.hub.lose(format!(
                        "{}: the far ring was made anew (its host was rebooted, or the channel \
                         removed): messages {} to {} were acknowledged, not received, and are lost",
                        end.way_out(),
                        loss.first,
                        loss.last
                    ));
                }
                let stream = end.way_out();
                self.streams
                    .insert(id, (end, State::Open(Box::new(outlet))));
                self.hub.standing(self.target, |standing| {
                    standing.refused.remove(&stream);
                });
            }
        }
    }

    fn acknowledge(&mut self, id: u32, ack: &Ack) {
        if let Some((_, State::Open(outlet))) = self.streams.get_mut(&id)
            && let Err(why) = outlet.acknowledge(ack)
        {
            self.pipe.say(id, &Frame::Close);
            self.refuse(id, why);
        }
    }

    /// Takes messages from the rings in turn, a chunk of each, as long as there is room.
    fn fill(&mut self) -> Result<(), String> {
        let mut broken = None;
        loop {
            let mut has_filled = false;
            for (id, (end, state)) in &mut self.streams {
                let (State::Open(outlet), false) = (state, end.is_gone.get()) else {
                    continue;
                };
                let Some(out) = self.pipe.room() else {
                    break;
                };
                match outlet.fill(*id, out) {
                    Ok(filled) => has_filled |= filled,
                    Err(why) => broken = Some((*id, why)),
                }
            }
            if let Some((id, why)) = broken.take() {
                self.pipe.say(id, &Frame::Close);
                self.refuse(id, why);
                continue;
            }
            if !has_filled || self.pipe.room().is_none() {
                return Ok(());
            }
        }
    }
}
