//! A node that lies: a listener between a session and an honest node that spoils what comes back.
//!
//! What it does to replies can be changed at any moment, and strikes at another place of each piece
//! of bytes. Requests pass untouched. Threads and blocking sockets; gone with the test's process.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::files::{Dice, noise};

/// What a liar does to replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Lie {
    /// Hands them on.
    None,
    /// Turns one bit of each piece.
    Flip,
    /// Hands on half of a piece and closes.
    Cut,
    /// Adds a reply that nobody asked for.
    Extra,
    /// Answers with a length that nobody can hold.
    Huge,
    /// Answers with bytes that are no reply.
    Noise,
    /// Swallows them.
    Mute,
    /// Hands them on byte by byte, slowly.
    Dribble,
    /// Sends each piece twice.
    Twice,
}

/// All but the truth.
pub const LIES: [Lie; 8] = [
    Lie::Flip,
    Lie::Cut,
    Lie::Extra,
    Lie::Huge,
    Lie::Noise,
    Lie::Mute,
    Lie::Dribble,
    Lie::Twice,
];

/// A lying node.
pub struct Liar {
    /// Where sessions connect.
    pub addr: SocketAddr,
    lie: Arc<AtomicUsize>,
}

impl Liar {
    /// Listens on a free port before `node`; honest at first.
    pub fn before(node: SocketAddr) -> Liar {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind the liar");
        let addr = listener.local_addr().expect("bound");
        let lie = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&lie);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(node) {
                    join(&client, &server, &told);
                }
            }
        });
        Liar { addr, lie }
    }

    /// From now on, this.
    pub fn tell(&self, lie: Lie) {
        self.lie.store(lie as usize, Ordering::SeqCst);
    }
}

fn join(client: &TcpStream, server: &TcpStream, told: &Arc<AtomicUsize>) {
    let twin = |stream: &TcpStream| stream.try_clone().expect("dup");
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (up, down) = ((twin(client), twin(server)), (twin(server), twin(client)));
    let told = Arc::clone(told);
    thread::spawn(move || pump(up.0, up.1, |bytes, to| to.write_all(bytes).is_ok()));
    thread::spawn(move || {
        let mut dice = Dice::new(3);
        pump(down.0, down.1, |bytes, to| {
            let lie = told.load(Ordering::SeqCst);
            let lie = LIES.into_iter().find(|one| *one as usize == lie);
            spoil(lie.unwrap_or(Lie::None), bytes, to, &mut dice)
        });
    });
}

/// Sends what is left of the truth; false: closes.
fn spoil(lie: Lie, bytes: &mut [u8], to: &mut TcpStream, dice: &mut Dice) -> bool {
    let at = usize::try_from(dice.below(bytes.len() as u64)).expect("small");
    match lie {
        Lie::None => to.write_all(bytes).is_ok(),
        Lie::Flip => {
            bytes[at] ^= 1 << dice.below(8);
            to.write_all(bytes).is_ok()
        }
        Lie::Cut => {
            let _ = to.write_all(&bytes[..at]);
            false
        }
        Lie::Extra => {
            let more = b"$5\r\nhello\r\n";
            to.write_all(bytes).is_ok() && to.write_all(more).is_ok()
        }
        Lie::Huge => to.write_all(b"$99999999999999999999\r\n").is_ok(),
        Lie::Noise => to.write_all(&noise(dice.roll(), bytes.len())).is_ok(),
        Lie::Mute => true,
        Lie::Dribble => bytes.chunks(1).all(|byte| {
            thread::sleep(Duration::from_micros(200));
            to.write_all(byte).is_ok()
        }),
        Lie::Twice => to.write_all(bytes).is_ok() && to.write_all(bytes).is_ok(),
    }
}

fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    mut hand_on: impl FnMut(&mut [u8], &mut TcpStream) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || !hand_on(&mut buffer[..count], &mut to) {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
