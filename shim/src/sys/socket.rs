//! Raw system calls on sockets: joining the session, and talking to a memory node.
//!
//! # Safety
//! What is dangerous here: buffers and control messages handed to the kernel by address. All come
//! from slices and local values; received descriptors are moved out of the target's low numbers.
#![allow(unsafe_code)]

use super::{Errno, arch, result};

/// Descriptors that one welcome can carry: the region and a socket per node.
pub const DESCRIPTORS_MAX: usize = grid::node::NODES_MAX + 1;
/// Where the shim's descriptors live if the limit allows: far above what a target counts from.
const HIGH_DESCRIPTORS: [usize; 4] = [1000, 700, 400, 200];

/// Device and inode of a socket: who it is, whatever its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketIdent {
    /// Device of the socket file system.
    pub dev: u64,
    /// Inode of the socket.
    pub ino: u64,
}

/// Asks the kernel who a descriptor is.
pub fn identify(fd: i32) -> Option<SocketIdent> {
    let mut stat = core::mem::MaybeUninit::<libc::stat>::zeroed();
    let arguments = [fd as usize, stat.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: `stat` is a valid place for the answer.
    result(unsafe { arch::syscall(libc::SYS_fstat, arguments) }).ok()?;
    // SAFETY: zero is a valid bit pattern of every field, the kernel filled in the rest.
    let stat = unsafe { stat.assume_init() };
    Some(SocketIdent {
        dev: stat.st_dev,
        ino: stat.st_ino,
    })
}

/// Closes a descriptor of the shim's own.
pub fn close(fd: i32) {
    // SAFETY: no pointers; the callers own `fd`.
    let _ = unsafe { arch::syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// Moves a fresh descriptor to a high number, close-on-exec, and closes the low one.
pub fn move_high(fd: i32) -> Option<i32> {
    let duplicate = HIGH_DESCRIPTORS.iter().find_map(|floor| {
        let command = libc::F_DUPFD_CLOEXEC as usize;
        let arguments = [fd as usize, command, *floor, 0, 0, 0];
        // SAFETY: no pointers.
        result(unsafe { arch::syscall(libc::SYS_fcntl, arguments) }).ok()
    });
    close(fd);
    duplicate.map(|high| high as i32)
}

/// A connected seqpacket socket to an abstract name, with time limits on both directions.
pub fn connect_abstract(name: &[u8], limit_ms: u64) -> Result<i32, Errno> {
    let kind = (libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC) as usize;
    let arguments = [libc::AF_UNIX as usize, kind, 0, 0, 0, 0];
    // SAFETY: no pointers.
    let fd = result(unsafe { arch::syscall(libc::SYS_socket, arguments) })? as i32;
    set_limit(fd, libc::SO_RCVTIMEO, limit_ms * 1000);
    set_limit(fd, libc::SO_SNDTIMEO, limit_ms * 1000);
    let mut address = [0u8; 110];
    address[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
    let Some(place) = address.get_mut(3..3 + name.len()) else {
        close(fd);
        return Err(Errno(libc::ENAMETOOLONG));
    };
    place.copy_from_slice(name);
    let arguments = [
        fd as usize,
        address.as_ptr() as usize,
        3 + name.len(),
        0,
        0,
        0,
    ];
    // SAFETY: `address` is as long as the length says, by the checked slice above.
    let connected = result(unsafe { arch::syscall(libc::SYS_connect, arguments) });
    connected.map(|_| fd).inspect_err(|_| close(fd))
}

/// Sets a time limit of a socket in microseconds (`SO_RCVTIMEO`, `SO_SNDTIMEO`).
pub fn set_limit(fd: i32, option: i32, limit_us: u64) {
    let time = libc::timeval {
        tv_sec: (limit_us / 1_000_000) as i64,
        tv_usec: (limit_us % 1_000_000) as i64,
    };
    let at = core::ptr::from_ref(&time) as usize;
    let level = libc::SOL_SOCKET as usize;
    let arguments = [
        fd as usize,
        level,
        option as usize,
        at,
        size_of::<libc::timeval>(),
        0,
    ];
    // SAFETY: `time` lives through the call and is as long as the length says.
    let _ = unsafe { arch::syscall(libc::SYS_setsockopt, arguments) };
}

/// Effective user id of the process at the other end of a Unix socket.
pub fn peer_uid(fd: i32) -> Option<u32> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut len = size_of::<libc::ucred>() as u32;
    let arguments = [
        fd as usize,
        libc::SOL_SOCKET as usize,
        libc::SO_PEERCRED as usize,
        core::ptr::from_mut(&mut credentials) as usize,
        core::ptr::from_mut(&mut len) as usize,
        0,
    ];
    // SAFETY: place and length are valid.
    result(unsafe { arch::syscall(libc::SYS_getsockopt, arguments) }).ok()?;
    Some(credentials.uid)
}

/// Whether a descriptor of the target's is a socket without message boundaries: TCP, or a Unix
/// stream.
pub fn is_stream(fd: i32) -> bool {
    match option(fd, libc::SO_PROTOCOL) {
        Some(libc::IPPROTO_TCP | libc::IPPROTO_MPTCP) => true,
        Some(0) => {
            option(fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM)
                && option(fd, libc::SO_DOMAIN) == Some(libc::AF_UNIX)
        }
        _ => false,
    }
}

fn option(fd: i32, name: i32) -> Option<i32> {
    let (mut value, mut len) = (0i32, size_of::<i32>() as u32);
    let arguments = [
        fd as usize,
        libc::SOL_SOCKET as usize,
        name as usize,
        core::ptr::from_mut(&mut value) as usize,
        core::ptr::from_mut(&mut len) as usize,
        0,
    ];
    // SAFETY: place and length are valid.
    result(unsafe { arch::syscall(libc::SYS_getsockopt, arguments) }).ok()?;
    Some(value)
}

/// Sends bytes on a socket of the target's, exactly as its own send would go: it may wait, be
/// interrupted, or raise SIGPIPE. `more`: more will follow at once.
///
/// # Safety
/// `from` must be readable for `len` bytes.
pub unsafe fn send_on(fd: i32, from: *const u8, len: usize, more: bool) -> Result<usize, Errno> {
    let flags = if more { libc::MSG_MORE as usize } else { 0 };
    let arguments = [fd as usize, from as usize, len, flags, 0, 0];
    // SAFETY: by the caller's promise.
    result(unsafe { arch::syscall(libc::SYS_sendto, arguments) })
}

/// Sends bytes; never raises SIGPIPE.
pub fn send(fd: i32, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_NOSIGNAL as usize;
    let arguments = [
        fd as usize,
        bytes.as_ptr() as usize,
        bytes.len(),
        flags,
        0,
        0,
    ];
    // SAFETY: `bytes` lives through the call.
    result(unsafe { arch::syscall(libc::SYS_sendto, arguments) })
}

/// Receives bytes; `wait` false: only what is there.
pub fn receive(fd: i32, bytes: &mut [u8], wait: bool) -> Result<usize, Errno> {
    let flags = if wait { 0 } else { libc::MSG_DONTWAIT as usize };
    let arguments = [
        fd as usize,
        bytes.as_mut_ptr() as usize,
        bytes.len(),
        flags,
        0,
        0,
    ];
    // SAFETY: `bytes` is exclusive and as long as the length says.
    result(unsafe { arch::syscall(libc::SYS_recvfrom, arguments) })
}

/// Nothing arrives on this socket from now on; what has arrived can still be received.
pub fn shut_reading(fd: i32) {
    let arguments = [fd as usize, libc::SHUT_RD as usize, 0, 0, 0, 0];
    // SAFETY: no pointers.
    let _ = unsafe { arch::syscall(libc::SYS_shutdown, arguments) };
}

/// Receives one message with descriptors. Returns the bytes and how many descriptors came.
pub fn receive_descriptors(
    fd: i32,
    bytes: &mut [u8],
    descriptors: &mut [i32; DESCRIPTORS_MAX],
) -> Result<(usize, usize), Errno> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    const CONTROL: usize = (HEADER + 4 * DESCRIPTORS_MAX).next_multiple_of(8);
    #[repr(C, align(8))]
    struct Control([u8; CONTROL]);
    let mut control = Control([0; CONTROL]);
    let mut vector = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: zero is a valid bit pattern of a message header.
    let mut message = unsafe { core::mem::zeroed::<libc::msghdr>() };
    message.msg_iov = &mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    let at = core::ptr::from_mut(&mut message) as usize;
    let flags = libc::MSG_CMSG_CLOEXEC as usize;
    // SAFETY: every pointer in `message` names a live local or `bytes`.
    let got =
        result(unsafe { arch::syscall(libc::SYS_recvmsg, [fd as usize, at, flags, 0, 0, 0]) })?;
    let mut length = [0; size_of::<usize>()];
    length.copy_from_slice(&control.0[..size_of::<usize>()]);
    let given = (message.msg_controllen as usize).min(CONTROL);
    let control_len = usize::from_ne_bytes(length).min(given);
    let payload = control.0.get(HEADER..control_len).unwrap_or(&[]);
    let count = payload.len() / 4;
    for (place, raw) in descriptors.iter_mut().zip(payload.chunks_exact(4)) {
        *place = i32::from_ne_bytes([raw[0], raw[1], raw[2], raw[3]]);
    }
    Ok((got, count.min(DESCRIPTORS_MAX)))
}
