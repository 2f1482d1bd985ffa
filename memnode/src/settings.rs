//! What the node is told, gathered: flag, then MEMNODE_* variable, then file, then default.
//!
//! Called by `main`. Every value is judged here, once, whatever it came from; what cannot be is
//! refused with what to write instead.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memnode::{Eviction, HugePages, Lend, MEMORY_BYTES_MIN, Tls, host, size};

use crate::failure::{self, Failure};
use crate::flags::Flags;
use crate::listen::{DEFAULT_LISTEN, Listen};

/// Read if it is there and no other file is named.
const DEFAULT_FILE: &str = "/etc/ramgrid/memnode.toml";

/// Largest password in bytes.
const PASSWORD_BYTES_MAX: usize = 512;

/// `auto`: this share of what is available when the node starts, and of the host's memory at most.
const AUTO_SHARE: u64 = 2;

/// `auto`: what it keeps whatever the host needs, unless told otherwise.
const FLOOR: &str = "64MiB";

/// Everything a node needs to know, in a form that can be acted on.
#[derive(Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: Listen,
    /// All the memory the node may take, in bytes.
    pub memory_bytes: usize,
    /// How it follows its host, if it does.
    pub lend: Option<Lend>,
    /// What is thrown away when memory is full.
    pub eviction: Eviction,
    /// Whether blocks lie on huge pages.
    pub huge_pages: HugePages,
    /// How long a silent client may stay; zero: for ever.
    pub idle_time_max: Duration,
    /// What clients have to say first.
    pub password: Option<Vec<u8>>,
    /// What clients are shown, and asked.
    pub tls: Option<Tls>,
    /// Where `/metrics` is served.
    pub metrics: Option<Listen>,
    /// How long to go on after the word to end.
    pub grace: Duration,
    /// Log lines as JSON.
    pub log_json: bool,
}

/// The file: the same names as the flags.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Option<String>,
    memory: Option<String>,
    memory_floor: Option<String>,
    memory_ceiling: Option<String>,
    eviction: Option<String>,
    hugepages: Option<String>,
    idle_timeout: Option<u64>,
    password_file: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_client_ca: Option<PathBuf>,
    metrics: Option<String>,
    grace: Option<u64>,
    log_format: Option<String>,
    no_auth: bool,
}

impl Settings {
    /// Gathers and judges all settings.
    ///
    /// # Errors
    /// The first one that cannot be.
    pub fn gather(flags: Flags) -> Result<Settings, Failure> {
        let file = read_file(flags.config.as_deref())?;
        let text = flags
            .listen
            .or(file.listen)
            .unwrap_or_else(|| DEFAULT_LISTEN.to_string());
        let listen = Listen::parse("--listen", &text)?;
        let password_file = flags.password_file.or(file.password_file);
        let password = password_file.map(|path| read_password(&path)).transpose()?;
        let tls = read_tls(
            flags.tls_cert.or(file.tls_cert).as_deref(),
            flags.tls_key.or(file.tls_key).as_deref(),
            flags.tls_client_ca.or(file.tls_client_ca).as_deref(),
        )?;
        let access = Access {
            password: password.is_some(),
            certificates: tls.as_ref().is_some_and(Tls::asks_clients),
            no_auth: flags.no_auth || file.no_auth,
        };
        access.check(&listen)?;
        let memory = Memory {
            text: flags.memory.or(file.memory),
            floor: flags.memory_floor.or(file.memory_floor),
            ceiling: flags.memory_ceiling.or(file.memory_ceiling),
        };
        let (memory_bytes, lend) = memory.judge()?;
        let eviction = flags.eviction.or(file.eviction);
        let metrics = flags.metrics.or(file.metrics);
        let huge_pages = flags.hugepages.or(file.hugepages);
        if lend.is_some() && huge_pages.as_deref() == Some("require") {
            return Err(Failure::usage(
                "--hugepages require and --memory auto contradict each other",
                "reserved pages are no use to others, so they cannot be lent for a while",
                "memnode --memory SIZE --hugepages require",
            ));
        }
        let idle_s_max = flags.idle_timeout.or(file.idle_timeout).unwrap_or(0);
        Ok(Settings {
            listen,
            memory_bytes,
            lend,
            eviction: eviction.map_or(Ok(Eviction::default()), |name| read_eviction(&name))?,
            huge_pages: huge_pages
                .map_or(Ok(HugePages::default()), |name| read_huge_pages(&name))?,
            idle_time_max: Duration::from_secs(idle_s_max),
            password,
            tls,
            metrics: metrics
                .map(|text| Listen::parse("--metrics", &text))
                .transpose()?,
            grace: Duration::from_secs(flags.grace.or(file.grace).unwrap_or(0)),
            log_json: read_log_format(flags.log_format.or(file.log_format).as_deref())?,
        })
    }
}

fn read_file(named: Option<&Path>) -> Result<File, Failure> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let shown = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(_) if named.is_none() && !path.exists() => return Ok(File::default()),
        Err(error) => {
            return Err(Failure::usage(
                format!("cannot read {shown}: {error}"),
                "the settings in it are needed before anything else",
                "memnode --config FILE with a file that can be read",
            ));
        }
    };
    toml::from_str(&text).map_err(|error| {
        Failure::usage(
            format!("cannot understand {shown}: {}", error.message()),
            "it has settings that memnode does not know, or is not TOML",
            "lines like: listen = \"127.0.0.1:7420\"  memory = \"8GiB\"  eviction = \"s3fifo\"",
        )
    })
}

/// Reads the password file; spaces and ends of lines behind the password do not count.
///
/// # Errors
/// It cannot be read, is empty or too long.
pub fn read_password(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display().to_string();
    let make = |file: &str| {
        let into = match Path::new(file).parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
                format!("mkdir -p {}; ", parent.display())
            }
            _ => String::new(),
        };
        // Fit for a URL; the end of the line does not count.
        format!("{into}(umask 077; head -c 32 /dev/urandom | base64 | tr '/+' '_-' > {file})")
    };
    // A file that is there may be somebody's: it is not to be overwritten.
    let refuse = |why: String| {
        let what = format!("cannot use the password in {shown}");
        Failure::usage(what, why, &make("FILE"))
    };
    let mut password = fs::read(path).map_err(|error| {
        let what = format!("cannot read the password in {shown}: {error}");
        let (means, instead) = failure::unreadable(&error, &shown);
        let is_new = error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err();
        Failure::usage(what, means, &if is_new { make(&shown) } else { instead })
    })?;
    while password.last().is_some_and(u8::is_ascii_whitespace) {
        password.pop();
    }
    match password.len() {
        0 => Err(refuse("there is nothing in it".to_string())),
        1..=PASSWORD_BYTES_MAX => Ok(password),
        _ => Err(refuse(format!(
            "it has more than {PASSWORD_BYTES_MAX} bytes: some other file, perhaps"
        ))),
    }
}

/// Certificate and key go together; what clients have to show needs both.
fn read_tls(
    cert: Option<&Path>,
    key: Option<&Path>,
    client_ca: Option<&Path>,
) -> Result<Option<Tls>, Failure> {
    let alone = |given: &str, wanted: &str, why: &str| {
        let what = format!("{given} needs {wanted}");
        Err(Failure::usage(
            what,
            why,
            "memnode --tls-cert FILE --tls-key FILE",
        ))
    };
    match (cert, key) {
        (Some(cert), Some(key)) => {
            let tls = Tls::from_pem(cert, key, client_ca);
            tls.map(Some).map_err(failure::tls)
        }
        (Some(_), None) => alone(
            "--tls-cert",
            "--tls-key",
            "a certificate is shown by its key",
        ),
        (None, Some(_)) => alone("--tls-key", "--tls-cert", "a key alone says nothing"),
        (None, None) if client_ca.is_some() => alone(
            "--tls-client-ca",
            "--tls-cert and --tls-key",
            "clients show certificates only to a node that speaks TLS",
        ),
        (None, None) => Ok(None),
    }
}

/// How a node tells friends from strangers.
#[derive(Clone, Copy, Default)]
struct Access {
    /// By a password.
    password: bool,
    /// By a certificate.
    certificates: bool,
    /// Not at all.
    no_auth: bool,
}

impl Access {
    /// An address that others can reach wants a password, certificates, or an explicit word that it
    /// needs neither.
    fn check(self, listen: &Listen) -> Result<(), Failure> {
        let text = &listen.text;
        if self.password && self.no_auth {
            return Err(Failure::usage(
                "--password-file and --no-auth contradict each other",
                "one asks for a password, the other for none",
                &format!("memnode --listen {text} --password-file FILE"),
            ));
        }
        if self.certificates && self.no_auth {
            return Err(Failure::usage(
                "--tls-client-ca and --no-auth contradict each other",
                "one asks for a certificate, the other for nothing",
                &format!("memnode --listen {text} without --no-auth"),
            ));
        }
        if !listen.is_loopback() && !self.password && !self.certificates && !self.no_auth {
            return Err(Failure::usage(
                format!("{text} can be reached from other machines, and no password is set"),
                "anybody who reaches it could fill its memory and empty it",
                &format!(
                    "memnode --listen {text} --password-file FILE (or --tls-client-ca FILE, or \
                     --no-auth to allow it)"
                ),
            ));
        }
        Ok(())
    }
}

fn read_eviction(name: &str) -> Result<Eviction, Failure> {
    Eviction::from_name(name).ok_or_else(|| {
        Failure::usage(
            format!("--eviction {name} is not known"),
            "there are two policies: s3fifo (resists scans) and lru (to compare)",
            "memnode --eviction s3fifo",
        )
    })
}

fn read_log_format(name: Option<&str>) -> Result<bool, Failure> {
    match name {
        None | Some("text") => Ok(false),
        Some("json") => Ok(true),
        Some(name) => Err(Failure::usage(
            format!("--log-format {name} is not known"),
            "there are two: text for people, json for programs",
            "memnode --log-format json",
        )),
    }
}

fn read_huge_pages(name: &str) -> Result<HugePages, Failure> {
    HugePages::from_name(name).ok_or_else(|| {
        Failure::usage(
            format!("--hugepages {name} is not known"),
            "there are three wishes: try, require (reserved ones or no start), off",
            "memnode --hugepages try",
        )
    })
}

/// What was said about memory.
#[derive(Default)]
struct Memory {
    text: Option<String>,
    floor: Option<String>,
    ceiling: Option<String>,
}

impl Memory {
    /// How much it is at most, and how the node follows its host, if it does.
    fn judge(self) -> Result<(usize, Option<Lend>), Failure> {
        let text = self.text.unwrap_or_else(|| "auto".to_string());
        if text != "auto" {
            if self.floor.is_some() || self.ceiling.is_some() {
                return Err(Failure::usage(
                    format!("--memory {text} has no floor and no ceiling"),
                    "a size is a promise; only auto goes up and down",
                    "memnode --memory auto --memory-floor 1GiB --memory-ceiling 8GiB",
                ));
            }
            return Ok((memory_bytes("--memory", &text)?, None));
        }
        let whole = |bytes: u64| size::format(bytes & !((1 << 20) - 1));
        let half = host::memory_bytes().unwrap_or(0) / AUTO_SHARE;
        let ceiling = self.ceiling.unwrap_or_else(|| whole(half));
        let ceiling_bytes = memory_bytes("--memory-ceiling", &ceiling)?;
        let named = self.floor.is_some();
        let floor = self.floor.unwrap_or_else(|| FLOOR.to_string());
        let floor_bytes = memory_bytes("--memory-floor", &floor)?;
        if named && floor_bytes > ceiling_bytes {
            return Err(Failure::usage(
                format!("--memory-floor {floor} is over --memory-ceiling {ceiling}"),
                "the floor is what it keeps, the ceiling what it takes",
                &format!("memnode --memory-floor {ceiling} --memory-ceiling {floor}"),
            ));
        }
        let floor_bytes = floor_bytes.min(ceiling_bytes);
        let available = host::available_bytes().unwrap_or(0) / AUTO_SHARE;
        let begin_bytes = usize::try_from(available).unwrap_or(usize::MAX);
        let begin_bytes = begin_bytes.clamp(floor_bytes, ceiling_bytes);
        let lend = Lend {
            floor_bytes,
            begin_bytes,
        };
        Ok((ceiling_bytes, Some(lend)))
    }
}

fn memory_bytes(flag: &str, text: &str) -> Result<usize, Failure> {
    let least = MEMORY_BYTES_MIN as u64;
    let refuse = |means: String, instead: String| {
        let what = format!("{flag} {text} cannot be");
        Failure::usage(what, means, &format!("memnode {flag} {instead}"))
    };
    let most = host::memory_bytes().unwrap_or(u64::MAX);
    let bytes = size::parse(text).map_err(|hint| refuse(hint, example(text)))?;
    if bytes < least {
        let means = format!("a node needs at least {}", size::format(least));
        return Err(refuse(means, size::format(least)));
    }
    if bytes > most {
        let all = size::format(most & !((1 << 20) - 1));
        let half = size::format((most / 2).max(least) & !((1 << 20) - 1));
        return Err(refuse(format!("this host has {all} in all"), half));
    }
    usize::try_from(bytes).map_err(|_| refuse("no such machine".to_string(), "auto".to_string()))
}

/// A size that would be understood, close to what was written.
fn example(text: &str) -> String {
    let hint = size::parse(text).err().unwrap_or_default();
    let spelled = hint
        .strip_prefix("write ")
        .filter(|rest| size::parse(rest).is_ok());
    spelled.unwrap_or("8GiB").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_be_are_told_what_can() {
        for (text, words) in [
            ("64g", "try: memnode --memory 64GiB"),
            ("0", "at least 16MiB"),
            ("15MiB", "try: memnode --memory 16MiB"),
            ("9999999GiB", "this host has"),
            ("lots", "try: memnode --memory 8GiB"),
        ] {
            let memory = Memory {
                text: Some(text.to_string()),
                ..Memory::default()
            };
            let failure = memory.judge().unwrap_err();
            let shown = failure.to_string();
            assert!(shown.contains(words), "{shown}");
            assert_eq!((failure.status, shown.lines().count()), (2, 3));
        }
        assert_eq!(memory_bytes("--memory", "16MiB").unwrap(), 16 << 20);
        let (most, lend) = Memory::default().judge().unwrap();
        let lend = lend.unwrap();
        assert!(MEMORY_BYTES_MIN <= lend.floor_bytes && lend.floor_bytes <= lend.begin_bytes);
        assert!(lend.begin_bytes <= most);
    }

    #[test]
    fn a_floor_belongs_to_auto_and_lies_under_the_ceiling() {
        let told = |text: &str, floor: &str, ceiling: &str| {
            let memory = Memory {
                text: Some(text.to_string()),
                floor: Some(floor.to_string()),
                ceiling: Some(ceiling.to_string()),
            };
            memory.judge().map_err(|failure| failure.to_string())
        };
        assert!(
            told("1GiB", "16MiB", "32MiB")
                .unwrap_err()
                .contains("a promise")
        );
        assert!(
            told("auto", "32MiB", "16MiB")
                .unwrap_err()
                .contains("is over")
        );
        let (most, lend) = told("auto", "16MiB", "32MiB").unwrap();
        assert_eq!((most, lend.unwrap().floor_bytes), (32 << 20, 16 << 20));
    }

    #[test]
    fn nobody_is_told_to_overwrite_a_file_that_is_there() {
        let told = |path: &str| read_password(Path::new(path)).unwrap_err().to_string();
        assert!(told("/etc").ends_with("ls /etc, and name a file in it"));
        assert!(told("/dev/null").ends_with("'_-' > FILE)"));
        assert!(told("/no-such-file").ends_with(
            "try: (umask 077; head -c 32 /dev/urandom | \
             base64 | tr '/+' '_-' > /no-such-file)"
        ));
    }

    #[test]
    fn strangers_are_not_let_in_by_accident() {
        let here = Listen::parse("--listen", "127.0.0.1").unwrap();
        let there = Listen::parse("--listen", "0.0.0.0").unwrap();
        let none = Access::default();
        let password = Access {
            password: true,
            ..none
        };
        let certificates = Access {
            certificates: true,
            ..none
        };
        let no_auth = |access: Access| Access {
            no_auth: true,
            ..access
        };
        assert!(none.check(&here).is_ok());
        assert!(none.check(&there).is_err());
        for known in [password, certificates] {
            assert!(known.check(&there).is_ok());
            assert!(no_auth(known).check(&here).is_err());
        }
        assert!(no_auth(none).check(&there).is_ok());
    }
}
