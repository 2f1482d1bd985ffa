//! What can lie between two actors, one file each.

pub mod iceoryx;
pub mod mq;
pub mod pipe;
pub mod ring;
pub mod tcp;
pub mod word;
pub mod zeromq;
