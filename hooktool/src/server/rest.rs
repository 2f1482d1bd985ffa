//! Rest: what a session holds of its owned files while nobody is in it. The promise that nobody
//! else writes them (`--own`) is kept by who is here; a restore, pg_rewind or rsync may come in
//! between. So each owned file's stamp is noted when the last process is gone, and compared when
//! the next one comes. A file that has moved, or that cannot be told, starts a new epoch (rule O3).
//!
//! `life` says when somebody was here and when nobody is, `session` when somebody comes.

use std::sync::Arc;

use grid::files::{OWNED, RecordRef, Stamp};
use grid::ident::FileIdent;

use super::domain::Domain;
use super::look;
use super::session::Session;

/// A change that is not so much older than the last moment at which somebody was here may be a
/// stranger's: change times are as coarse as the clock tick, which lags.
const MARGIN_NS: u64 = 20_000_000;

/// What is known of the owned files of an empty session.
#[derive(Default)]
pub struct Rest {
    /// When somebody was certainly here, in nanoseconds of the clock that change times are of.
    seen_ns: u64,
    /// The files as they were left; `None`: somebody is here.
    left: Option<Vec<Left>>,
}

/// An owned file as the session left it.
struct Left {
    domain: Arc<Domain>,
    found: RecordRef,
    ident: FileIdent,
    path: String,
    stamp: Stamp,
}

impl Left {
    /// Whether the file is as it was left.
    fn stands(&self) -> bool {
        look::stamp_at(&self.path, self.ident) == Some(self.stamp)
    }
}

impl Session {
    /// Somebody was here at `now_ns`, or later.
    pub fn note_seen(&self, now_ns: u64) {
        self.rest.lock().seen_ns = now_ns;
    }

    /// Nobody is here any more: notes how the owned files were left.
    pub fn lie_down(&self) {
        let mut rest = self.rest.lock();
        if !self.config.own.is_empty() && rest.left.is_none() {
            rest.left = Some(self.owned_files(rest.seen_ns));
        }
    }

    /// Somebody comes, who may be the first after a while. What has been changed meanwhile, or
    /// cannot be told, is garbage.
    pub fn rise(&self) {
        let mut rest = self.rest.lock();
        if self.config.own.is_empty() {
            return;
        }
        let seen_ns = rest.seen_ns;
        let left = rest.left.take();
        let left = left.unwrap_or_else(|| self.owned_files(seen_ns));
        let (mut kept, mut forgotten) = (0_u32, 0_u32);
        for domain in self.domains() {
            let files = domain.region.files();
            for (found, record) in files.live().filter(|(_, record)| record.has_policy(OWNED)) {
                let is_it =
                    |left: &&Left| Arc::ptr_eq(&left.domain, &domain) && left.found == found;
                if left.iter().find(is_it).is_some_and(Left::stands) {
                    kept += 1;
                } else {
                    let hash = record.ident().hash();
                    grid::cell::bump(&domain.region.cells().file(hash).epoch);
                    forgotten += 1;
                }
            }
        }
        tracing::info!(kept, forgotten, "owned files, after a rest");
    }

    /// Whether the session has been found empty since somebody came last.
    pub fn rests(&self) -> bool {
        self.rest.lock().left.is_some()
    }

    /// The owned files that have certainly not been changed since somebody was here last.
    fn owned_files(&self, seen_ns: u64) -> Vec<Left> {
        let mut all = Vec::new();
        for domain in self.domains() {
            let files = domain.region.files();
            let paths = domain.paths.lock().clone();
            for (found, record) in files.live().filter(|(_, record)| record.has_policy(OWNED)) {
                let known = paths.get(&found.index);
                let known = known.filter(|(generation, _)| *generation == found.generation);
                let ident = record.ident();
                let Some((_, path)) = known else { continue };
                let Some(stamp) = look::stamp_at(path, ident) else {
                    continue;
                };
                if stamp.ctime_ns.saturating_add(MARGIN_NS) < seen_ns {
                    all.push(Left {
                        domain: Arc::clone(&domain),
                        found,
                        ident,
                        path: path.clone(),
                        stamp,
                    });
                }
            }
        }
        all
    }
}
