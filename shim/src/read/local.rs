//! Step 3 of a read: pages of the local cache, in the region. All pages of the read or none: a
//! partial hit would cost the slower source anyway.
//!
//! # Safety
//! What is dangerous here: copying into the caller's buffer with plain stores. The buffer's pages
//! have been proved writable (`ProvedPages`); the source lies in the region by construction.
#![allow(unsafe_code)]

use grid::local::{Hit, PAGE_BYTES, PageKey, Why};
use grid::sync::Ordering;

use super::Request;
use super::target::Target;
use crate::session::Member;
use crate::sys::memory::{ProvedPages, copy_to_caller};

/// Pages of the caller's buffers that have been proved writable.
pub static PROVED: ProvedPages = ProvedPages::new();

/// Most pages of a read that are looked for here.
const PAGES_MAX: usize = 16;

/// Serves the whole read from the local cache. `None`: not held, torn, or changed meanwhile.
pub fn serve(member: Member, request: Request, target: &Target) -> Option<isize> {
    let header = member.header();
    if header.local_active.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let first = target.offset / PAGE_BYTES as u64;
    let last = (target.offset + target.len - 1) / PAGE_BYTES as u64;
    let pages = (last - first + 1) as usize;
    let mut hits: [Option<Hit>; PAGES_MAX] = [None; PAGES_MAX];
    let hits = hits.get_mut(..pages)?;
    let local = member.region().local();
    for (nth, hit) in hits.iter_mut().enumerate() {
        *hit = Some(local.find(target.hash, key(target, first + nth as u64))?);
    }
    if !all_writable(request) {
        return None;
    }
    copy(member, request, target.offset, first, hits);
    let unchanged = hits.iter().flatten().all(|hit| local.is_unchanged(*hit));
    (unchanged && target.is_unchanged(member)).then_some(target.len as isize)
}

/// The key under which a page of the target is kept.
pub fn key(target: &Target, page: u64) -> PageKey {
    let block = page >> (target.log2 - 12);
    let version = target.versions[(block - target.first) as usize];
    PageKey {
        ident: target.ident,
        page,
        epoch: target.seen.epoch(),
        version,
    }
}

/// Whether every buffer of the caller may be written by plain stores.
pub fn all_writable(request: Request) -> bool {
    request
        .buffers
        .iter()
        .filter(|buffer| buffer.iov_len > 0)
        .all(|buffer| PROVED.are_writable(buffer.iov_base.cast(), buffer.iov_len))
}

/// Walks the caller's buffers and the pages side by side.
fn copy(member: Member, request: Request, offset: u64, first: u64, hits: &[Option<Hit>]) {
    let mut at = offset;
    for buffer in request.buffers {
        let mut done = 0;
        while done < buffer.iov_len {
            let within = (at % PAGE_BYTES as u64) as usize;
            let len = (PAGE_BYTES - within).min(buffer.iov_len - done);
            let nth = (at / PAGE_BYTES as u64 - first) as usize;
            let Some(Some(hit)) = hits.get(nth) else {
                return;
            };
            let page = member.region().local_page(hit.slot);
            // SAFETY: `within + len` is at most a page; the buffer has `len` bytes at `done`,
            // proved writable by the caller of this function.
            unsafe {
                copy_to_caller(
                    page.add(within),
                    buffer.iov_base.cast::<u8>().add(done),
                    len,
                );
            }
            done += len;
            at += len as u64;
        }
    }
}

/// Keeps a block that a remote read brought, if the local cache is open; else notes the wish.
///
/// # Safety
/// `content` must be readable for the block's length.
pub unsafe fn keep(member: Member, target: &Target, block: u64, why: Why, content: *const u8) {
    let header = member.header();
    let Some(slot) = member.slot else { return };
    header.local_wanted.fetch_add(1, Ordering::Relaxed);
    if header.local_active.load(Ordering::Relaxed) == 0 {
        return;
    }
    let pages = 1u64 << (target.log2 - 12);
    for nth in 0..pages {
        let page = block * pages + nth;
        member
            .region()
            .local()
            .fill(target.hash, key(target, page), slot, why, |place| {
                // SAFETY: `place` is a content page of the region, `content` has a page at `nth`.
                unsafe {
                    let from = content.add(nth as usize * PAGE_BYTES);
                    grid::copy::copy_shared(from, member.region().local_page(place), PAGE_BYTES);
                }
            });
    }
}
