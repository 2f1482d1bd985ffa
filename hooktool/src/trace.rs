//! `hooktool trace`: records which blocks the processes of a session read and write, into a file
//! that `memnode replay` and readers of the MSR Cambridge block traces understand.
//!
//! A line is a call: `time,session,file,Read|Write,offset,bytes,0`, the time in units of 100 ns
//! since 1601 and that of the look which fetched the call, offset and bytes those of its whole
//! blocks of 4 KiB. Lines that begin with `#` name the files and say where calls are missing.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cli::TraceArgs;
use crate::control::{Request, Response, TraceCall, TraceFile, TracePart};
use crate::failure::{self, Failure};
use crate::sessions::{self, Found};
use crate::{sys, viewer};

/// Bytes of a block.
const BLOCK_BYTES: u64 = 4096;

/// Between two looks: the hook server keeps 65536 calls, so that a million a second are no loss.
const PAUSE: Duration = Duration::from_millis(5);

/// Between the years 1601 and 1970, in units of 100 ns.
const SINCE_1601: u64 = 116_444_736_000_000_000;

/// What has been recorded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    reads: u64,
    writes: u64,
    files: u64,
    missing: u64,
}

/// Records until the time is over, the session ends or the user interrupts.
///
/// # Errors
///
/// No such session, somebody else records it, or the file cannot be written.
pub fn trace(arguments: &TraceArgs) -> Result<u8, Failure> {
    let mut found = sessions::select_one(arguments.select.name.as_deref(), "trace")?;
    // An interrupt is to end the recording, not its last line.
    let _mask = sys::block_signals();
    let first = next(&mut found)?; // who is refused has touched no file
    let path = &arguments.out;
    let until = arguments
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let file = File::create(path);
    let sum = file.and_then(|file| {
        let mut writer = Writer::begin(BufWriter::new(file), &found.info.name)?;
        writer.part(&first, now())?;
        write_all(&mut found, writer, until)
    });
    let sum = sum.map_err(|error| unwritable(path, &error))?;
    failure::note(&format!(
        "recorded {} reads and {} writes of {} files in {}; {} calls are missing: {}",
        sum.reads,
        sum.writes,
        sum.files,
        path.display(),
        sum.missing,
        match sum.missing {
            0 => "none came too fast",
            _ => "they came too fast, or from processes that were stopped",
        }
    ));
    Ok(0)
}

/// The rest of the recording.
fn write_all<W: Write>(
    found: &mut Found,
    mut writer: Writer<W>,
    until: Option<Instant>,
) -> std::io::Result<Sum> {
    let (mut is_over, mut is_full) = (false, false);
    while !is_over || is_full {
        is_over |= until.is_some_and(|until| Instant::now() >= until) || is_interrupted();
        let Ok(part) = next(found) else {
            break; // the session has ended
        };
        is_full = part.is_full;
        writer.part(&part, now())?;
    }
    writer.end()
}

/// Whether the user has had enough. Waits a little.
fn is_interrupted() -> bool {
    let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
    let arrived = sys::next_signal(Some(PAUSE));
    arrived.is_some_and(|arrived| ends.contains(&arrived.signal))
}

fn next(found: &mut Found) -> Result<TracePart, Failure> {
    match found.link.ask(&Request::Trace)? {
        Response::Trace(part) => Ok(*part),
        other => Err(viewer::refused(other)),
    }
}

/// Now, as the traces write it.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let units = since.map_or(0, |since| since.as_nanos() / 100);
    SINCE_1601 + u64::try_from(units).unwrap_or(0)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::command(
        format!("cannot write {}: {error}", path.display()),
        "the trace ends here",
        "name a file in a directory with room for it:  hooktool trace --out /var/tmp/trace.csv",
    )
}

/// The file that is written.
struct Writer<W: Write> {
    out: W,
    session: String,
    sum: Sum,
}

impl<W: Write> Writer<W> {
    fn begin(mut out: W, session: &str) -> std::io::Result<Writer<W>> {
        writeln!(out, "# of session {session}, by hooktool trace")?;
        Ok(Writer {
            out,
            session: session.replace([',', '\n'], "_"),
            sum: Sum::default(),
        })
    }

    /// Writes a part; what it tells is in the file when this returns.
    fn part(&mut self, part: &TracePart, time: u64) -> std::io::Result<()> {
        for file in &part.files {
            self.name(file)?;
        }
        for TraceCall(file, is_write, first, blocks) in &part.calls {
            let kind = if *is_write { "Write" } else { "Read" };
            let (offset, bytes) = (first * BLOCK_BYTES, blocks * BLOCK_BYTES);
            writeln!(
                self.out,
                "{time},{},{file},{kind},{offset},{bytes},0",
                self.session
            )?;
            match is_write {
                true => self.sum.writes += 1,
                false => self.sum.reads += 1,
            }
        }
        let missing = part.dropped + part.lost;
        if missing > self.sum.missing {
            let more = missing - self.sum.missing;
            writeln!(self.out, "# {more} calls are missing about here")?;
            self.sum.missing = missing;
        }
        self.out.flush()
    }

    fn name(&mut self, file: &TraceFile) -> std::io::Result<()> {
        let (major, minor) = file.device;
        let path = file.path.as_deref().unwrap_or("of unknown path");
        let path = path.replace('\n', "?");
        self.sum.files += 1;
        writeln!(
            self.out,
            "# file {}: {path} (inode {} on device {major}:{minor})",
            file.number, file.inode
        )
    }

    fn end(mut self) -> std::io::Result<Sum> {
        let sum = &self.sum;
        writeln!(
            self.out,
            "# end: {} reads, {} writes, {} calls missing",
            sum.reads, sum.writes, sum.missing
        )?;
        self.out.flush()?;
        Ok(self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_names_its_files_and_tells_what_is_missing() {
        let mut text = Vec::new();
        let mut writer = Writer::begin(&mut text, "p,g").unwrap();
        let file = TraceFile {
            number: 0,
            path: Some("/srv/a\nb".into()),
            device: (8, 1),
            inode: 77,
        };
        let mut part = TracePart {
            files: vec![file],
            calls: vec![TraceCall(0, false, 3, 2), TraceCall(0, true, 0, 1)],
            dropped: 4,
            lost: 1,
            ..TracePart::default()
        };
        writer.part(&part, 42).unwrap();
        part.files.clear();
        part.calls.truncate(1);
        writer.part(&part, 43).unwrap();
        writer.end().unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "# of session p,g, by hooktool trace\n\
             # file 0: /srv/a?b (inode 77 on device 8:1)\n\
             42,p_g,0,Read,12288,8192,0\n\
             42,p_g,0,Write,0,4096,0\n\
             # 5 calls are missing about here\n\
             43,p_g,0,Read,12288,8192,0\n\
             # end: 2 reads, 1 writes, 5 calls missing\n"
        );
    }
}
