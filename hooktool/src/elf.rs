//! What an ELF file says about itself: loader, libraries, imports, exports, versions.
//!
//! `precheck` reads the target's head before every start, `libraries` and `check` read all its
//! shared objects, `shim` the hook driver. Nothing is executed or mapped; a damaged file is an
//! error text, never a panic. Class and byte order other than this machine's are identified and
//! read no further.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, SectionHeader as _, Sym as _};
use object::read::elf::{ProgramHeader as _, SectionTable};
use object::{LittleEndian, ReadCache, ReadRef};

/// Most libraries, symbols or versions read from one file.
const ENTRIES_MAX: usize = 1 << 20;

/// The machine this program was built for, as ELF numbers it.
#[cfg(target_arch = "x86_64")]
pub const MACHINE: u16 = elf::EM_X86_64.0;
/// The machine this program was built for, as ELF numbers it.
#[cfg(target_arch = "aarch64")]
pub const MACHINE: u16 = elf::EM_AARCH64.0;

/// A glibc version: `(2, 36)`.
pub type Glibc = (u32, u32);

/// First bytes of a program: what kind of thing it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// An ELF file for this machine.
    Native,
    /// An ELF file for another: its name.
    Foreign(String),
    /// A script: interpreter and its one argument.
    Script(String, Option<String>),
    /// Neither.
    Other,
}

/// What a native ELF file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elf {
    /// `PT_INTERP`; absent in static programs and in libraries.
    pub interpreter: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// `DT_RPATH`, colon-separated.
    pub rpath: Option<String>,
    /// `DT_RUNPATH`, colon-separated.
    pub runpath: Option<String>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// Functions and objects taken from other files, without versions.
    pub imports: BTreeSet<String>,
    /// Functions given to other files, without versions.
    pub exports: BTreeSet<String>,
    /// Highest `GLIBC_x.y` it asks for.
    pub glibc_needed: Option<Glibc>,
    /// Highest `GLIBC_x.y` it offers (libc itself).
    pub glibc_offered: Option<Glibc>,
    /// Built by the Go compiler: its runtime makes system calls without libc.
    pub go: bool,
}

/// Looks at the first bytes of a file.
///
/// # Errors
///
/// The file cannot be read.
pub fn head(path: &Path) -> std::io::Result<Head> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path)?.take(256).read_to_end(&mut bytes)?;
    Ok(classify(&bytes))
}

fn classify(bytes: &[u8]) -> Head {
    if let Some(rest) = bytes.strip_prefix(b"#!") {
        return script(rest);
    }
    if bytes.len() < 20 || !bytes.starts_with(b"\x7fELF") {
        return Head::Other;
    }
    let (class, order) = (bytes[4], bytes[5]);
    let machine = match order {
        2 => u16::from_be_bytes([bytes[18], bytes[19]]),
        _ => u16::from_le_bytes([bytes[18], bytes[19]]),
    };
    if class == 2 && order == 1 && machine == MACHINE {
        return Head::Native;
    }
    Head::Foreign(machine_name(machine, class))
}

/// The kernel's reading of `#!`: interpreter, then the rest of the line as one argument.
fn script(rest: &[u8]) -> Head {
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or(rest);
    let line = String::from_utf8_lossy(line);
    let line = line.trim_matches([' ', '\t', '\r', '\0']);
    let (interpreter, argument) = match line.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim().to_string())),
        None => (line, None),
    };
    match interpreter {
        "" => Head::Other,
        _ => Head::Script(interpreter.to_string(), argument),
    }
}

/// A machine's usual name.
pub fn machine_name(machine: u16, class: u8) -> String {
    let name = match machine {
        3 => "i386",
        8 => "MIPS",
        20 | 21 => "PowerPC",
        22 => "s390x",
        40 => "32-bit ARM",
        62 if class == 1 => "x32",
        62 => "x86-64",
        183 => "aarch64",
        243 => "RISC-V",
        _ => return format!("machine number {machine}"),
    };
    name.to_string()
}

/// Reads everything that matters of a native ELF file.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn read(path: &Path) -> Result<Elf, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    parse(&ReadCache::new(file)).map_err(|error| error.to_string())
}

fn parse<'data, R: ReadRef<'data>>(data: R) -> object::Result<Elf> {
    let header = FileHeader64::<LittleEndian>::parse(data)?;
    let endian = LittleEndian;
    let mut found = Elf::default();
    for segment in header.program_headers(endian, data)? {
        if let Some(interpreter) = segment.interpreter(endian, data)? {
            found.interpreter = Some(text(interpreter));
        }
    }
    let sections = header.sections(endian, data)?;
    found.go = sections.iter().any(|section| {
        let name = sections.section_name(endian, section).unwrap_or(b"");
        name == b".note.go.buildid" || name == b".go.buildinfo"
    });
    dynamic(&sections, data, &mut found)?;
    symbols(&sections, data, &mut found)?;
    versions(&sections, data, &mut found)?;
    Ok(found)
}

type Sections<'data, R> = SectionTable<'data, FileHeader64<LittleEndian>, R>;

fn dynamic<'data, R: ReadRef<'data>>(
    sections: &Sections<'data, R>,
    data: R,
    found: &mut Elf,
) -> object::Result<()> {
    let endian = LittleEndian;
    for section in sections.iter() {
        let Some((entries, link)) = section.dynamic(endian, data)? else {
            continue;
        };
        let strings = sections.strings(endian, data, link)?;
        for entry in entries.iter().take(ENTRIES_MAX) {
            if !entry.is_string(endian) {
                continue;
            }
            let value = text(entry.string(endian, strings)?);
            match entry.d_tag(endian) {
                elf::DT_NEEDED => found.needed.push(value),
                elf::DT_RPATH => found.rpath = Some(value),
                elf::DT_RUNPATH => found.runpath = Some(value),
                elf::DT_SONAME => found.soname = Some(value),
                _ => {}
            }
        }
    }
    Ok(())
}

fn symbols<'data, R: ReadRef<'data>>(
    sections: &Sections<'data, R>,
    data: R,
    found: &mut Elf,
) -> object::Result<()> {
    let endian = LittleEndian;
    let table = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
    for symbol in table.iter().take(ENTRIES_MAX) {
        let name = text(symbol.name(endian, table.strings())?);
        if name.is_empty() {
            continue;
        }
        if symbol.is_undefined(endian) {
            found.imports.insert(name);
        } else if symbol.st_type() == elf::STT_FUNC {
            found.exports.insert(name);
        }
    }
    Ok(())
}

fn versions<'data, R: ReadRef<'data>>(
    sections: &Sections<'data, R>,
    data: R,
    found: &mut Elf,
) -> object::Result<()> {
    let endian = LittleEndian;
    if let Some((mut files, link)) = sections.gnu_verneed(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        while let Some((_, mut wanted)) = files.next()? {
            while let Some(version) = wanted.next()? {
                let version = glibc(version.name(endian, strings)?);
                found.glibc_needed = found.glibc_needed.max(version);
            }
        }
    }
    if let Some((mut definitions, link)) = sections.gnu_verdef(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        while let Some((_, mut names)) = definitions.next()? {
            if let Some(name) = names.next()? {
                let version = glibc(name.name(endian, strings)?);
                found.glibc_offered = found.glibc_offered.max(version);
            }
        }
    }
    Ok(())
}

/// `GLIBC_2.36` as numbers; anything else (`GLIBC_PRIVATE`, other libraries) is none.
fn glibc(name: &[u8]) -> Option<Glibc> {
    let name = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
    let mut numbers = name.split('.').map(|part| part.parse::<u32>().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Bytes of a file as text, up to a NUL.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_kind() {
        let script = Head::Script("/usr/bin/env".into(), Some("python3 -u".into()));
        assert_eq!(classify(b"#! /usr/bin/env python3 -u\nprint()"), script);
        assert_eq!(classify(b"#!/bin/sh"), Head::Script("/bin/sh".into(), None));
        assert_eq!(classify(b"#!\n"), Head::Other);
        assert_eq!(classify(b"echo"), Head::Other);
        assert_eq!(classify(b"\x7fELF"), Head::Other);
        let mut i386 = b"\x7fELF\x01\x01\x01".to_vec();
        i386.resize(64, 0);
        i386[18] = 3;
        assert_eq!(classify(&i386), Head::Foreign("i386".into()));
    }

    #[test]
    fn a_program_tells_its_loader_and_imports() {
        let path = Path::new("/bin/cat");
        assert_eq!(head(path).unwrap(), Head::Native);
        let found = read(path).unwrap();
        assert!(found.interpreter.unwrap().contains("ld-linux"));
        assert!(found.needed.contains(&"libc.so.6".to_string()));
        assert!(found.imports.contains("read"), "{:?}", found.imports);
        assert!(found.glibc_needed >= Some((2, 2)));
    }

    #[test]
    fn damaged_files_are_errors() {
        let whole = std::fs::read("/bin/true").unwrap();
        for length in [64, 65, 700, whole.len() / 2] {
            let mut bytes = whole[..length].to_vec();
            bytes.truncate(length);
            let _ = parse(&bytes[..]);
        }
        for at in (0..whole.len().min(4096)).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            let _ = parse(&bytes[..]);
        }
        assert!(parse(&b"\x7fELF\x02\x01\x01"[..]).is_err());
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(glibc(b"GLIBC_2.36"), Some((2, 36)));
        assert_eq!(glibc(b"GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(glibc(b"GLIBC_PRIVATE"), None);
        assert_eq!(glibc(b"GCC_3.0"), None);
    }
}
