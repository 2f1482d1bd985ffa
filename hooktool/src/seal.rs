//! `--seal KEYFILE` and `--integrity`: how blocks are protected on the nodes, and with which key.
//!
//! `settings` reads the key file once, before anything is started; the session keeps a digest of
//! it, and every region mixes it with random bytes of its own into its secret. So the operator owns
//! a key without which nothing on a node can be read, and two sessions with one key file, or two
//! regions of one session, never share a secret. Nothing is written anywhere.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use ring::{digest, hkdf};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::layers::Origin;
use crate::sizes::BadQuantity;

/// Least length of a key in bytes.
const KEY_BYTES_MIN: usize = 32;

/// Longest key file in bytes: a longer one is some other file.
const FILE_BYTES_MAX: usize = 4096;

/// Fewest different bytes in a key: of 32 random ones, fewer than once in a thousand million.
const DIFFERENT_BYTES_MIN: usize = 16;

/// What the derived secrets are for, so that no other use of the same file gives the same bytes.
const PURPOSE: &[&[u8]] = &[b"ramgrid seal 1"];

/// How blocks are protected on the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Integrity {
    /// Readable there; a tag under the session's key says whether somebody altered them.
    #[default]
    Tag,
    /// Readable there; a checksum finds accidents alone (`--integrity checksum`).
    Checksum,
    /// Encrypted (`--seal`), and a tag.
    Sealed(SealKey),
}

/// SHA-256 of the content of a key file: never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealKey([u8; 32]);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

impl Integrity {
    /// The word for it, in `stats -j`, `ps` and `--dry-run`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Checksum => "checksum",
            Self::Sealed(_) => "sealed",
        }
    }

    /// The same for the envelopes.
    pub fn of_blocks(&self) -> wire::Integrity {
        match self {
            Self::Tag => wire::Integrity::Tag,
            Self::Checksum => wire::Integrity::Checksum,
            Self::Sealed(_) => wire::Integrity::Sealed,
        }
    }

    /// The secret of a region: 32 random bytes, and the key where there is one (HKDF, RFC 5869).
    /// `None`: it cannot be derived, which ring knows for other lengths than this one alone.
    pub fn secret(&self, random: &[u8; 32]) -> Option<[u8; 32]> {
        let Self::Sealed(SealKey(key)) = self else {
            return Some(*random);
        };
        let mut secret = [0; 32];
        let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, random).extract(key);
        let expanded = pseudo_random.expand(PURPOSE, hkdf::HKDF_SHA256).ok()?;
        expanded.fill(&mut secret).ok().map(|()| secret)
    }
}

/// Understands `--integrity`.
///
/// # Errors
///
/// It is neither of the two.
pub fn parse(text: &str) -> Result<Integrity, BadQuantity> {
    match text {
        "tag" => Ok(Integrity::Tag),
        "checksum" => Ok(Integrity::Checksum),
        _ => Err(BadQuantity {
            means: "blocks prove themselves by a tag or a checksum; --seal KEYFILE encrypts them"
                .into(),
            write: "tag".into(),
        }),
    }
}

/// Looks at what `--seal` was given, before it is read.
///
/// # Errors
///
/// It is no name of a file.
pub fn check_path(text: &str) -> Result<String, BadQuantity> {
    match text {
        "" => Err(BadQuantity {
            means: "the key is in a file".into(),
            write: "/etc/ramgrid/seal.key".into(),
        }),
        _ => Ok(text.to_string()),
    }
}

/// Both settings together: `seal` is the key file and who named it.
///
/// # Errors
///
/// The key file is of no use, or the two contradict each other.
pub fn choose(seal: Option<(String, Origin)>, plain: Integrity) -> Result<Integrity, Failure> {
    match seal {
        None => Ok(plain),
        Some(_) if plain == Integrity::Checksum => Err(Failure::usage(
            "--seal and --integrity checksum contradict each other",
            "what is encrypted has a tag: a checksum could not tell who made it",
            "leave one of them out",
        )),
        Some((path, origin)) => read(&path, &origin).map(Integrity::Sealed),
    }
}

/// Reads a key file.
fn read(path: &str, origin: &Origin) -> Result<SealKey, Failure> {
    content(Path::new(path))
        .and_then(|content| key_of(&content))
        .map_err(|trouble| trouble.failure(path, origin))
}

/// What is wrong with a key file.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// It cannot be opened or read.
    Unreadable(std::io::ErrorKind, String),
    /// It is a directory, a pipe, a device.
    NoFile,
    /// Somebody else's, with his number.
    Foreign(u32),
    /// Others may read or change it, with its mode.
    Open(u32),
    /// Longer than any key.
    Long,
    /// So many bytes of key.
    Short(usize),
    /// So many hexadecimal digits, the last without its pair.
    Odd(usize),
    /// Hardly any different bytes.
    Plain,
}

fn content(path: &Path) -> Result<Vec<u8>, Trouble> {
    let lost = |error: std::io::Error| Trouble::Unreadable(error.kind(), error.to_string());
    // A pipe without a writer must not keep the command from starting, or from being refused.
    let mut options = File::options();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).map_err(lost)?;
    let found = file.metadata().map_err(lost)?;
    if !found.is_file() {
        return Err(Trouble::NoFile);
    }
    let owner = found.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(Trouble::Foreign(owner));
    }
    if found.mode() & 0o027 != 0 {
        return Err(Trouble::Open(found.mode() & 0o777));
    }
    let mut content = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut content).map_err(lost)?;
    match content.len() {
        0..=FILE_BYTES_MAX => Ok(content),
        _ => Err(Trouble::Long),
    }
}

/// The key in a file: its bytes, or what they say in hexadecimal digits.
fn key_of(content: &[u8]) -> Result<SealKey, Trouble> {
    let text = content.trim_ascii();
    let is_hex = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    if is_hex && !text.len().is_multiple_of(2) {
        return Err(Trouble::Odd(text.len()));
    }
    let key = match is_hex {
        true => from_hex(text),
        false => content.to_vec(),
    };
    if key.len() < KEY_BYTES_MIN {
        return Err(Trouble::Short(key.len()));
    }
    let mut seen = [false; 256];
    key.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    if seen.iter().filter(|seen| **seen).count() < DIFFERENT_BYTES_MIN {
        return Err(Trouble::Plain);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, &key).as_ref());
    Ok(SealKey(bytes))
}

/// The bytes of pairs of hexadecimal digits.
fn from_hex(digits: &[u8]) -> Vec<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
    let (pairs, _) = digits.as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| value(*high) << 4 | value(*low);
    pairs.iter().map(byte).collect()
}

impl Trouble {
    fn failure(&self, path: &str, origin: &Origin) -> Failure {
        let make = format!("head -c {KEY_BYTES_MIN} /dev/urandom > '{path}'; chmod 600 '{path}'");
        let elsewhere = origin.write("seal", "/etc/ramgrid/seal.key");
        let (why, means, fix) = match self {
            Self::Unreadable(std::io::ErrorKind::NotFound, _) => {
                ("it is not there".into(), MEANS_NOTHING, make)
            }
            Self::Unreadable(_, error) => (
                error.clone(),
                MEANS_NOTHING,
                format!("make it readable for whoever starts hooktool, or:  {elsewhere}"),
            ),
            Self::NoFile => (
                "it is no regular file".into(),
                "a key that is another one at each start cannot be kept by anybody",
                format!("name a file:  {elsewhere}"),
            ),
            Self::Foreign(uid) => (
                format!("it belongs to user {uid}"),
                "its owner could read or replace the key",
                format!("take it over, or name another:  chown $(id -u) '{path}'"),
            ),
            Self::Open(mode) => (
                format!("others may read or change it (mode {mode:03o})"),
                "whoever can read the key can read the blocks of this session with some effort",
                format!("close it, and renew what others have seen:  chmod 600 '{path}'"),
            ),
            Self::Long => (
                format!("it is longer than {FILE_BYTES_MAX} bytes"),
                "that is some other file, not a key",
                format!("name the key:  {elsewhere}"),
            ),
            Self::Short(bytes) => (
                format!("it holds {bytes} bytes of key"),
                "a key has 32 random bytes or more, as they are or in hexadecimal digits",
                make,
            ),
            Self::Odd(digits) => (
                format!("it holds {digits} hexadecimal digits"),
                "two of them are a byte: one is missing, or was not copied",
                format!("copy it whole, or make another:  {make}"),
            ),
            Self::Plain => (
                "it is not random".into(),
                "it holds the same few bytes again and again: anybody can guess such a key",
                make,
            ),
        };
        let what = format!("{}: '{path}' cannot be used: {why}", origin.spell("seal"));
        Failure::usage(what, means, fix)
    }
}

const MEANS_NOTHING: &str = "nothing was started: the blocks were to be encrypted with this key";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn random_key() -> Vec<u8> {
        (0..32_u8).map(|n| n.wrapping_mul(37) ^ 0x5c).collect()
    }

    #[test]
    fn a_key_is_its_bytes_or_their_hexadecimal_digits() {
        let raw = random_key();
        let hex: String = raw.iter().map(|byte| format!("{byte:02X}")).collect();
        let expected = key_of(&raw).unwrap();
        assert_eq!(key_of(hex.as_bytes()), Ok(expected.clone()));
        assert_eq!(key_of(format!(" {hex}\n").as_bytes()), Ok(expected.clone()));
        let mut other = raw.clone();
        other[31] ^= 1;
        assert_ne!(key_of(&other), Ok(expected));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let raw = random_key();
        assert_eq!(key_of(&raw[..31]), Err(Trouble::Short(31)));
        assert_eq!(key_of(b""), Err(Trouble::Short(0)));
        // 32 hexadecimal digits are 16 bytes.
        let digits = b"0123456789abcdef0123456789abcdef";
        assert_eq!(key_of(digits), Err(Trouble::Short(16)));
        assert_eq!(key_of(&[7; 64]), Err(Trouble::Plain));
        let digits: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let cut = key_of(format!("{digits}0\n").as_bytes());
        assert_eq!(cut, Err(Trouble::Odd(65)));
    }

    #[test]
    fn only_a_file_of_ones_own_is_read() {
        let name = format!("hooktool-seal-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, random_key()).unwrap();
        let with = |mode: u32| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            content(&path)
        };
        for mode in [0o644, 0o604, 0o620, 0o601] {
            assert_eq!(with(mode), Err(Trouble::Open(mode)));
        }
        assert_eq!(with(0o600), Ok(random_key()));
        assert_eq!(with(0o440), Ok(random_key()));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(content(&path), Err(Trouble::Unreadable(_, _))));
        assert_eq!(content(&std::env::temp_dir()), Err(Trouble::NoFile));
        assert_eq!(content(Path::new("/dev/zero")), Err(Trouble::NoFile));
    }

    #[test]
    fn regions_of_one_key_have_secrets_of_their_own() {
        let key = Integrity::Sealed(key_of(&random_key()).unwrap());
        let mut other = random_key();
        other[0] ^= 1;
        let other = Integrity::Sealed(key_of(&other).unwrap());
        let secrets = [
            key.secret(&[1; 32]),
            key.secret(&[2; 32]),
            other.secret(&[1; 32]),
            Integrity::Tag.secret(&[1; 32]),
        ];
        let different: std::collections::HashSet<_> = secrets.into_iter().flatten().collect();
        assert_eq!(different.len(), 4);
        assert_eq!(key.secret(&[1; 32]), secrets[0]);
        assert_eq!(Integrity::Checksum.secret(&[1; 32]), Some([1; 32]));
        assert!(!format!("{key:?}").contains(char::is_numeric));
    }
}
