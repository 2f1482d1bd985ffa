//! The constructor: runs before `main`, in every program that the preload reaches. It reads the
//! environment, looks up the real functions, marks the process as one of its session, and does
//! nothing else: no connection, no descriptor that stays, no thread, no output. The kill switch
//! comes first.
//!
//! # Safety
//! What is dangerous here: code that runs before the target's own, possibly before other libraries
//! are ready. It calls `getenv`, `dladdr` and `dlsym` only.
#![allow(unsafe_code)]

use core::ffi::CStr;

use grid::attach::{MARK, MARK_BYTES_MAX, NAME_BYTES_MAX};
use grid::sync::Ordering;

use crate::session::{self, Config};
use crate::{environment, hook, sys};

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = construct;

extern "C" fn construct() {
    // A panic in here would be a bug; it must not become the target's.
    let _ = std::panic::catch_unwind(start);
}

fn variable(name: &CStr) -> Option<&'static [u8]> {
    // SAFETY: the name is a string; the answer lives in the environment, which nobody has had a
    // chance to change yet.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: `getenv` answers with a string or null.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_bytes())
}

fn start() {
    let disabled = variable(c"HOOKTOOL_DISABLED").is_some_and(|value| value == b"1");
    std::panic::set_hook(Box::new(|_| ()));
    hook::resolve_all();
    if disabled {
        return;
    }
    let Some(value) = variable(c"HOOKTOOL_SESSION") else {
        return;
    };
    if let Some(only) = variable(c"HOOKTOOL_ONLY_PID")
        && parse_number(only) != Some(sys::getpid() as u64)
    {
        return;
    }
    let Some(named) = parse_session(value) else {
        return;
    };
    let Some(fork_page) = sys::memory::map_fork_page() else {
        return;
    };
    if variable(c"HOOKTOOL_ONLY_PID").is_none() {
        remember(value);
    }
    fork_page.pid.store(sys::getpid() as u64, Ordering::Relaxed);
    mark(value);
    let oracle = variable(c"HOOKTOOL_ORACLE").is_some_and(|value| value == b"1");
    let plants = |what: &[u8]| {
        cfg!(feature = "plant") && variable(c"HOOKTOOL_PLANT").is_some_and(|plant| plant == what)
    };
    session::configure(Config {
        socket: named.socket,
        socket_len: named.socket_len,
        token: named.token,
        fork_page,
        oracle,
        planted: plants(b"stale"),
        panics: plants(b"panic"),
        panics_in_writes: plants(b"panic-in-writes"),
    });
}

/// Remembers the path of this very library, for children whose environment is rebuilt.
fn remember(session: &[u8]) {
    let mut info = core::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    let here: extern "C" fn() = construct;
    // SAFETY: an address of this library, a place for the answer; a name is a string or null.
    unsafe {
        if libc::dladdr(here as *const libc::c_void, info.as_mut_ptr()) != 0 {
            let name = info.assume_init().dli_fname;
            if !name.is_null() {
                environment::remember(CStr::from_ptr(name).to_bytes(), session);
            }
        }
    }
}

/// What the session variable says.
struct Named {
    /// Name of the join socket.
    socket: [u8; 64],
    socket_len: usize,
    token: [u8; 16],
}

/// Takes `<session id, 32 hex>:<token, 32 hex>:<name>` apart.
fn parse_session(value: &[u8]) -> Option<Named> {
    let (id, token) = (value.get(..32)?, value.get(33..65)?);
    let hex = |text: &[u8]| text.iter().all(u8::is_ascii_hexdigit);
    let plain = |letter: &u8| letter.is_ascii_alphanumeric() || b"._-".contains(letter);
    let name = value.get(66..)?;
    let separated = value.get(32) == Some(&b':') && value.get(65) == Some(&b':');
    if !separated || !hex(id) || name.len() > NAME_BYTES_MAX || !name.iter().all(plain) {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(token.chunks_exact(2)) {
        let digit = |letter: u8| (letter as char).to_digit(16).map(|digit| digit as u8);
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    let mut socket = [0; 64];
    let socket_len = compose(&mut socket, &[b"ramgrid/", id, b"/attach"])?;
    Some(Named {
        socket,
        socket_len,
        token: bytes,
    })
}

/// Writes the parts one after the other; how long they are together. `None`: too long.
fn compose(to: &mut [u8], parts: &[&[u8]]) -> Option<usize> {
    let mut len = 0;
    for part in parts {
        to.get_mut(len..len + part.len())?.copy_from_slice(part);
        len += part.len();
    }
    Some(len)
}

/// Marks this process, and those that it forks, as of the session that a well-formed `value` names:
/// a program may write over its environment.
fn mark(value: &[u8]) {
    let mut name = [0; MARK_BYTES_MAX + 1];
    let (id, half, session) = (&value[..32], &value[33..49], &value[66..]);
    let parts = [MARK.as_bytes(), id, b"-", half, b"-", session];
    if compose(&mut name[..MARK_BYTES_MAX], &parts).is_some()
        && let Ok(name) = CStr::from_bytes_until_nul(&name)
    {
        sys::memory::map_mark(name);
    }
}

fn parse_number(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |number, letter| {
        let digit = letter.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Whether the next library has this function; `name` ends in a zero byte.
pub fn exists(name: &'static str) -> bool {
    // SAFETY: a zero-terminated name.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) };
    !found.is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_variable_is_taken_apart_or_refused() {
        let value = b"00112233445566778899aabbccddeeff:ffeeddccbbaa99887766554433221100:pg-1";
        let named = parse_session(value).expect("well formed");
        assert_eq!(
            &named.socket[..named.socket_len],
            b"ramgrid/00112233445566778899aabbccddeeff/attach"
        );
        assert_eq!((named.token[0], named.token[15]), (0xFF, 0x00));
        assert!(parse_session(b"").is_none());
        assert!(parse_session(&value[..65]).is_none());
        let with_dashes = value.map(|letter| if letter == b':' { b'-' } else { letter });
        assert!(parse_session(&with_dashes).is_none());
        assert!(parse_session(&[value.as_slice(), b"/x"].concat()).is_none());
        let long = [&value[..66], &[b'n'; NAME_BYTES_MAX]].concat();
        assert!(parse_session(&long).is_some());
        assert!(parse_session(&[&long, b"n".as_slice()].concat()).is_none());
    }

    #[test]
    fn a_mark_has_room_for_the_longest_name() {
        let parts = [
            MARK.as_bytes(),
            &[0; 32],
            b"-",
            &[0; 16],
            b"-",
            &[0; NAME_BYTES_MAX],
        ];
        let mut name = [0; MARK_BYTES_MAX];
        assert_eq!(compose(&mut name, &parts), Some(MARK_BYTES_MAX));
    }
}
