//! All shared objects of a program, found as the loader would find them.
//!
//! Order of search for each `DT_NEEDED`: `RPATH` (of the object and those that brought it, unless
//! it has a `RUNPATH`), `LD_LIBRARY_PATH`, `RUNPATH`, `/etc/ld.so.cache`, the default directories.
//! Libraries opened later by dlopen are not known here; `check PID` sees those.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use crate::elf::{self, Elf, Head};

/// Most shared objects of one program.
const OBJECTS_MAX: usize = 1024;

/// Searched last.
#[cfg(target_arch = "x86_64")]
const DIRECTORIES: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];
/// Searched last.
#[cfg(target_arch = "aarch64")]
const DIRECTORIES: [&str; 6] = [
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// A program or a library, where it is and what it says.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its file.
    pub path: PathBuf,
    /// Its contents.
    pub elf: Elf,
}

/// A program with everything it loads at its start.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The program first, then its libraries, breadth first.
    pub objects: Vec<Object>,
    /// Names nobody could find.
    pub missing: BTreeSet<String>,
}

impl Program {
    /// The version of glibc it will run with.
    pub fn glibc(&self) -> Option<elf::Glibc> {
        self.objects
            .iter()
            .filter_map(|object| object.elf.glibc_offered)
            .max()
    }
}

/// Where libraries may be.
#[derive(Debug, Default)]
pub struct Search {
    library_path: Vec<PathBuf>,
    cache: BTreeMap<String, Vec<PathBuf>>,
}

/// An object waiting for its libraries to be found, with the `RPATH`s above it.
struct Pending {
    elf: Elf,
    origin: PathBuf,
    rpaths: Vec<PathBuf>,
}

impl Search {
    /// The search of this machine, with a given `LD_LIBRARY_PATH`.
    pub fn new(library_path: Option<&str>) -> Self {
        let cache = std::fs::read("/etc/ld.so.cache").unwrap_or_default();
        let library_path =
            library_path.map_or_else(Vec::new, |text| directories(text, Path::new("/")));
        Self {
            library_path,
            cache: parse_cache(&cache),
        }
    }

    /// Finds the program's libraries, and theirs.
    ///
    /// # Errors
    ///
    /// The program itself cannot be read.
    pub fn walk(&self, path: &Path) -> Result<Program, String> {
        let elf = elf::read(path)?;
        let mut found = Program::default();
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([pending(&elf, path, &[])]);
        found.objects.push(Object {
            path: path.to_path_buf(),
            elf,
        });
        while let Some(object) = queue.pop_front() {
            for name in &object.elf.needed {
                if !seen.insert(name.clone()) || found.objects.len() >= OBJECTS_MAX {
                    continue;
                }
                match self.find(name, &object) {
                    Some(library) => {
                        queue.push_back(pending(&library.elf, &library.path, &object.rpaths));
                        found.objects.push(library);
                    }
                    None => {
                        found.missing.insert(name.clone());
                    }
                }
            }
        }
        Ok(found)
    }

    /// The version of glibc a program would run with, without walking all its libraries.
    pub fn glibc(&self, path: &Path, elf: &Elf) -> Option<elf::Glibc> {
        self.find("libc.so.6", &pending(elf, path, &[]))?
            .elf
            .glibc_offered
    }

    fn find(&self, name: &str, object: &Pending) -> Option<Object> {
        if name.contains('/') {
            return load(PathBuf::from(name));
        }
        let runpath = object.elf.runpath.as_deref();
        let runpath = runpath.map_or_else(Vec::new, |text| directories(text, &object.origin));
        let above = object
            .rpaths
            .iter()
            .filter(|_| object.elf.runpath.is_none());
        let before = above
            .chain(&self.library_path)
            .chain(&runpath)
            .map(|dir| dir.join(name));
        let cached = self.cache.get(name).into_iter().flatten().cloned();
        let default = DIRECTORIES
            .iter()
            .map(|directory| Path::new(directory).join(name));
        before.chain(cached).chain(default).find_map(load)
    }
}

fn pending(elf: &Elf, path: &Path, above: &[PathBuf]) -> Pending {
    let origin = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let origin = origin.parent().unwrap_or(Path::new("/")).to_path_buf();
    let own = elf.rpath.as_deref().filter(|_| elf.runpath.is_none());
    let mut rpaths = own.map_or_else(Vec::new, |text| directories(text, &origin));
    rpaths.extend_from_slice(above);
    Pending {
        elf: elf.clone(),
        origin,
        rpaths,
    }
}

/// A candidate counts if it is an ELF file for this machine.
fn load(path: PathBuf) -> Option<Object> {
    if elf::head(&path).ok()? != Head::Native {
        return None;
    }
    let elf = elf::read(&path).ok()?;
    Some(Object { path, elf })
}

fn directories(text: &str, origin: &Path) -> Vec<PathBuf> {
    let origin = origin.to_string_lossy();
    let expand = |part: &str| {
        let part = part
            .replace("${ORIGIN}", &origin)
            .replace("$ORIGIN", &origin);
        PathBuf::from(part.replace("${LIB}", "lib").replace("$LIB", "lib"))
    };
    text.split([':', ';'])
        .filter(|part| !part.is_empty())
        .map(expand)
        .collect()
}

/// Head of the cache's present format (glibc, `dl-cache.h`).
const CACHE_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";

/// Bytes of its header, and of each entry: flags, key, value, osversion (u32), hwcap (u64).
const CACHE_HEADER_BYTES: usize = 48;
/// See `CACHE_HEADER_BYTES`.
const CACHE_ENTRY_BYTES: usize = 24;

/// Reads `/etc/ld.so.cache`; an unknown or damaged one is empty.
fn parse_cache(bytes: &[u8]) -> BTreeMap<String, Vec<PathBuf>> {
    let mut map = BTreeMap::<String, Vec<PathBuf>>::new();
    let Some(start) = bytes
        .windows(CACHE_MAGIC.len())
        .position(|part| part == CACHE_MAGIC)
    else {
        return map;
    };
    let cache = &bytes[start..];
    let count = number(cache, CACHE_MAGIC.len()).unwrap_or(0);
    for index in 0..count {
        let at = index
            .saturating_mul(CACHE_ENTRY_BYTES)
            .saturating_add(CACHE_HEADER_BYTES);
        let (Some(key), Some(value)) = (string(cache, at + 4), string(cache, at + 8)) else {
            break;
        };
        map.entry(key).or_default().push(PathBuf::from(value));
    }
    map
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_ne_bytes(four)).ok()
}

/// The string whose offset stands at `at`.
fn string(bytes: &[u8], at: usize) -> Option<String> {
    let text = bytes.get(number(bytes, at)?..)?;
    let end = text.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&text[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_bring_their_libraries() {
        let program = Search::new(None).walk(Path::new("/bin/ls")).unwrap();
        assert!(program.missing.is_empty(), "{:?}", program.missing);
        assert!(program.objects.len() >= 2);
        assert!(program.glibc() >= Some((2, 28)));
    }

    #[test]
    fn the_cache_of_this_machine_is_understood() {
        let bytes = std::fs::read("/etc/ld.so.cache").unwrap();
        let cache = parse_cache(&bytes);
        assert!(cache.contains_key("libc.so.6"), "{} names", cache.len());
        for length in [0, 10, 60, 100, bytes.len() / 2] {
            assert!(parse_cache(&bytes[..length]).len() <= cache.len());
        }
    }

    #[test]
    fn origin_is_the_directory_of_the_object() {
        let found = directories("$ORIGIN/../lib:/opt/lib:", Path::new("/srv/app/bin"));
        assert_eq!(
            found,
            [
                PathBuf::from("/srv/app/bin/../lib"),
                PathBuf::from("/opt/lib")
            ]
        );
    }

    #[test]
    fn missing_libraries_are_named() {
        let elf = Elf {
            needed: vec!["libnosuch.so.9".into()],
            ..Elf::default()
        };
        let object = pending(&elf, Path::new("/bin/ls"), &[]);
        assert!(Search::new(None).find("libnosuch.so.9", &object).is_none());
    }
}
