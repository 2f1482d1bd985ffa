//! `hooktool bus apply FILE`: makes the bus what the table says.
//!
//! What is there and wanted is kept, with its messages and its date; what is missing is made; what
//! is surplus is removed, after asking. Applied twice, the second time changes nothing. A channel
//! that exists with other sizes is kept as it is and told: rings are never resized.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use bus::channel::{Access, File};
use bus::{Bus, Error, Spec};

use super::cli::ApplyArgs;
use super::table::{self, Table};
use super::told;
use crate::failure::Failure;
use crate::viewer::line;

/// What there is to do.
#[derive(Debug, Default)]
struct Plan {
    keep: Vec<PathBuf>,
    /// Kept although the table wants it otherwise, and in what it differs.
    differs: Vec<(PathBuf, &'static str)>,
    make: Vec<Spec>,
    remove: Vec<(PathBuf, u64)>,
}

/// Runs `apply`.
///
/// # Errors
///
/// The table is wrong; the bus is being changed by another tool, or cannot be changed; a surplus
/// channel is bound; nobody said yes.
pub fn apply(name: Option<&str>, arguments: &ApplyArgs) -> Result<u8, Failure> {
    let table = table::read(&arguments.file)?;
    let name = name.or(table.key.as_deref()).unwrap_or("default");
    let bus = Bus::open(name).map_err(told)?;
    if arguments.dry_run {
        let plan = plan(&bus, &table)?;
        tell(&bus, &plan, "would be")?;
        return Ok(0);
    }
    bus.make().map_err(told)?;
    let _lock = bus.lock().map_err(told)?;
    let plan = plan(&bus, &table)?;
    agree(&plan, arguments)?;
    for spec in &plan.make {
        bus.create(spec).map_err(told)?;
    }
    for (path, _) in &plan.remove {
        bus.remove(path, arguments.force).map_err(told)?;
    }
    tell(&bus, &plan, "")?;
    match plan.differs.first() {
        None => Ok(0),
        Some((path, what)) => Err(Failure::command(
            format!("{}: {what} differs from the table", path.display()),
            "it was kept as it is, with its messages: a channel is never changed in place",
            "empty it, then:  hooktool bus rm A B; hooktool bus apply FILE",
        )),
    }
}

fn plan(bus: &Bus, table: &Table) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let mut wanted: Vec<(PathBuf, &Spec)> = Vec::new();
    for spec in &table.channels {
        wanted.push((bus.path_of(spec.template, spec.ends), spec));
    }
    for file in bus.files(Access::View).map_err(told)? {
        let path = match &file {
            Ok(file) => file.path().to_path_buf(),
            Err(error) => match error.path() {
                Some(path) => path.to_path_buf(),
                None => continue,
            },
        };
        let nth = wanted.iter().position(|(name, _)| *name == path);
        match (nth.map(|nth| wanted.swap_remove(nth).1), file) {
            (None, file) => plan
                .remove
                .push((path, file.map_or(0, |file| queued(&file)))),
            (Some(spec), Ok(file)) => match difference(&file, spec) {
                None => plan.keep.push(path),
                Some(what) => plan.differs.push((path, what)),
            },
            (Some(_), Err(error)) => return Err(told(error)),
        }
    }
    // In the order of the table: numbers in `ls` follow the order of making.
    let is_missing = |spec: &&Spec| wanted.iter().any(|(_, other)| other.ends == spec.ends);
    plan.make = table.channels.iter().filter(is_missing).cloned().collect();
    Ok(plan)
}

/// Messages queued in both directions.
fn queued(file: &File) -> u64 {
    bus::view::queues(file)
        .iter()
        .map(|queue| queue.messages().1)
        .sum()
}

/// In what a channel differs from what is wanted.
fn difference(file: &File, spec: &Spec) -> Option<&'static str> {
    let header = file.header();
    let mut rings = header.places.map(|place| place.data_bytes);
    if header.ends[0] != spec.ends[0] {
        rings.reverse();
    }
    let most = |bytes: u64| {
        spec.message_bytes_max
            .unwrap_or(bytes / bus::layout::MESSAGE_SHARE)
    };
    let messages = header.places.map(|place| most(place.data_bytes));
    if spec.rounded().ok() != Some(rings) {
        Some("the size of a ring")
    } else if header.message_bytes_max.map(u64::from) != messages {
        Some("the largest message")
    } else if (header.is_summed, header.is_stamped) != (spec.is_summed, spec.is_stamped) {
        Some("checksum or timestamps")
    } else if header.template != spec.template {
        Some("the template")
    } else {
        None
    }
}

/// Asks before anything is thrown away.
fn agree(plan: &Plan, arguments: &ApplyArgs) -> Result<(), Failure> {
    if plan.remove.is_empty() || arguments.yes {
        return Ok(());
    }
    let messages: u64 = plan.remove.iter().map(|(_, messages)| messages).sum();
    let count = plan.remove.len();
    let refused = |what: String| {
        Failure::command(
            what,
            format!("{count} channels with {messages} messages are not in the table"),
            "see them with --dry-run; remove them with --yes",
        )
    };
    if !std::io::stdin().is_terminal() {
        return Err(refused("surplus channels, and nobody to ask".into()));
    }
    eprint!("remove {count} surplus channels with {messages} messages? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(refused("not removed, nothing was changed".into())),
    }
}

fn tell(bus: &Bus, plan: &Plan, mood: &str) -> Result<(), Failure> {
    let verb = |word: &str| match mood {
        "" => word.to_string(),
        mood => format!("{mood} {word}"),
    };
    for spec in &plan.make {
        let [a, b] = spec.ends.map(|end| spec.template.show(end));
        let [send, back] = spec.rounded().map_err(|error: Error| told(error))?;
        line(&format!(
            "{} {a} {b}, rings of {send} and {back} bytes",
            verb("made")
        ))?;
    }
    for (path, messages) in &plan.remove {
        line(&format!(
            "{} {}, with {messages} messages",
            verb("removed"),
            path.display()
        ))?;
    }
    for (path, what) in &plan.differs {
        line(&format!(
            "{} {}, although {what} differs",
            verb("kept"),
            path.display()
        ))?;
    }
    let path = bus.path().display();
    let is_new = plan.make.len() + plan.remove.len() + plan.differs.len() > 0;
    match plan.keep.len() {
        0 if is_new => Ok(()),
        0 => line(&format!(
            "{path}: the table has no channels, and there are none"
        )),
        kept => line(&format!("{path}: {kept} {}", verb("kept as they were"))),
    }
}
