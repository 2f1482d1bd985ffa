//! What a relay holds: its ends, its routes, and the tasks that dial for them.
//!
//! `refresh` brings it in line with the route table and the channels there are: called every half
//! second, it looks closer only when one of them has changed. Nothing is ever taken away from a
//! stream in the middle of a message: ends that go are marked, and their streams let go of them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bus::channel::Access;
use bus::{Address, Bus, Template};

use super::super::routes::table::{self, Routes, Target};
use super::dial;
use super::doorbell::Doorbell;
use super::end::End;
use super::status::{Standing, Status};
use super::tls::Security;
use crate::failure::{Failure, note};

/// The bus is read anew so often even if its directory seems unchanged.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Device, inode, size and time of a file: has it changed?
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// A relay.
pub struct Hub {
    /// The bus it serves.
    pub bus: Bus,
    /// How it proves who it is.
    pub security: Security,
    /// Silence after which a connection is given up.
    pub dead_after: Duration,
    /// Rings when programs have moved.
    pub doorbell: Doorbell,
    /// Counts the changes of `ends`.
    pub generation: Cell<u64>,
    /// How the addresses are written.
    pub template: Cell<Template>,
    routes_path: PathBuf,
    routes: RefCell<Routes>,
    ends: RefCell<BTreeMap<(Address, Address), Rc<End>>>,
    dialled: RefCell<BTreeSet<Target>>,
    fillers: Cell<u64>,
    status: RefCell<Status>,
    seen: Cell<(Stamp, Stamp)>,
    looked: Cell<Option<Instant>>,
    /// Complaints of the last look, so that each is made once.
    complaints: RefCell<BTreeSet<String>>,
}

impl Hub {
    /// A relay for a bus; nothing is bound yet.
    pub fn new(bus: &Bus, routes: PathBuf, security: Security, dead_after: Duration) -> Hub {
        Hub {
            bus: bus.clone(),
            security,
            dead_after,
            doorbell: Doorbell::default(),
            generation: Cell::new(0),
            template: Cell::new(Template::default()),
            routes_path: routes,
            routes: RefCell::default(),
            ends: RefCell::default(),
            dialled: RefCell::default(),
            fillers: Cell::new(0),
            status: RefCell::default(),
            seen: Cell::default(),
            looked: Cell::default(),
            complaints: RefCell::default(),
        }
    }

    /// Reads the routes for the first time.
    ///
    /// # Errors
    ///
    /// The table cannot be read, or says something impossible.
    pub fn start(&self) -> Result<(), Failure> {
        *self.routes.borrow_mut() = table::read(&self.routes_path)?;
        self.template.set(self.routes.borrow().template);
        Ok(())
    }

    /// Brings the ends in line with routes and channels. `is_asked`: look even if nothing seems
    /// to have changed.
    pub fn refresh(self: &Rc<Hub>, is_asked: bool) {
        let now = (stamp(&self.routes_path), stamp(self.bus.path()));
        let is_due = self
            .looked
            .get()
            .is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        let was_refused = !self.complaints.borrow().is_empty();
        let removed = |end: &Rc<End>| end.channel.borrow().check_removed().is_err();
        let has_gone = self.ends.borrow().values().any(removed);
        if !(is_asked || is_due || was_refused || has_gone || self.seen.get() != now) {
            return;
        }
        if self.seen.get().0 != now.0 {
            self.reload();
        }
        self.seen.set(now);
        self.looked.set(Some(Instant::now()));
        self.look();
    }

    /// Reads the routes again; nonsense leaves the old ones in force.
    fn reload(&self) {
        match table::read(&self.routes_path) {
            Err(failure) => note(&format!("{}; the routes stay as they were", failure.what)),
            Ok(routes) => {
                self.template.set(routes.template);
                *self.routes.borrow_mut() = routes;
            }
        }
    }

    /// Binds what is there and routed, lets go of the rest.
    fn look(self: &Rc<Hub>) {
        let mut complaints = BTreeSet::new();
        let wanted = match self.wanted() {
            Ok(wanted) => wanted,
            Err(error) => {
                note(&format!("{error}; the channels stay as they were"));
                return;
            }
        };
        let mut ends = self.ends.borrow_mut();
        let mut has_changed = false;
        ends.retain(|key, end| {
            let is_removed = end.channel.borrow().check_removed().is_err();
            let stays = !is_removed && wanted.contains_key(key);
            end.is_gone.set(!stays);
            has_changed |= !stays;
            stays
        });
        for (key, (path, to)) in &wanted {
            if let Some(end) = ends.get(key) {
                has_changed |= end.to.replace(to.clone()) != *to;
                continue;
            }
            match End::bind(path, key.1, to) {
                Ok(end) => {
                    ends.insert(*key, Rc::new(end));
                    has_changed = true;
                }
                Err(error) => {
                    complaints.insert(error.to_string());
                }
            }
        }
        for complaint in complaints.difference(&self.complaints.borrow()) {
            note(complaint);
        }
        *self.complaints.borrow_mut() = complaints;
        if has_changed {
            self.generation.set(self.generation.get() + 1);
            self.doorbell.watch(ends.values());
            self.doorbell.ring();
        }
        let targets: BTreeSet<Target> = ends.values().map(|end| end.to.borrow().clone()).collect();
        drop(ends);
        self.dial(&targets);
    }

    /// Every end there should be: (program, far address), file, relay.
    #[allow(clippy::type_complexity)]
    fn wanted(&self) -> bus::Result<BTreeMap<(Address, Address), (PathBuf, Target)>> {
        let routes = self.routes.borrow();
        let to: BTreeMap<Address, &Target> = routes
            .routes
            .iter()
            .map(|route| (route.address, &route.to))
            .collect();
        let mut wanted = BTreeMap::new();
        for file in self.bus.files(Access::View)?.into_iter().flatten() {
            let [a, b] = file.header().ends;
            if file.header().template != routes.template {
                continue;
            }
            for (local, far) in [(a, b), (b, a)] {
                if let Some(target) = to.get(&far) {
                    let place = (file.path().to_path_buf(), (*target).clone());
                    wanted.insert((local, far), place);
                }
            }
        }
        Ok(wanted)
    }

    /// Starts to dial relays that are new.
    fn dial(self: &Rc<Hub>, targets: &BTreeSet<Target>) {
        let mut dialled = self.dialled.borrow_mut();
        for target in targets.difference(&dialled.clone()) {
            dialled.insert(target.clone());
            tokio::task::spawn_local(dial::keep(Rc::clone(self), target.clone()));
        }
    }

    /// Is there an end whose messages go to this relay? If not, its dialler should end.
    pub fn is_wanted(&self, target: &Target) -> bool {
        let is_used = |end: &Rc<End>| *end.to.borrow() == *target;
        let is_wanted = self.ends.borrow().values().any(is_used);
        if !is_wanted {
            self.dialled.borrow_mut().remove(target);
            self.status.borrow_mut().targets.remove(&target.to_string());
        }
        is_wanted
    }

    /// The ends whose messages go to this relay.
    pub fn ends_to(&self, target: &Target) -> Vec<Rc<End>> {
        let ends = self.ends.borrow();
        let to_it = ends.values().filter(|end| *end.to.borrow() == *target);
        to_it.cloned().collect()
    }

    /// The end that stands for `far` towards `local`.
    pub fn end(&self, local: Address, far: Address) -> Option<Rc<End>> {
        self.ends.borrow().get(&(local, far)).cloned()
    }

    /// Is there any end for this far address? (To tell a sender what is missing.)
    pub fn is_routed(&self, far: Address) -> bool {
        let routes = self.routes.borrow();
        routes.routes.iter().any(|route| route.address == far)
    }

    /// A number for a new inbound stream.
    pub fn next_filler(&self) -> u64 {
        self.fillers.set(self.fillers.get() + 1);
        self.fillers.get()
    }

    /// Notes how a connection stands, and says it if that is new.
    pub fn standing(&self, target: &Target, change: impl FnOnce(&mut Standing)) {
        let mut status = self.status.borrow_mut();
        let name = target.to_string();
        let standing = status.targets.entry(name.clone()).or_default();
        let before = standing.clone();
        change(standing);
        if standing.is_up != before.is_up || standing.why != before.why {
            standing.since_ns = bus::sys::wall_clock_ns();
            match standing.is_up {
                true => note(&format!("relay {name}: up")),
                false => note(&format!("relay {name}: down: {}", standing.why)),
            }
        }
        for (stream, why) in &standing.refused {
            if before.refused.get(stream) != Some(why) {
                note(&format!("relay {name}: {stream}: {why}"));
            }
        }
    }

    /// Says that messages are lost, and remembers it.
    pub fn lose(&self, what: String) {
        note(&what);
        self.status.borrow_mut().lose(what);
    }

    /// Writes the status file.
    pub fn tell(&self) {
        self.status.borrow_mut().write(&self.bus);
    }
}

fn stamp(path: &std::path::Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((
        found.dev(),
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec(),
    ))
}
