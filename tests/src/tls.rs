//! Certificates, and an ear that remembers every byte of a connection.
//!
//! Certificates are made by openssl in the bed of the test. What a stranger on the wire can see is
//! what the ear has heard: whoever asserts that something is not in it first shows that it would
//! have been.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::bed::{Bed, small_environment};
use crate::proxy::pump;
use crate::run::run;
use crate::stage::tool;

/// An elliptic curve is made in no time.
const KEY: &str = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// Two authorities, and what they have signed.
pub struct Papers(PathBuf);

impl Papers {
    /// `ca` and `other`; of `ca`, certificates for a `node` at 127.0.0.1, one that is `late`, one
    /// for `elsewhere`, and one of a `client`; a `stranger` of the other's.
    pub fn new(bed: &Bed) -> Papers {
        let papers = Papers(bed.dir_of("papers"));
        for authority in ["ca", "other"] {
            papers.openssl(&format!(
                "{KEY} -x509 -days 30 -keyout {authority}.key -out {authority}.crt -subj \
                 /CN={authority}"
            ));
        }
        papers.sign("node", "ca", "30", "IP:127.0.0.1");
        papers.sign("late", "ca", "-1", "IP:127.0.0.1");
        papers.sign("elsewhere", "ca", "30", "DNS:elsewhere.example");
        papers.sign("client", "ca", "30", "DNS:client.example");
        papers.sign("stranger", "other", "30", "DNS:client.example");
        papers
    }

    fn sign(&self, name: &str, authority: &str, days: &str, subject: &str) {
        self.openssl(&format!(
            "{KEY} -keyout {name}.key -out {name}.csr -subj /CN={name} -addext \
             subjectAltName={subject}"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -days {days} \
             -copy_extensions copy -out {name}.crt"
        ));
    }

    fn openssl(&self, line: &str) {
        let mut command = Command::new(tool("openssl"));
        small_environment(&mut command);
        run(command.args(line.split(' ')).current_dir(&self.0)).must_pass();
    }

    /// Where a file lies.
    pub fn at(&self, name: &str) -> String {
        Path::new(&self.0).join(name).display().to_string()
    }

    /// Flags of memnode: it shows this certificate, and asks for one of the authority `ca` if so.
    pub fn of_node(&self, shown: &str, asks: bool) -> Vec<String> {
        let (cert, key) = (format!("{shown}.crt"), format!("{shown}.key"));
        let mut flags = vec!["--tls-cert".into(), self.at(&cert)];
        flags.extend(["--tls-key".into(), self.at(&key)]);
        if asks {
            flags.extend(["--tls-client-ca".into(), self.at("ca.crt")]);
        }
        flags
    }
}

/// A recorder in front of a node.
pub struct Tap {
    /// Where sessions connect.
    pub addr: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// Listens on a free port and forwards to `node`.
    pub fn before(node: SocketAddr) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind the tap");
        let addr = listener.local_addr().expect("bound");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(node) {
                    join(&client, &server, &all);
                    join(&server, &client, &all);
                }
            }
        });
        Tap { addr, heard }
    }

    /// How many bytes have passed, both ways.
    pub fn count(&self) -> usize {
        self.heard.lock().expect("not poisoned").len()
    }

    /// Whether any whole block of a file has passed as it is.
    pub fn has_heard(&self, content: &[u8]) -> bool {
        let heard = self.heard.lock().expect("not poisoned");
        // A stretch of noise is found by its first bytes, whatever it lies between.
        let stretches = content.chunks(4096).map(|block| &block[..16]);
        let wanted: std::collections::HashSet<&[u8]> = stretches.collect();
        heard.windows(16).any(|seen| wanted.contains(seen))
    }
}

fn join(from: &TcpStream, to: &TcpStream, heard: &Arc<Mutex<Vec<u8>>>) {
    let _ = from.set_nodelay(true);
    let twin = |stream: &TcpStream| stream.try_clone().expect("dup");
    let (from, to, heard) = (twin(from), twin(to), Arc::clone(heard));
    thread::spawn(move || {
        pump(from, to, |bytes, _| {
            heard.lock().expect("not poisoned").extend_from_slice(bytes);
        });
    });
}
