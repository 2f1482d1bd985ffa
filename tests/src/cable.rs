//! A network cable that a test can pull: a pair of virtual links, one end in a namespace of its
//! own.
//!
//! Needs root. Names and addresses follow from the test's process, so that tests side by side do
//! not meet. Removed when dropped.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::run::run;
use crate::stage::tool;

static CABLES_LAID: AtomicU32 = AtomicU32::new(0);

/// A cable to a namespace.
pub struct Cable {
    /// The namespace at the far end.
    pub namespace: String,
    /// The address of the far end.
    pub far: IpAddr,
    near_link: String,
}

impl Cable {
    /// Makes the namespace, the links and their addresses.
    pub fn lay() -> Cable {
        let nth = CABLES_LAID.fetch_add(1, Ordering::Relaxed);
        // Four addresses each, out of 10.231.0.0/16.
        let id = (std::process::id() * 4 + nth) % 16_384;
        let low = u8::try_from(id % 64 * 4).expect("below 256");
        let high = u8::try_from(id / 64).expect("below 256");
        let [near, far] = [low + 1, low + 2].map(|end| Ipv4Addr::new(10, 231, high, end));
        let (namespace, near_link) = (format!("ramgrid{id}"), format!("rg{id}a"));
        let far_link = format!("rg{id}b");
        let cable = Cable {
            namespace,
            far: far.into(),
            near_link,
        };
        let (space, link) = (cable.namespace.as_str(), cable.near_link.as_str());
        ip(&format!("netns add {space}"));
        ip(&format!(
            "link add {link} type veth peer name {far_link} netns {space}"
        ));
        ip(&format!("addr add {near}/30 dev {link}"));
        ip(&format!("-n {space} addr add {far}/30 dev {far_link}"));
        ip(&format!("-n {space} link set {far_link} up"));
        cable.plug();
        cable
    }

    /// Nothing goes through from now on; nobody is told.
    pub fn pull(&self) {
        ip(&format!("link set {} down", self.near_link));
    }

    /// It goes through again.
    pub fn plug(&self) {
        ip(&format!("link set {} up", self.near_link));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // The links go with the namespace.
        let words = ["netns", "del", &self.namespace];
        let _ = run(Command::new(tool("ip")).args(words));
    }
}

fn ip(words: &str) {
    let words = words.split(' ');
    run(Command::new(tool("ip")).args(words)).must_pass();
}
