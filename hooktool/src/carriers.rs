//! Which session a process was started in: the one door to that question, for processes that have
//! joined and for those that have read nothing yet.
//!
//! A process says it twice: in its environment, from its exec on, and by the mark that the hook
//! driver maps before `main` (`grid::attach::MARK`), which fork children inherit. The environment
//! alone would not do: nginx, sshd, PostgreSQL and whatever else sets its title write over it. The
//! mark alone would not, either: it comes a moment after the exec, and not where the kernel refuses
//! memory files. Both are in `/proc`, readable by who may look at the process. Asked by the hook
//! server (`life`), `ps`, `check` and whoever names a session by a process.

use crate::config::{SessionId, Token};
use crate::{environment, shim};
use grid::attach::MARK;

/// Letters of a token in the environment, and in a mark.
const TOKEN_LETTERS: usize = 32;
const MARK_TOKEN_LETTERS: usize = 16;

/// What a process says of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The session.
    pub session: SessionId,
    /// Its name.
    pub name: String,
    /// The token, or the first half of it, in hex.
    token: String,
}

impl Carried {
    /// Whether it is this session: the number alone stands in a public table, so whoever likes
    /// could name it.
    pub fn is_of(&self, session: &SessionId, token: &Token) -> bool {
        self.session == *session && token.to_hex().starts_with(&self.token)
    }

    fn parse(text: &str, separator: char, token_letters: usize) -> Option<Carried> {
        let mut words = text.splitn(3, separator);
        let id = words.next()?.to_string();
        let token = words.next()?;
        let token = (token.len() == token_letters).then(|| token.to_string())?;
        Some(Carried {
            session: SessionId::try_from(id).ok()?,
            name: words.next()?.to_string(),
            token,
        })
    }
}

/// The session that a process was started in, hooked or not: a child that cannot be hooked, such as
/// a static program, carries it all the same.
pub fn of(pid: u32) -> Option<Carried> {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    in_environment(&environ).or_else(|| in_maps(&maps_of(pid)?))
}

/// The session of a process that has the hook driver.
pub fn of_hooked(pid: u32) -> Option<Carried> {
    let maps = maps_of(pid)?;
    let marked = in_maps(&maps);
    let unmarked = || maps.contains(shim::FILE_NAME).then(|| of(pid)).flatten();
    marked.or_else(unmarked)
}

/// Every hooked process that this user may look at, with its session.
pub fn hooked() -> Vec<(u32, Carried)> {
    pids()
        .filter_map(|pid| Some((pid, of_hooked(pid)?)))
        .collect()
}

/// Every process of this pid namespace, by rising number.
pub fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The value of a variable in the environment that a process was started with.
pub fn variable<'a>(environ: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut entries = environ.split(|byte| *byte == 0);
    entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn maps_of(pid: u32) -> Option<String> {
    let maps = std::fs::read(format!("/proc/{pid}/maps")).ok()?;
    Some(String::from_utf8_lossy(&maps).into_owned())
}

fn in_environment(environ: &[u8]) -> Option<Carried> {
    let value = std::str::from_utf8(variable(environ, environment::SESSION)?).ok()?;
    Carried::parse(value, ':', TOKEN_LETTERS)
}

/// The session by the mark among the mappings.
fn in_maps(maps: &str) -> Option<Carried> {
    let start = format!("/memfd:{MARK}");
    let name = maps.lines().find_map(|line| line.split_once(&start))?.1;
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    Carried::parse(name, '-', MARK_TOKEN_LETTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";
    const TOKEN: &str = "ffeeddccbbaa99887766554433221100";

    fn carried(token: &str) -> Carried {
        Carried {
            session: SessionId::try_from(ID.to_string()).unwrap(),
            name: "a-b".into(),
            token: token.into(),
        }
    }

    #[test]
    fn an_environment_names_one_session_or_none() {
        let named = format!("A=1\0HOOKTOOL_SESSION={ID}:{TOKEN}:a-b\0");
        assert_eq!(in_environment(named.as_bytes()), Some(carried(TOKEN)));
        let not_it = format!("A=HOOKTOOL_SESSION={ID}:{TOKEN}:a-b\0HOOKTOOL_LOG=debug\0");
        assert_eq!(in_environment(not_it.as_bytes()), None);
        assert_eq!(in_environment(b""), None);
        assert_eq!(in_environment(&[b'x'; 4096]), None);
    }

    #[test]
    fn a_mark_names_one_session_or_none() {
        let line = |name: &str| {
            format!(
                "7f02-7f03 r-xp 00000000 00:00 0 [vdso]\n\
                 7f04-7f05 ---p 00000000 00:01 9 /memfd:{name} (deleted)\n"
            )
        };
        let half = &TOKEN[..16];
        let marked = line(&format!("hooktool-session-{ID}-{half}-a-b"));
        assert_eq!(in_maps(&marked), Some(carried(half)));
        for other in ["ramgrid", "hooktool-session-", "hooktool-session-xy-zz-a"] {
            assert_eq!(in_maps(&line(other)), None, "{other}");
        }
    }

    #[test]
    fn only_who_knows_the_token_belongs() {
        let session = SessionId::try_from(ID.to_string()).unwrap();
        let token = Token::try_from(TOKEN.to_string()).unwrap();
        assert!(carried(TOKEN).is_of(&session, &token));
        assert!(carried(&TOKEN[..16]).is_of(&session, &token));
        assert!(!carried(&ID[..16]).is_of(&session, &token));
        assert!(!carried(TOKEN).is_of(&SessionId([0; 16]), &token));
    }
}
