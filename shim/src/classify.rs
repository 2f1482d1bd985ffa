//! Finding out what a descriptor is, once, when it is first read or written: a file that may be
//! served (with its record in the region), or something to be left alone, with the reason.

use grid::attach::Want;
use grid::files::{RecordRef, SOUGHT};
use grid::header::switch;
use grid::names::Bypass;
use grid::sync::{AtomicU64, Ordering};

use crate::fdtable::{self, Word};
use crate::governor;
use crate::session::{self, Member};
use crate::sys::file::FileStat;
use crate::{sockets, sys};

/// No look at a file is waited for so long after one that did not come, in milliseconds.
const LOOK_PAUSE_MS: u64 = 1000;
/// Monotonic milliseconds from which on one may be.
static LOOK_AT_MS: AtomicU64 = AtomicU64::new(0);

/// Whether a file of this kind is ever served; `Err`: why not.
pub fn eligible(fd: i32, stat: &FileStat) -> Result<(), Bypass> {
    if !stat.is_regular {
        return Err(Bypass::NotRegular);
    }
    if stat.ident.birth_ns == 0 || !sys::file::is_served_file_system(fd) {
        return Err(Bypass::FileSystem);
    }
    Ok(())
}

/// Looks at a descriptor that is about to be read and notes in the table what it is.
pub fn look(fd: i32) -> Word {
    let word = match classify(fd) {
        Ok(word) => word,
        Err(reason) => Word::left_alone(reason),
    };
    fdtable::set(fd, word);
    word
}

fn classify(fd: i32) -> Result<Word, Bypass> {
    if session::config().is_none() {
        return Err(Bypass::NotJoined);
    }
    let stat = sys::file::stat_fd(fd).map_err(|_| Bypass::NotRegular)?;
    eligible(fd, &stat)?;
    look_at_flags(fd)?;
    let member = session::join_to_read().ok_or(Bypass::NotJoined)?;
    let found = record_of(member, &stat).ok_or(Bypass::TableFull)?;
    let record = member.region().files().record(found);
    // A direct read always waits for the device: there is nothing to find out first.
    let mode = match fdtable::alignment(fd) {
        Some(_) => governor::SERVE,
        None => governor::first_mode(member.header(), record),
    };
    Ok(Word::file(found, mode))
}

/// Whether the kernel would let this descriptor read at all, and its holder open the file anew;
/// notes what `O_DIRECT` asks of it.
pub fn look_at_flags(fd: i32) -> Result<(), Bypass> {
    let flags = sys::file::status_flags(fd);
    if flags & libc::O_ACCMODE == libc::O_WRONLY || flags & libc::O_PATH != 0 {
        return Err(Bypass::NotForReading);
    }
    if !sys::file::may_read(fd) {
        return Err(Bypass::Entrusted);
    }
    let direct = flags & libc::O_DIRECT != 0;
    let alignment = direct
        .then(|| sys::file::direct_alignment(fd).ok_or(Bypass::Direct))
        .transpose()?;
    fdtable::set_alignment(fd, alignment);
    Ok(())
}

/// The record of a file, made if need be.
pub fn record_of(member: Member, stat: &FileStat) -> Option<RecordRef> {
    let now = sys::monotonic_ms();
    let slot = member.slot?;
    member
        .region()
        .files()
        .find_or_create(stat.ident, slot, now)
}

/// The record that a table word points to, if it still describes the file that the kernel says the
/// descriptor is.
pub fn known_record(member: Member, word: Word, stat: &FileStat) -> Option<RecordRef> {
    let files = member.region().files();
    let (index, generation) = word.record();
    let found = files
        .at(index)
        .filter(|found| found.generation & 0xFFF_FFFF == generation)?;
    (files.record(found).ident() == stat.ident && files.is_current(found)).then_some(found)
}

/// Asks the hook server to prove the file's stamp, or to judge its name.
pub fn request_proof(member: Member, found: RecordRef, fd: i32) {
    let record = member.region().files().record(found);
    if record.want.load(Ordering::Relaxed) != 0 {
        return;
    }
    let Some(counters) = member.counters() else {
        return;
    };
    if record.has_policy(SOUGHT) {
        return have_it_looked_at(member, found, fd);
    }
    let pid = counters.pid.load(Ordering::Relaxed);
    record
        .want
        .store(pid << 32 | (fd as u64 + 1), Ordering::Relaxed);
    ring(member);
}

/// Waits until the hook server has looked at a file that is open for an instant only, as web
/// servers open theirs: once for each file, a tenth of a millisecond.
#[cold]
#[inline(never)]
fn have_it_looked_at(member: Member, found: RecordRef, fd: i32) {
    let (Some(config), Some(process)) = (session::config(), member.slot) else {
        return;
    };
    let now = sys::monotonic_ms();
    if session::is_shared_memory_child() || now < LOOK_AT_MS.load(Ordering::Relaxed) {
        return;
    }
    // Nobody else asks meanwhile, and nobody for a while if there is no answer.
    member.region().files().record(found).clear_policy(SOUGHT);
    let want = Want::Look {
        process,
        fd: fd as u32,
        record: (found.index, found.generation),
    };
    match crate::join::ask(config, want, false) {
        Ok(answer) => {
            if let Some(region_fd) = answer.region_fd {
                sys::socket::close(region_fd);
            }
            sockets::adopt(&answer);
        }
        Err(_) => LOOK_AT_MS.store(now + LOOK_PAUSE_MS, Ordering::Relaxed),
    }
}

/// Wakes the hook server if it sleeps.
pub fn ring(member: Member) {
    let header = member.header();
    header.doorbell.fetch_add(1, Ordering::SeqCst);
    if header.asleep.load(Ordering::SeqCst) != 0 {
        sys::futex_wake(&header.doorbell);
    }
}

/// Whether `--include`, `--exclude` and `--own` still have to be looked at for this file.
pub fn awaits_judgement(member: Member, found: RecordRef) -> bool {
    let record = member.region().files().record(found);
    member.header().is_on(switch::JUDGE_NAMES) && !record.has_policy(grid::files::JUDGED)
}
