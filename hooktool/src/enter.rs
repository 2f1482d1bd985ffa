//! Which session a start belongs to: one of its name that is what was asked for, or a new one.
//!
//! `launch` enters what this finds, `--dry-run` tells it. Nothing that was typed is ignored in
//! silence, and no program stays away because of a name: a session of this name with the same
//! settings is joined, whoever is in it; one with other settings makes room if nobody is in it;
//! beside one that has processes and other settings, a second session of the name is started, and
//! one line says so.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{ServeConfig, SessionId, Token};
use crate::control::{Request, Response};
use crate::failure;
use crate::sessions::{self, Found};

/// A process that has just ended may count as one of the session for an instant.
const END_TRIES: u32 = 5;
const END_PAUSE: Duration = Duration::from_millis(50);

/// A session that lets the target in.
pub struct Entered {
    /// The session.
    pub session: SessionId,
    /// What proves that a process belongs to it.
    pub token: Token,
    /// Its hook driver.
    pub shim: PathBuf,
}

/// Enters the session of this name, if there is one that is what `config` asks for.
pub fn enter(config: &ServeConfig) -> Option<Entered> {
    let mut beside = Vec::new();
    for mut found in sessions::of_name(&config.name) {
        let request = Request::Join {
            pid: config.target_pid,
            wanted: terms(config),
        };
        match found.link.ask(&request) {
            Ok(Response::Joined {
                token,
                shim,
                troubles,
            }) => {
                let session = found.info.session;
                troubles.iter().for_each(|trouble| failure::note(trouble));
                return Some(Entered {
                    session,
                    token,
                    shim,
                });
            }
            Ok(Response::Differs {
                settings,
                is_inhabited: true,
            }) => beside.push((found, settings)),
            Ok(Response::Differs { settings, .. }) => {
                if !end(&mut found) {
                    beside.push((found, settings));
                    continue;
                }
                // One that ends by itself takes nothing along that was still wanted.
                if !settings.iter().any(|setting| setting.starts_with("it is ")) {
                    failure::note(&ended_words(&found, &settings));
                }
                found.link.wait_for_end();
            }
            // It has ended meanwhile, or is of another release: it is left alone.
            Ok(_) | Err(_) => {}
        }
    }
    for (found, settings) in &beside {
        failure::note(&beside_words(found, settings));
    }
    None
}

/// What `enter` would do, in a line.
pub fn foresee(config: &ServeConfig) -> String {
    let mut words = Vec::new();
    if config.named {
        for mut found in sessions::of_name(&config.name) {
            let request = Request::Compare {
                wanted: terms(config),
            };
            let Ok(Response::Differs {
                settings,
                is_inhabited,
            }) = found.link.ask(&request)
            else {
                continue;
            };
            let which = format!("session {} {}", config.name, sessions::who(&found.info));
            match (settings.is_empty(), is_inhabited) {
                (true, _) => return format!("joins {which}: what it holds is warm"),
                (false, true) => words.push(beside_words(&found, &settings)),
                (false, false) => words.push(format!(
                    "ends {which}, which differs: {}",
                    settings.join(", ")
                )),
            }
        }
    }
    words.push("starts a new session".into());
    words.join("; ")
}

/// The settings as another session compares them; the command line is not among them.
fn terms(config: &ServeConfig) -> Box<ServeConfig> {
    Box::new(ServeConfig {
        command: Vec::new(),
        ..config.clone()
    })
}

/// Ends a session that lingers; false: somebody has come, or is not quite gone.
fn end(found: &mut Found) -> bool {
    (0..END_TRIES).any(|_| {
        let answer = found.link.ask(&Request::End);
        if let Ok(Response::Refused { .. }) = answer {
            std::thread::sleep(END_PAUSE);
            return false;
        }
        // No answer: it has ended by itself.
        true
    })
}

fn ended_words(found: &Found, settings: &[String]) -> String {
    format!(
        "session {} {} was kept for other settings ({}) and is ended: what it held is not used",
        found.info.name,
        sessions::who(&found.info),
        settings.join(", ")
    )
}

fn beside_words(found: &Found, settings: &[String]) -> String {
    format!(
        "session {} {} runs with other settings ({}): this is a second one of the name; see both: \
         hooktool ps",
        found.info.name,
        sessions::who(&found.info),
        settings.join(", ")
    )
}
