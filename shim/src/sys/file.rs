//! Raw system calls on files: what is this descriptor, what is resident, read it once more.
//!
//! # Safety
//! What is dangerous here: answers are written through pointers. Every pointer below comes from a
//! local value or a slice, except where a function is `unsafe` and says what it wants.
#![allow(unsafe_code)]

use grid::files::Stamp;
use grid::ident::FileIdent;

use super::{Errno, arch, result};

/// What `statx` tells about a file.
#[derive(Clone, Copy, Debug)]
pub struct FileStat {
    /// Device, inode, birth time. A birth time of 0 means that the file system has none.
    pub ident: FileIdent,
    /// Size and change time.
    pub stamp: Stamp,
    /// Whether it is a regular file.
    pub is_regular: bool,
    /// Names of the file; 0: unlinked.
    pub links: u32,
}

fn nanoseconds(time: libc::statx_timestamp) -> u64 {
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(u64::from(time.tv_nsec))
}

/// # Safety
/// `path` is followed by the kernel alone.
unsafe fn statx(dirfd: i32, path: *const u8, flags: i32, mask: u32) -> Result<FileStat, Errno> {
    // SAFETY: by the caller's promise.
    unsafe { ask_statx(dirfd, path, flags, mask) }.map(|stat| understood(&stat))
}

/// # Safety
/// `path` is followed by the kernel alone.
unsafe fn ask_statx(
    dirfd: i32,
    path: *const u8,
    flags: i32,
    mask: u32,
) -> Result<libc::statx, Errno> {
    let mut stat = core::mem::MaybeUninit::<libc::statx>::zeroed();
    let arguments = [
        dirfd as usize,
        path as usize,
        flags as usize,
        mask as usize,
        stat.as_mut_ptr() as usize,
        0,
    ];
    // SAFETY: `path` by the caller's promise, `stat` is a valid place for the answer.
    result(unsafe { arch::syscall(libc::SYS_statx, arguments) })?;
    // SAFETY: zero is a valid bit pattern of every field, the kernel filled in the rest.
    Ok(unsafe { stat.assume_init() })
}

fn understood(stat: &libc::statx) -> FileStat {
    let has_birth = stat.stx_mask & libc::STATX_BTIME != 0;
    FileStat {
        ident: FileIdent {
            dev: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            ino: stat.stx_ino,
            birth_ns: if has_birth {
                nanoseconds(stat.stx_btime)
            } else {
                0
            },
        },
        stamp: Stamp {
            size: stat.stx_size,
            ctime_ns: nanoseconds(stat.stx_ctime),
        },
        links: stat.stx_nlink,
        is_regular: u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFREG,
    }
}

/// What identity and length need.
const IDENTITY: u32 =
    libc::STATX_TYPE | libc::STATX_NLINK | libc::STATX_INO | libc::STATX_SIZE | libc::STATX_BTIME;

/// What a descriptor is, told by the kernel (0.2 us).
pub fn stat_fd(fd: i32) -> Result<FileStat, Errno> {
    // SAFETY: an empty, terminated path.
    unsafe {
        statx(
            fd,
            c"".as_ptr().cast(),
            libc::AT_EMPTY_PATH,
            IDENTITY | libc::STATX_CTIME,
        )
    }
}

/// As `stat_fd`, but the change time is not asked for (and not to be believed): since Linux 6.13 a
/// change time that has been read makes the next write take a new one, and dirty the inode for it.
pub fn identify_fd(fd: i32) -> Result<FileStat, Errno> {
    // SAFETY: an empty, terminated path.
    unsafe { statx(fd, c"".as_ptr().cast(), libc::AT_EMPTY_PATH, IDENTITY) }
}

/// What a path names. `path` is the target's own pointer: the kernel reads it, and answers EFAULT
/// if it is not a string.
pub fn stat_name(dirfd: i32, path: *const libc::c_char) -> Result<FileStat, Errno> {
    // SAFETY: only the kernel follows the pointer.
    unsafe { statx(dirfd, path.cast(), 0, IDENTITY) }
}

/// Whether the descriptor lies on a file system that is served: ext4, xfs or btrfs.
pub fn is_served_file_system(fd: i32) -> bool {
    let mut stat = core::mem::MaybeUninit::<libc::statfs>::zeroed();
    let arguments = [fd as usize, stat.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: `stat` is a valid place for the answer.
    if result(unsafe { arch::syscall(libc::SYS_fstatfs, arguments) }).is_err() {
        return false;
    }
    // SAFETY: zero is a valid bit pattern of every field, the kernel filled in the rest.
    let kind = unsafe { stat.assume_init() }.f_type as u64 & 0xFFFF_FFFF;
    matches!(kind, 0xEF53 | 0x5846_5342 | 0x9123_683E)
}

/// Status flags of a descriptor (`O_APPEND`, `O_DIRECT`, access mode), or 0.
pub fn status_flags(fd: i32) -> i32 {
    let arguments = [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0];
    // SAFETY: no pointers.
    result(unsafe { arch::syscall(libc::SYS_fcntl, arguments) }).unwrap_or(0) as i32
}

/// Whether the rights that this process has now let it open the file for reading. Yes where the
/// kernel (before 5.8) or a filter does not tell.
pub fn may_read(fd: i32) -> bool {
    const SYS_FACCESSAT2: i64 = 439;
    let flags = (libc::AT_EMPTY_PATH | libc::AT_EACCESS) as usize;
    let path = c"".as_ptr() as usize;
    let arguments = [fd as usize, path, libc::R_OK as usize, flags, 0, 0];
    // SAFETY: an empty, terminated path.
    let answer = result(unsafe { arch::syscall(SYS_FACCESSAT2, arguments) });
    answer != Err(Errno(libc::EACCES))
}

/// What the kernel asks of a read by `O_DIRECT`, in bytes, powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// Of offset and lengths.
    pub offset: u32,
    /// Of addresses.
    pub memory: u32,
}

impl Alignment {
    /// Where the kernel does not tell (before 6.1; btrfs before 6.14): no device asks for more, and
    /// whoever gets along with less goes to the kernel.
    pub const PAGE: Alignment = Alignment {
        offset: 4096,
        memory: 4096,
    };
}

/// What direct reads of this file must be aligned to. `None`: it cannot be read directly.
pub fn direct_alignment(fd: i32) -> Option<Alignment> {
    let (path, flags) = (c"".as_ptr().cast(), libc::AT_EMPTY_PATH);
    // SAFETY: an empty, terminated path.
    let stat = unsafe { ask_statx(fd, path, flags, libc::STATX_DIOALIGN) }.ok()?;
    if stat.stx_mask & libc::STATX_DIOALIGN == 0 {
        return Some(Alignment::PAGE);
    }
    let told = Alignment {
        offset: stat.stx_dio_offset_align,
        memory: stat.stx_dio_mem_align,
    };
    (told.offset.is_power_of_two() && told.memory.is_power_of_two()).then_some(told)
}

/// Reads at an offset into several places, once.
///
/// # Safety
/// Every vector must be valid for writes of its length.
pub unsafe fn read_vectors(fd: i32, vectors: &[libc::iovec], offset: u64) -> Result<usize, Errno> {
    let (at, count) = (vectors.as_ptr() as usize, vectors.len());
    let arguments = [fd as usize, at, count, offset as usize, 0, 0];
    // SAFETY: the vectors by the caller's promise.
    result(unsafe { arch::syscall(libc::SYS_preadv, arguments) })
}

/// Whether the whole range lies in the page cache. `None`: this kernel, or the rights of this
/// process, give no answer.
pub fn is_resident(fd: i32, offset: u64, len: u64) -> Option<bool> {
    const SYS_CACHESTAT: i64 = 451;
    let range = [offset, len];
    let mut stat = [0u64; 5];
    let arguments = [
        fd as usize,
        range.as_ptr() as usize,
        stat.as_mut_ptr() as usize,
        0,
        0,
        0,
    ];
    // SAFETY: `range` and `stat` are as long as `cachestat(2)` wants them.
    result(unsafe { arch::syscall(SYS_CACHESTAT, arguments) }).ok()?;
    let pages = (offset % 4096 + len).div_ceil(4096);
    Some(stat[0] >= pages)
}

/// `is_resident` for kernels without `cachestat`: a short mapping and `mincore`, which tells the
/// truth only to a process that owns the file or may write it; `None` otherwise.
pub fn is_resident_mincore(fd: i32, offset: u64, len: u64) -> Option<bool> {
    if status_flags(fd) & libc::O_ACCMODE != libc::O_RDWR {
        return None;
    }
    let start = offset & !4095;
    let pages = (offset + len - start).div_ceil(4096) as usize;
    let mut vector = [0u8; 64];
    let vector = vector.get_mut(..pages)?;
    let (prot, flags) = (libc::PROT_READ as usize, libc::MAP_SHARED as usize);
    let arguments = [0, pages * 4096, prot, flags, fd as usize, start as usize];
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = result(unsafe { arch::syscall(libc::SYS_mmap, arguments) }).ok()?;
    let ask = [at, pages * 4096, vector.as_mut_ptr() as usize, 0, 0, 0];
    // SAFETY: `vector` has a byte for each page of the mapping.
    let asked = result(unsafe { arch::syscall(libc::SYS_mincore, ask) });
    // SAFETY: unmaps what was mapped above, which nobody else knows.
    let _ = unsafe { arch::syscall(libc::SYS_munmap, [at, pages * 4096, 0, 0, 0, 0]) };
    asked.ok()?;
    Some(vector.iter().all(|page| page & 1 == 1))
}

/// Reads at an offset into raw memory. `only_cached`: only what the page cache holds.
///
/// # Safety
/// `to` must be valid for writes of `len` bytes.
pub unsafe fn read_at(
    fd: i32,
    to: *mut u8,
    len: usize,
    offset: u64,
    only_cached: bool,
) -> Result<usize, Errno> {
    const RWF_NOWAIT: usize = 8;
    let vector = libc::iovec {
        iov_base: to.cast(),
        iov_len: len,
    };
    let at = core::ptr::from_ref(&vector) as usize;
    let flags = if only_cached { RWF_NOWAIT } else { 0 };
    let arguments = [fd as usize, at, 1, offset as usize, 0, flags];
    // SAFETY: one vector, valid by the caller's promise.
    result(unsafe { arch::syscall(libc::SYS_preadv2, arguments) })
}

/// Asks the kernel to bring a range into the page cache, without waiting for it.
pub fn will_need(fd: i32, offset: u64, len: u64) {
    let advice = libc::POSIX_FADV_WILLNEED as usize;
    let arguments = [fd as usize, offset as usize, len as usize, advice, 0, 0];
    // SAFETY: no pointers.
    let _ = unsafe { arch::syscall(libc::SYS_fadvise64, arguments) };
}

/// Whether `ctime_ns` is so young on a coarse clock that another change may carry the same stamp.
pub fn is_young(ctime_ns: u64) -> bool {
    const YOUNG_NS: u64 = 20_000_000;
    super::realtime_ns().saturating_sub(ctime_ns) < YOUNG_NS
}
