//! RESP, the protocol of Redis: the sides of it that ramgrid needs.
//!
//! * [`encode`]: requests into a caller's buffer (shim, hook server).
//! * [`reply`]: the head of a reply, in place (shim, hook server).
//! * [`refusal`]: what an error reply means (shim, hook server).
//! * [`request`]: requests as they trickle in, in place, with limits (memnode).
//!
//! Only GET, MGET, SET and DEL travel on the data path, so that any Redis or Valkey can stand in
//! for a memnode. None of it allocates, copies payloads or does I/O.

pub mod encode;
mod inline;
pub mod number;
pub mod refusal;
pub mod reply;
pub mod request;

pub use encode::{
    SET_TAIL, encode_command, encode_del, encode_get, encode_mget, encode_set_head,
    get_request_bytes, set_head_bytes,
};

/// Ends every line and every bulk string.
pub const CRLF: &[u8; 2] = b"\r\n";
