//! A bus: a directory of channel files. Finding, making, cleaning and removing channels.
//!
//! The directory is the table: each file's header says between whom it runs, and a file has its
//! name whole or not at all, so no second list can disagree. Programs open a bus and bind
//! addresses; `hooktool bus` makes and removes channels under a lock of the directory, which the
//! kernel releases if the tool dies.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::address::{Address, Template};
use crate::channel::{Access, Channel, File, Role, Spec};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::proof;
use crate::ring::Half;

/// Where buses lie unless `RAMGRID_BUS_DIR` says otherwise: a tmpfs that the clean-up of logins
/// (`RemoveIPC`) and the small `/dev/shm` of containers do not touch.
pub const BASE_DEFAULT: &str = "/run/ramgrid/bus";
/// Overrides the base.
pub const BASE_VARIABLE: &str = "RAMGRID_BUS_DIR";
/// What the name of a channel file ends in.
pub const SUFFIX: &str = "channel";

/// A bus.
#[derive(Clone, Debug)]
pub struct Bus {
    path: PathBuf,
}

/// Keeps other tools from changing the bus.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] fs::File);

impl Bus {
    /// The bus of this name, or, where the name has a slash, in this directory. Nothing is looked
    /// at.
    ///
    /// # Errors
    ///
    /// None today; a name may be refused tomorrow.
    pub fn open(name: &str) -> Result<Bus> {
        let path = match name.contains('/') {
            true => PathBuf::from(name),
            false => {
                let base = std::env::var_os(BASE_VARIABLE);
                PathBuf::from(base.unwrap_or(BASE_DEFAULT.into())).join(name)
            }
        };
        Ok(Bus { path })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory, if it is not there: for its user and group only.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn make(&self) -> Result<()> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o750).create(&self.path);
        made.map_err(|errno| Error::system(&self.path, "make", errno))
    }

    /// Keeps other tools out until the lock is dropped.
    ///
    /// # Errors
    ///
    /// There is no such directory, or another tool is changing it.
    pub fn lock(&self) -> Result<Lock> {
        let directory =
            fs::File::open(&self.path).map_err(|errno| Error::system(&self.path, "open", errno))?;
        rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| Error::system(&self.path, "lock (another tool changes it)", errno))?;
        Ok(Lock(directory))
    }

    /// The channel files, oldest first. What is no channel comes as an error, with its path.
    ///
    /// # Errors
    ///
    /// The directory cannot be read (one that is not there is an empty bus).
    pub fn files(&self, access: Access) -> Result<Vec<Result<File>>> {
        let mut found: Vec<(u64, PathBuf, Result<File>)> = Vec::new();
        for path in self.paths()? {
            let file = File::open(&path, access);
            let created_ns = file
                .as_ref()
                .map_or(u64::MAX, |file| file.header().created_ns);
            found.push((created_ns, path, file));
        }
        found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(found.into_iter().map(|(.., file)| file).collect())
    }

    /// The paths of everything named like a channel.
    fn paths(&self) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(errno) if errno.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(errno) => return Err(Error::system(&self.path, "read", errno)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry
                .map_err(|errno| Error::system(&self.path, "read", errno))?
                .path();
            if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// The path of the channel between two addresses, in either order.
    pub fn path_of(&self, template: Template, ends: [Address; 2]) -> PathBuf {
        let [low, high] = match ends[0] < ends[1] {
            true => ends,
            false => [ends[1], ends[0]],
        };
        let (low, high) = (template.show(low), template.show(high));
        self.path.join(format!("{low}_{high}.{SUFFIX}"))
    }

    /// The template of the channels here; the usual one where there are none.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub fn template(&self) -> Result<Template> {
        let files = self.files(Access::View)?;
        let first = files.iter().flatten().next();
        Ok(first.map_or_else(Template::default, |file| file.header().template))
    }

    /// Makes a channel.
    ///
    /// # Errors
    ///
    /// It is impossible, there is no room, or it exists.
    pub fn create(&self, spec: &Spec) -> Result<PathBuf> {
        let path = self.path_of(spec.template, spec.ends);
        File::create(&path, spec)?;
        Ok(path)
    }

    /// Removes a channel with everything in it. Whoever has it bound is told at its next wait.
    ///
    /// # Errors
    ///
    /// A living process has an end bound (unless `force`), or the kernel's refusal.
    pub fn remove(&self, path: &Path, force: bool) -> Result<()> {
        match File::open(path, Access::Bind) {
            Ok(file) => {
                if !force {
                    refuse_bound(&file)?;
                }
                file.set_removed();
            }
            // What is no channel any more can still be removed.
            Err(Error::NotAChannel { .. } | Error::Version { .. }) => {}
            Err(error) => return Err(error),
        }
        fs::remove_file(path).map_err(|errno| Error::system(path, "remove", errno))
    }

    /// Throws away what is queued in both directions (`only`: from this end); returns how many
    /// messages. A receiver must not be bound meanwhile; a sender may.
    ///
    /// # Errors
    ///
    /// A living process receives (unless `force`).
    pub fn clean(&self, path: &Path, only: Option<Address>, force: bool) -> Result<u64> {
        let file = File::open(path, Access::Bind)?;
        let mut messages = 0;
        for side in 0..2 {
            let ends = file.header().ends;
            if only.is_some_and(|from| from != ends[side]) {
                continue;
            }
            let half = file.half(side);
            let owner = &half.consumer().owner;
            if force && let Some(holder) = owner.current() {
                owner.evict(holder.word);
            }
            messages += Channel::clean(path, ends[1 - side])?;
        }
        Ok(messages)
    }

    /// Binds an address: every channel that ends in it.
    ///
    /// # Errors
    ///
    /// No such address, no channel for it, or somebody has it bound.
    pub fn bind(&self, address: &str) -> Result<Endpoint> {
        self.bind_as(self.template()?.address(address)?, Role::Both)
    }

    /// Binds an address to send, to receive, or both.
    ///
    /// # Errors
    ///
    /// As `bind`.
    pub fn bind_as(&self, address: Address, role: Role) -> Result<Endpoint> {
        Endpoint::bind(self, address, role)
    }
}

/// Refuses if an end is bound by somebody who is not proved dead.
fn refuse_bound(file: &File) -> Result<()> {
    let me = proof::me(false)?.identity;
    for side in 0..2 {
        let half = file.half(side);
        let owners = [
            (&half.producer().owner, side),
            (&half.consumer().owner, 1 - side),
        ];
        for (owner, end) in owners {
            let Some(holder) = owner.current() else {
                continue;
            };
            let held = holder.word == me.word();
            if !proof::is_dead(&holder, &me, held) {
                let address = file.header().template.show(file.header().ends[end]);
                return Err(Error::Bound {
                    what: format!("{address} ({})", file.path().display()),
                    owner: Box::new(holder),
                });
            }
        }
    }
    Ok(())
}
