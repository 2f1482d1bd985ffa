//! Data files of the lab: made, copied, thrown out of the page cache.
//!
//! Copies end on the disk and outside the page cache: pages a copy leaves behind are charged to
//! the lab, not to the cage, and a caged program would read them without any disk read.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::Advice;

use crate::error::{Because, Result};
use crate::stop;
use crate::users::{self, User};

/// Bytes written or copied between two looks at the stop flag.
const CHUNK: usize = 1 << 20;

/// Makes a file of `bytes` pseudo-random bytes (incompressible, the same in every run).
pub fn make_random(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create(path).because(|| path.display().to_string())?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chunk = vec![0_u8; CHUNK];
    let mut left = bytes;
    while left > 0 {
        stop::check()?;
        for word in chunk.chunks_exact_mut(8) {
            word.copy_from_slice(&next_random(&mut state).to_le_bytes());
        }
        let now = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.write_all(&chunk[..now])
            .because(|| path.display().to_string())?;
        left -= now as u64;
    }
    settle(&file, path)
}

/// Makes `count` files `0.bin`, `1.bin`, ... of `bytes` each: pseudo-random, with the number of the
/// file in the first and the last eight bytes. They become `user`'s.
pub fn make_numbered(dir: &Path, count: u64, bytes: usize, user: Option<&User>) -> Result<()> {
    fs::create_dir_all(dir).because(|| dir.display().to_string())?;
    users::give(dir, user)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content: Vec<u8> = (0..bytes).map(|_| next_random(&mut state) as u8).collect();
    for number in 0..count {
        stop::check()?;
        content[..8].copy_from_slice(&number.to_le_bytes());
        content[bytes - 8..].copy_from_slice(&number.to_le_bytes());
        let path = dir.join(format!("{number}.bin"));
        fs::write(&path, &content).because(|| path.display().to_string())?;
        users::give(&path, user)?;
    }
    let root = File::open(dir).because(|| dir.display().to_string())?;
    rustix::fs::syncfs(&root).because(|| "syncfs")?;
    evict(dir);
    Ok(())
}

/// Whether a body is that of the file with this number.
pub fn has_number(body: &[u8], number: u64) -> bool {
    let number = number.to_le_bytes();
    body.starts_with(&number) && body.ends_with(&number)
}

/// xorshift64*: fast, and good enough to pick blocks and to fill files.
pub fn next_random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// Copies a file or a directory tree for `user`, onto the disk and out of the page cache.
pub fn copy(from: &Path, to: &Path, user: Option<&User>) -> Result<()> {
    let meta = fs::symlink_metadata(from).because(|| from.display().to_string())?;
    if meta.is_dir() {
        fs::create_dir_all(to).because(|| to.display().to_string())?;
        fs::set_permissions(to, meta.permissions()).because(|| to.display().to_string())?;
        for entry in list(from)? {
            copy(
                &entry,
                &to.join(entry.file_name().unwrap_or_default()),
                user,
            )?;
        }
    } else if meta.is_file() {
        copy_file(from, to)?;
        fs::set_permissions(to, meta.permissions()).because(|| to.display().to_string())?;
    }
    users::give(to, user)
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let source = File::open(from).because(|| from.display().to_string())?;
    let mut reader = BufReader::with_capacity(CHUNK, source);
    let mut target = File::create(to).because(|| to.display().to_string())?;
    let mut chunk = vec![0_u8; CHUNK];
    loop {
        stop::check()?;
        let got = reader
            .read(&mut chunk)
            .because(|| from.display().to_string())?;
        if got == 0 {
            break;
        }
        target
            .write_all(&chunk[..got])
            .because(|| to.display().to_string())?;
    }
    drop_cached(reader.get_ref());
    settle(&target, to)
}

/// Onto the disk, out of the page cache.
fn settle(file: &File, path: &Path) -> Result<()> {
    file.sync_data()
        .because(|| format!("fsync of {}", path.display()))?;
    drop_cached(file);
    Ok(())
}

fn drop_cached(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

/// Throws a file or tree out of the page cache, whoever it is charged to; best effort.
pub fn evict(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => list(path).unwrap_or_default().iter().for_each(|p| evict(p)),
        Ok(meta) if meta.is_file() => {
            if let Ok(file) = File::open(path) {
                drop_cached(&file);
            }
        }
        _ => {}
    }
}

/// Bytes of all regular files in a tree.
pub fn total_bytes(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => list(path)
            .unwrap_or_default()
            .iter()
            .map(|entry| total_bytes(entry))
            .sum(),
        Ok(meta) if meta.is_file() => meta.len(),
        _ => 0,
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).because(|| dir.display().to_string())?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// A directory of one run, removed with everything in it when dropped.
pub struct RunDir(PathBuf);

impl RunDir {
    /// Makes `parent/run-PID`, readable by `user`; removes what killed labs left.
    pub fn make(parent: &Path, user: Option<&User>) -> Result<Self> {
        fs::create_dir_all(parent).because(|| format!("making {}", parent.display()))?;
        for entry in list(parent)? {
            let name = entry
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let owner = name.strip_prefix("run-");
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = fs::remove_dir_all(&entry);
            }
        }
        let dir = parent.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&dir).because(|| format!("making {}", dir.display()))?;
        users::give(&dir, user)?;
        Ok(Self(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("lab: {} could not be removed ({error})", self.0.display());
        }
        // Fails while templates are kept there, and should.
        if let Some(parent) = self.0.parent() {
            let _ = fs::remove_dir(parent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_files_know_their_number() {
        let dir = std::env::temp_dir().join(format!("lab-numbered-{}", std::process::id()));
        make_numbered(&dir, 3, 4096, None).unwrap();
        let body = fs::read(dir.join("2.bin")).unwrap();
        assert!(body.len() == 4096 && has_number(&body, 2) && !has_number(&body, 1));
        assert!(!has_number(&body[..4095], 2));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn random_files_have_their_size_and_copies_their_bytes() {
        let dir = std::env::temp_dir().join(format!("lab-files-{}", std::process::id()));
        fs::create_dir_all(dir.join("a/b")).unwrap();
        make_random(&dir.join("a/b/f"), 3_000_001).unwrap();
        copy(&dir.join("a"), &dir.join("c"), None).unwrap();
        assert_eq!(total_bytes(&dir.join("c")), 3_000_001);
        assert_eq!(
            fs::read(dir.join("a/b/f")).unwrap(),
            fs::read(dir.join("c/b/f")).unwrap()
        );
        evict(&dir);
        fs::remove_dir_all(&dir).unwrap();
    }
}
