//! `hooktool bus routes`: the route table of a bus: apply a file, list, remove.
//!
//! Routes lose nothing when they go: messages wait in their rings until there is a route again. So
//! `apply` asks nothing. A relay that runs sees the change by itself.

pub mod table;

use std::collections::BTreeMap;
use std::io::Write;

use bus::{Address, Bus, Error};
use serde::Serialize;

use self::table::{Route, Routes, path_of};
use super::cli::{FormatArgs, RoutesApplyArgs, RoutesCommand, RoutesRmArgs};
use super::relay::status;
use super::{address, told};
use crate::failure::Failure;
use crate::viewer::{json_line, line};

/// A route as a script reads it.
#[derive(Serialize)]
struct Row {
    address: String,
    to: String,
    description: String,
    state: String,
}

/// Runs `routes`.
///
/// # Errors
///
/// The table is wrong, or the bus cannot be read or changed.
pub fn dispatch(bus: &Bus, command: &RoutesCommand) -> Result<u8, Failure> {
    match command {
        RoutesCommand::Apply(arguments) => apply(bus, arguments),
        RoutesCommand::Ls(arguments) => list(bus, arguments),
        RoutesCommand::Rm(arguments) => remove(bus, arguments),
    }
}

fn apply(bus: &Bus, arguments: &RoutesApplyArgs) -> Result<u8, Failure> {
    let wanted = table::read(&arguments.file)?;
    agree(bus, &wanted)?;
    if arguments.dry_run {
        let found = installed(bus)?;
        return tell(bus, &found, &wanted, "would be ");
    }
    bus.make().map_err(told)?;
    let _lock = bus.lock().map_err(told)?;
    let found = installed(bus)?;
    if found != wanted || !path_of(bus).exists() {
        install(bus, &wanted)?;
    }
    tell(bus, &found, &wanted, "")
}

/// Channels and routes of one bus are written by one template.
fn agree(bus: &Bus, wanted: &Routes) -> Result<(), Failure> {
    let has_channels = !bus
        .files(bus::channel::Access::View)
        .map_err(told)?
        .is_empty();
    let template = bus.template().map_err(told)?;
    if has_channels && template != wanted.template {
        return Err(Failure::usage(
            format!(
                "the routes are written by {}, the channels by {template}",
                wanted.template
            ),
            "an address would mean two things, so nothing was changed",
            format!("write  template = \"{template}\"  and its addresses"),
        ));
    }
    Ok(())
}

/// The table there is; an empty one where there is none.
fn installed(bus: &Bus) -> Result<Routes, Failure> {
    match path_of(bus).exists() {
        true => table::read(&path_of(bus)),
        false => Ok(Routes::default()),
    }
}

/// Puts a table in place, whole or not at all.
fn install(bus: &Bus, routes: &Routes) -> Result<(), Failure> {
    let path = path_of(bus);
    let hidden = path.with_extension(format!("new-{}", std::process::id()));
    let written = std::fs::File::create(&hidden)
        .and_then(|mut file| file.write_all(table::text(routes).as_bytes()))
        .and_then(|()| std::fs::rename(&hidden, &path));
    written.map_err(|errno| {
        let _ = std::fs::remove_file(&hidden);
        told(Error::system(&path, "write", errno))
    })
}

fn tell(bus: &Bus, found: &Routes, wanted: &Routes, mood: &str) -> Result<u8, Failure> {
    let old: BTreeMap<Address, &Route> = found.routes.iter().map(|r| (r.address, r)).collect();
    let new: BTreeMap<Address, &Route> = wanted.routes.iter().map(|r| (r.address, r)).collect();
    let mut kept = 0;
    for route in &wanted.routes {
        let address = wanted.template.show(route.address);
        match old.get(&route.address) {
            Some(before) if *before == route => kept += 1,
            Some(before) => line(&format!(
                "{mood}changed {address}: {} (was {})",
                route.to, before.to
            ))?,
            None => line(&format!("{mood}added {address}: {}", route.to))?,
        }
    }
    for route in &found.routes {
        if !new.contains_key(&route.address) {
            let address = found.template.show(route.address);
            line(&format!("{mood}removed {address}: {}", route.to))?;
        }
    }
    if kept > 0 {
        let path = path_of(bus);
        line(&format!(
            "{}: {kept} {mood}kept as they were",
            path.display()
        ))?;
    }
    Ok(0)
}

fn list(bus: &Bus, arguments: &FormatArgs) -> Result<u8, Failure> {
    let routes = installed(bus)?;
    let status = status::read(bus);
    if !arguments.json {
        line("ADDRESS          RELAY                            STATE")?;
    }
    for route in &routes.routes {
        let row = Row {
            address: routes.template.show(route.address).to_string(),
            to: route.to.to_string(),
            description: route.description.clone(),
            state: status.of(&route.to.to_string()),
        };
        match arguments.json {
            true => json_line(&row)?,
            false => line(&format!(
                "{:16} {:32} {}  {}",
                row.address, row.to, row.state, row.description
            ))?,
        }
    }
    Ok(0)
}

fn remove(bus: &Bus, arguments: &RoutesRmArgs) -> Result<u8, Failure> {
    let _lock = bus.lock().map_err(told)?;
    let mut routes = installed(bus)?;
    let template = match routes.routes.is_empty() {
        true => bus.template().map_err(told)?,
        false => routes.template,
    };
    let gone = match template.address(&arguments.address) {
        Ok(gone) => gone,
        Err(_) => address(bus, &arguments.address)?,
    };
    let before = routes.routes.len();
    routes.routes.retain(|route| route.address != gone);
    if routes.routes.len() == before {
        return Err(Failure::command(
            format!("no route for {}", arguments.address),
            "nothing was changed",
            "see the routes:  hooktool bus routes ls",
        ));
    }
    install(bus, &routes)?;
    line(&format!("removed the route for {}", arguments.address)).map(|()| 0)
}
