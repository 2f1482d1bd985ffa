//! Raw system calls on memory, and the few private mappings that the shim owns: the page that a
//! fork wipes, receive buffers, the region.
//!
//! # Safety
//! What is dangerous here: turning addresses into references. Mappings made here are never
//! unmapped, so that a reference into them stays valid for the life of the process.
#![allow(unsafe_code)]

use super::{Errno, arch, result};
use grid::sync::{AtomicU64, Ordering};

fn map(len: usize, prot: i32, flags: i32, fd: i32) -> Result<usize, Errno> {
    let arguments = [0, len, prot as usize, flags as usize, fd as usize, 0];
    // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
    result(unsafe { arch::syscall(libc::SYS_mmap, arguments) })
}

/// Maps over what lies at `at`.
///
/// # Safety
/// The range must be a mapping of this file's own, in which nobody relies on what was there.
unsafe fn map_over(at: *mut u8, len: usize, prot: i32, flags: i32, fd: i32) -> Result<(), Errno> {
    let flags = flags | libc::MAP_FIXED;
    let arguments = [
        at as usize,
        len,
        prot as usize,
        flags as usize,
        fd as usize,
        0,
    ];
    // SAFETY: by the caller's promise.
    result(unsafe { arch::syscall(libc::SYS_mmap, arguments) }).map(|_| ())
}

/// Private zeroed memory, for ever.
pub fn map_private(len: usize) -> Result<*mut u8, Errno> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    map(len, prot, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1).map(|at| at as *mut u8)
}

/// Room for a region, not usable yet: its address is known before anything of it is there.
pub fn reserve(len: usize) -> Result<*mut u8, Errno> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    map(len, libc::PROT_NONE, flags, -1).map(|at| at as *mut u8)
}

/// Maps the region into its room, shared and writable; left out of core dumps.
///
/// # Safety
/// `at` and `len` are a room that `reserve` made, and nobody else maps anything there.
pub unsafe fn map_region(at: *mut u8, len: usize, fd: i32) -> Result<(), Errno> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: by the caller's promise.
    unsafe { map_over(at, len, prot, libc::MAP_SHARED, fd) }?;
    advise(at as usize, len, libc::MADV_DONTDUMP);
    Ok(())
}

/// Puts zeros of this process's own where a region or keys were. A thread that is still in there
/// reads zeros and writes what nobody sees; it does not fault.
///
/// # Safety
/// The range is one that `reserve`, `map_private` or `keep` made, and whoever reads it copes with
/// zeros.
pub unsafe fn vacate(at: *mut u8, len: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: by the caller's promise.
    let done = unsafe { map_over(at, len, prot, flags, -1) };
    if done.is_err() {
        // Where the kernel promises no memory that it does not have: zeros to be read only.
        // SAFETY: as above.
        let _ = unsafe { map_over(at, len, libc::PROT_READ, flags, -1) };
    }
}

/// Keeps a value in a mapping of its own, for ever, left out of core dumps. Where it lies, too.
pub fn keep<T>(value: T) -> Option<(&'static T, *mut u8)> {
    let at = map_private(size_of::<T>()).ok()?;
    advise(at as usize, size_of::<T>(), libc::MADV_DONTDUMP);
    let place = at.cast::<T>();
    // SAFETY: a fresh mapping, page-aligned, as long as `T`, which is never unmapped.
    unsafe {
        place.write(value);
        Some((&*place, at))
    }
}

/// Forgets the content of a private buffer: the next look finds zeros.
pub fn forget_content(at: *mut u8, len: usize) {
    advise(at as usize, len, libc::MADV_DONTNEED);
}

fn advise(at: usize, len: usize, advice: i32) -> bool {
    let arguments = [at, len, advice as usize, 0, 0, 0];
    // SAFETY: only called on mappings of the shim's own, with advice that keeps them valid.
    result(unsafe { arch::syscall(libc::SYS_madvise, arguments) }).is_ok()
}

/// What a process must forget when it forks: one page that the kernel wipes in the child.
#[repr(C)]
pub struct ForkPage {
    /// Slot of the process record + 1; 0: not registered (also: a child, after a fork).
    pub process: AtomicU64,
    /// Process id under which it was registered.
    pub pid: AtomicU64,
    /// 0 nobody is joining, 1 a thread is, 2 joining failed for good. In a fork child the thread
    /// that was joining does not exist, so this is wiped too.
    pub joining: AtomicU64,
    /// Threads that are changing the credentials of this process right now: nobody joins meanwhile.
    pub changing: AtomicU64,
    /// Monotonic milliseconds before which a failed registration is not tried again.
    pub retry_at_ms: AtomicU64,
    /// Not 0: an answer was had, or was waited for as rule O4 asks.
    pub waited: AtomicU64,
}

/// Makes the page that a fork wipes; `None` where the kernel (before 4.14) cannot.
pub fn map_fork_page() -> Option<&'static ForkPage> {
    let at = map_private(4096).ok()?;
    if !advise(at as usize, 4096, libc::MADV_WIPEONFORK) {
        return None;
    }
    // SAFETY: mapped for ever, zeroed, aligned to a page, atomics only.
    Some(unsafe { &*at.cast::<ForkPage>() })
}

/// Maps a page that nobody reads, of an empty memory file of this name (which ends in a zero byte).
/// It stays for the life of the program, and in fork children: whoever looks at the mappings finds
/// the name. Nothing is done where the kernel refuses.
pub fn map_mark(name: &core::ffi::CStr) {
    const MFD_NOEXEC_SEAL: usize = 8;
    let create = |flags: usize| {
        let arguments = [name.as_ptr() as usize, flags, 0, 0, 0, 0];
        // SAFETY: the name is a string; a fresh descriptor is all that comes of it.
        result(unsafe { arch::syscall(libc::SYS_memfd_create, arguments) })
    };
    let flags = libc::MFD_CLOEXEC as usize;
    let fd = match create(flags | MFD_NOEXEC_SEAL) {
        // Before Linux 6.3.
        Err(Errno(libc::EINVAL)) => create(flags),
        made => made,
    };
    if let Ok(fd) = fd {
        let _ = map(4096, libc::PROT_NONE, libc::MAP_PRIVATE, fd as i32);
        super::socket::close(fd as i32);
    }
}

/// Remembers which pages have been proved writable. A direct-mapped table; one word tells of 32
/// neighbouring pages, so that 256 MiB of buffers fit into 16 KiB.
///
/// ```text
///   63                      32 31                       0
///  +--------------------------+--------------------------+
///  | number of the group + 1  | a bit for each of 32     |
///  +--------------------------+--------------------------+
/// ```
pub struct ProvedPages([AtomicU64; GROUPS]);

const GROUPS: usize = 2048;
const GROUP_PAGES: usize = 32;

impl ProvedPages {
    /// Nothing proved.
    pub const fn new() -> ProvedPages {
        ProvedPages([const { AtomicU64::new(0) }; GROUPS])
    }

    /// Whether `len` bytes at `to` may be written by plain stores: proved now, or when the pages
    /// were first seen. A buffer unmapped after that is the one documented exception.
    pub fn are_writable(&self, to: *const u8, len: usize) -> bool {
        let first = to as usize / 4096;
        let last = (to as usize + len - 1) / 4096;
        (first..=last).all(|page| self.is_writable(page))
    }

    fn is_writable(&self, page: usize) -> bool {
        let group = page / GROUP_PAGES;
        let (tag, bit) = ((group as u64 + 1) << 32, 1 << (page % GROUP_PAGES));
        let known = &self.0[group % GROUPS];
        let word = known.load(Ordering::Relaxed);
        let same = word >> 32 == tag >> 32;
        if same && word & bit != 0 {
            return true;
        }
        let writable = prove_page(page * 4096);
        if writable {
            // A bit lost between threads is proved once more.
            known.store(
                tag | bit | if same { word & 0xFFFF_FFFF } else { 0 },
                Ordering::Relaxed,
            );
        }
        writable
    }
}

/// Asks the kernel to fault a page in for writing; on kernels before 5.14 by copying one byte of it
/// onto itself through the kernel.
fn prove_page(at: usize) -> bool {
    const MADV_POPULATE_WRITE: usize = 23;
    let arguments = [at, 4096, MADV_POPULATE_WRITE, 0, 0, 0];
    // SAFETY: populating changes no content; a bad address is answered with an error.
    match result(unsafe { arch::syscall(libc::SYS_madvise, arguments) }) {
        Ok(_) => true,
        Err(Errno(libc::EINVAL)) => prove_by_copy(at),
        Err(_) => false,
    }
}

fn prove_by_copy(at: usize) -> bool {
    let vector = libc::iovec {
        iov_base: at as *mut libc::c_void,
        iov_len: 1,
    };
    let vector = core::ptr::from_ref(&vector) as usize;
    let arguments = [super::getpid() as usize, vector, 1, vector, 1, 0];
    // SAFETY: the kernel copies one byte onto itself or answers EFAULT.
    result(unsafe { arch::syscall(libc::SYS_process_vm_readv, arguments) }) == Ok(1)
}

/// Copies `T` out of memory that may be bad, or read-only. `None`: the kernel would say EFAULT.
pub fn fetch<T: Copy>(at: *const T) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    let len = size_of::<T>();
    if at.is_null() {
        return None;
    }
    if is_readable(at.cast(), len) {
        // SAFETY: proved readable.
        return Some(unsafe { at.read_unaligned() });
    }
    let vector = |at: usize| libc::iovec {
        iov_base: at as *mut libc::c_void,
        iov_len: len,
    };
    let (to, from) = (vector(value.as_mut_ptr() as usize), vector(at as usize));
    let (to, from) = (
        core::ptr::from_ref(&to) as usize,
        core::ptr::from_ref(&from) as usize,
    );
    let arguments = [super::getpid() as usize, to, 1, from, 1, 0];
    // SAFETY: the kernel writes `len` bytes of `value`, or says EFAULT.
    let copied = result(unsafe { arch::syscall(libc::SYS_process_vm_readv, arguments) });
    // SAFETY: written whole; the callers fetch plain numbers.
    (copied == Ok(len)).then(|| unsafe { value.assume_init() })
}

/// Copies out of shared memory to the caller's buffer.
///
/// # Safety
/// `from` must lie in the region, `to` must be writable, both for `len` bytes.
pub unsafe fn copy_to_caller(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: by the caller's promise.
    unsafe { grid::copy::copy_shared(from, to, len) }
}

/// Whether two ranges are equal.
///
/// # Safety
/// Both must be readable for `len` bytes.
pub unsafe fn equal(left: *const u8, right: *const u8, len: usize) -> bool {
    // SAFETY: by the caller's promise; bytes have no invalid patterns.
    let (left, right) = unsafe {
        (
            core::slice::from_raw_parts(left, len),
            core::slice::from_raw_parts(right, len),
        )
    };
    left == right
}

/// A view of raw memory as bytes, to be filled.
///
/// # Safety
/// The memory must be mapped, `len` bytes long, and not be reached through any other reference
/// while the slice lives.
pub unsafe fn bytes_mut<'a>(at: *mut u8, len: usize) -> &'a mut [u8] {
    // SAFETY: by the caller's promise.
    unsafe { core::slice::from_raw_parts_mut(at, len) }
}

/// Opens a region that `map_region` mapped.
pub fn open_region(base: *mut u8, bytes: u64) -> Option<grid::region::Region> {
    // SAFETY: `map_region` maps page-aligned, writable, shared; nobody unmaps it, and who comes
    // after `vacate` finds zeros, valid for every word.
    unsafe { grid::region::Region::open(base, bytes) }.ok()
}

/// Whether the vectors of a call may be read by plain loads. The kernel would answer EFAULT for a
/// bad list; so must we, by leaving the call to it. (Proved by the kernel, page by page, like the
/// buffers: a list lives on the caller's stack or heap, which are writable.)
pub fn is_readable(at: *const u8, len: usize) -> bool {
    VECTORS.are_writable(at, len)
}

static VECTORS: ProvedPages = ProvedPages::new();

/// Unmaps a private mapping that nobody refers to any more.
pub fn unmap(at: *mut u8, len: usize) {
    // SAFETY: the callers hand back what `map_private` gave them, once.
    let _ = unsafe { arch::syscall(libc::SYS_munmap, [at as usize, len, 0, 0, 0, 0]) };
}
