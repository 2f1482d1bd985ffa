//! A recording: what the processes of the session read and write, taken out of the rings of its
//! regions for `hooktool trace`.
//!
//! `viewers` makes one for the viewer who asks, on its thread, and lets go of it when the viewer
//! leaves, however it does: nothing is noted any more from then on. One at a time. The ring of a
//! region is allocated first, so that a limit of memory is met here and not in a process of the
//! session; it stays until the region goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use grid::header::switch;
use grid::ident::FileIdent;
use grid::sync::Ordering;
use grid::trace::{SLOTS, Taken};
use rustix::fs::FallocateFlags;

use super::domain::Domain;
use super::look;
use super::session::Session;
use crate::control::{TraceCall, TraceFile, TracePart};
use crate::failure::Failure;

/// Calls of one answer.
const CALLS_MAX: usize = 32 * 1024;

/// How long a place is awaited whose owner has claimed it: it is about to store its word, unless
/// it is stopped or dead.
const PATIENCE: Duration = Duration::from_millis(100);

/// Paths of files that nobody has told yet are looked for at most so often: a walk through /proc.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Processes that are asked for such a path.
const PROCESSES_ASKED: usize = 16;

/// The recording of one viewer.
pub struct Recording<'a> {
    session: &'a Session,
    rings: Vec<Ring>,
    /// Numbers of the files that have been named to the viewer.
    files: HashMap<FileKey, u32>,
    /// Runs whose owners did not come.
    lost: u64,
    looked_at: Option<Instant>,
}

/// Domain, device, inode, birth.
type FileKey = (u32, u64, u64, u64);

/// The ring of one domain.
struct Ring {
    domain: Arc<Domain>,
    /// What had been dropped when the recording began.
    dropped_before: u64,
    awaited_since: Option<Instant>,
}

impl<'a> Recording<'a> {
    /// Begins.
    ///
    /// # Errors
    ///
    /// Somebody else records, or there is no memory for the rings.
    pub fn begin(session: &'a Session) -> Result<Recording<'a>, Failure> {
        if session.recording.swap(true, SeqCst) {
            return Err(Failure::command(
                "somebody else records this session",
                "what is read is handed out once",
                "wait for its end, or end it:  pgrep -fa 'hooktool trace'",
            ));
        }
        let mut recording = Recording {
            session,
            rings: Vec::new(),
            files: HashMap::new(),
            lost: 0,
            looked_at: None,
        };
        recording.begin_on_new_domains().map(|()| recording)
    }

    /// Regions that are made while it goes on are recorded from the next look on.
    fn begin_on_new_domains(&mut self) -> Result<(), Failure> {
        for domain in self.session.domains().into_iter().skip(self.rings.len()) {
            let (region, bytes) = (&domain.region, SLOTS * 8);
            let (start, none) = (region.layout().trace, FallocateFlags::empty());
            if let Err(error) = rustix::fs::fallocate(&domain.memory, none, start, bytes) {
                return Err(Failure::command(
                    format!("no memory for a trace: {error}"),
                    "the calls pass through 512 KiB that the session's limits count",
                    "allow the session a little more memory, then record again",
                ));
            }
            let trace = region.trace();
            trace.clear();
            let dropped_before = trace.ends.dropped.load(Ordering::Relaxed);
            region.header().set_switch(switch::TRACE, true);
            self.rings.push(Ring {
                domain,
                dropped_before,
                awaited_since: None,
            });
        }
        Ok(())
    }

    /// What has come since the last look.
    ///
    /// # Errors
    ///
    /// A region that was made meanwhile cannot be recorded.
    pub fn part(&mut self) -> Result<TracePart, Failure> {
        self.begin_on_new_domains()?;
        let mut part = TracePart::default();
        for index in 0..self.rings.len() {
            self.take(index, &mut part);
        }
        self.name_nameless(&mut part.files);
        part.lost = self.lost;
        part.dropped = self.rings.iter().map(Ring::dropped).sum();
        part.is_full = part.calls.len() >= CALLS_MAX;
        Ok(part)
    }

    fn take(&mut self, index: usize, part: &mut TracePart) {
        let domain = Arc::clone(&self.rings[index].domain);
        let (trace, files) = (domain.region.trace(), domain.region.files());
        while part.calls.len() < CALLS_MAX {
            match trace.take() {
                Taken::Empty => break,
                Taken::Run(run) => {
                    self.rings[index].awaited_since = None;
                    let Some(found) = files.at(u32::from(run.record)) else {
                        self.lost += 1;
                        continue;
                    };
                    let ident = files.record(found).ident();
                    let file = self.number_of(&domain, found.index, ident, part);
                    part.calls
                        .push(TraceCall(file, run.is_write, run.first, run.blocks));
                }
                Taken::Awaited => {
                    let since = &mut self.rings[index].awaited_since;
                    if since.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
                        break;
                    }
                    *since = None;
                    self.lost += 1;
                    trace.leave();
                }
            }
        }
    }

    /// The number of a file; one that is new is added to `part`.
    fn number_of(
        &mut self,
        domain: &Domain,
        index: u32,
        ident: FileIdent,
        part: &mut TracePart,
    ) -> u32 {
        let next = self.files.len() as u32;
        *self
            .files
            .entry((domain.number, ident.dev, ident.ino, ident.birth_ns))
            .or_insert_with(|| {
                let paths = domain.paths.lock();
                part.files.push(TraceFile {
                    number: next,
                    path: paths.get(&index).map(|(_, path)| path.clone()),
                    device: (ident.dev >> 32, ident.dev & 0xFFFF_FFFF),
                    inode: ident.ino,
                });
                next
            })
    }

    /// Files that nobody has asked to be proved yet: whoever has them open tells their paths.
    fn name_nameless(&mut self, files: &mut [TraceFile]) {
        let is_due = self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if !is_due || files.iter().all(|file| file.path.is_some()) {
            return;
        }
        self.looked_at = Some(Instant::now());
        let members = self.session.members.lock();
        let pids: Vec<u32> = members.iter().map(|member| member.pid).collect();
        drop(members);
        let open = look::open_paths(pids.into_iter().take(PROCESSES_ASKED));
        for file in files.iter_mut().filter(|file| file.path.is_none()) {
            let device = file.device.0 << 32 | file.device.1;
            file.path = open.get(&(device, file.inode)).cloned();
        }
    }
}

impl Ring {
    fn dropped(&self) -> u64 {
        let ends = self.domain.region.trace().ends;
        let dropped = ends.dropped.load(Ordering::Relaxed);
        dropped.wrapping_sub(self.dropped_before)
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        for ring in &self.rings {
            let header = ring.domain.region.header();
            header.set_switch(switch::TRACE, false);
        }
        self.session.recording.store(false, SeqCst);
    }
}
