//! SRV records: which servers a name such as `_memnode._tcp.example.org` stands for.
//!
//! The C library looks up addresses only, so this asks the name servers of `/etc/resolv.conf`
//! itself, one question and one answer, by UDP and where the answer is cut off by TCP. `probe` and
//! the hook server's `names` call it. Every wait is bounded; names are taken as they stand, search
//! lists are not applied.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE};

use crate::nodes;

/// Where the name servers stand.
const SETTINGS: &str = "/etc/resolv.conf";

/// Port of a name server.
const PORT: u16 = 53;

/// Longest answer by UDP: no more was allowed.
const UDP_BYTES_MAX: usize = 4096;

/// Most targets that are taken from one answer.
pub const TARGETS_MAX: usize = 64;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Host and port of each server, sorted, none twice.
    pub targets: Vec<(String, u16)>,
    /// How long that may be believed.
    pub ttl: Duration,
}

/// Looks a name up, within `limit`.
///
/// # Errors
///
/// In words for the user: no name server answers, or there is no such record.
pub fn look_up(name: &str, limit: Duration) -> io::Result<Answer> {
    let settings = std::fs::read(SETTINGS).unwrap_or_default();
    let servers = match resolv_conf::Config::parse(&settings) {
        Ok(settings) => settings.get_nameservers_or_local(),
        Err(_) => resolv_conf::Config::new().get_nameservers_or_local(),
    };
    let until = Instant::now() + limit;
    let mut failure = io::Error::other(format!("{SETTINGS} names no name server"));
    for (nth, server) in servers.iter().enumerate() {
        let server = SocketAddr::new(IpAddr::from(server), PORT);
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(servers.len() - nth).unwrap_or(1);
        if share.is_zero() {
            break;
        }
        match ask(server, name, share) {
            Ok(answer) => return answer,
            Err(error) => {
                let why = crate::probe::words(&error);
                failure = io::Error::other(format!("name server {}: {why}", server.ip()));
            }
        }
    }
    Err(failure)
}

/// Asks one name server: an error of its own, or what it says.
fn ask(server: SocketAddr, name: &str, limit: Duration) -> io::Result<io::Result<Answer>> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty())?;
    let id = u16::from_ne_bytes(id);
    let query = question(id, name).map_err(io::Error::other)?;
    let here: IpAddr = match server.ip() {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0; 16].into(),
    };
    let socket = UdpSocket::bind((here, 0))?;
    socket.connect(server)?;
    let until = Instant::now() + limit;
    socket.send(&query)?;
    let mut buffer = [0; UDP_BYTES_MAX];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        // What is no answer to this question is somebody else's.
        let Ok(packet) = Packet::parse(&buffer[..length]) else {
            continue;
        };
        if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
            continue;
        }
        if packet.has_flags(PacketFlag::TRUNCATION) {
            let answer = ask_by_tcp(server, &query, left)?;
            let packet = Packet::parse(&answer).map_err(io::Error::other)?;
            return Ok(understand(&packet, name));
        }
        return Ok(understand(&packet, name));
    }
}

fn question(id: u16, name: &str) -> simple_dns::Result<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let (kind, class) = (QTYPE::TYPE(TYPE::SRV), CLASS::IN.into());
    let question = Question::new(Name::new(name)?, kind, class, false);
    packet.questions.push(question);
    packet.build_bytes_vec()
}

fn ask_by_tcp(server: SocketAddr, query: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    let limit = limit.max(Duration::from_millis(1));
    let until = Instant::now() + limit;
    let mut stream = TcpStream::connect_timeout(&server, limit)?;
    stream.set_write_timeout(Some(limit))?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat())?;
    let mut length = [0; 2];
    read_until(&mut stream, &mut length, until)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    read_until(&mut stream, &mut answer, until)?;
    Ok(answer)
}

/// Fills a buffer, however the bytes trickle in.
fn read_until(stream: &mut TcpStream, mut buffer: &mut [u8], until: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => buffer = &mut buffer[read..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What an answer says.
fn understand(packet: &Packet<'_>, name: &str) -> io::Result<Answer> {
    if packet.rcode() != RCODE::NoError {
        let why = format!("{name}: the name server says {:?}", packet.rcode());
        return Err(io::Error::other(why));
    }
    let mut ttl = u32::MAX;
    let mut targets = Vec::new();
    for record in &packet.answers {
        if let RData::SRV(service) = &record.rdata {
            let host = service.target.to_string();
            let host = host.trim_end_matches('.');
            // A lone dot: there is no such service. What is no host cannot be reached or shown.
            if nodes::is_host(host) && service.port != 0 {
                targets.push((host.to_string(), service.port));
            }
            ttl = ttl.min(record.ttl);
        }
    }
    targets.sort();
    targets.dedup();
    targets.truncate(TARGETS_MAX);
    if targets.is_empty() {
        return Err(io::Error::other(format!("{name} has no SRV record")));
    }
    let ttl = Duration::from_secs(u64::from(ttl));
    Ok(Answer { targets, ttl })
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::SRV;

    const NAME: &str = "_memnode._tcp.example.org";

    fn answer(targets: &[(&str, u16)]) -> Packet<'static> {
        let mut packet = Packet::new_reply(7);
        for (nth, (host, port)) in targets.iter().enumerate() {
            let service = SRV {
                priority: 0,
                weight: 0,
                port: *port,
                target: Name::new_unchecked(host).into_owned(),
            };
            let ttl = 60 - nth as u32;
            let name = Name::new_unchecked(NAME).into_owned();
            let record = ResourceRecord::new(name, CLASS::IN, ttl, RData::SRV(service));
            packet.answers.push(record);
        }
        packet
    }

    #[test]
    fn targets_are_sorted_and_the_shortest_time_counts() {
        let packet = answer(&[("b.org", 1), ("a.org", 2), ("b.org", 1)]);
        let bytes = packet.build_bytes_vec().unwrap();
        let said = understand(&Packet::parse(&bytes).unwrap(), NAME).unwrap();
        assert_eq!(
            said.targets,
            [("a.org".to_string(), 2), ("b.org".to_string(), 1)]
        );
        assert_eq!(said.ttl, Duration::from_secs(58));
    }

    #[test]
    fn no_record_is_an_error_in_words() {
        let said = understand(&answer(&[]), NAME).unwrap_err();
        assert!(said.to_string().contains("has no SRV record"), "{said}");
        let mut packet = answer(&[]);
        *packet.rcode_mut() = RCODE::NameError;
        let said = understand(&packet, NAME).unwrap_err();
        assert!(said.to_string().contains("NameError"), "{said}");
    }

    #[test]
    fn what_can_be_no_server_is_passed_over() {
        let packet = answer(&[("a.org", 0), ("b.org\x1b[2J", 1), ("c.org", 2)]);
        let bytes = packet.build_bytes_vec().unwrap();
        let said = understand(&Packet::parse(&bytes).unwrap(), NAME).unwrap();
        assert_eq!(said.targets, [("c.org".to_string(), 2)]);
    }

    #[test]
    fn a_name_server_that_says_a_byte_now_and_then_is_given_up() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let _ = stream.write_all(&1000_u16.to_be_bytes());
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let outcome = ask_by_tcp(address, b"?", Duration::from_millis(200));
        assert!(outcome.is_err(), "1000 bytes came all the same");
    }

    #[test]
    fn answers_to_other_questions_put_nothing_off() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = udp.local_addr().unwrap();
        std::thread::spawn(move || {
            let (_, peer) = udp.recv_from(&mut [0; 512]).unwrap();
            while udp.send_to(b"no packet", peer).is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        assert!(ask(server, NAME, Duration::from_millis(200)).is_err());
    }

    #[test]
    fn a_name_server_is_asked_and_what_is_cut_off_is_asked_for_again() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = udp.local_addr().unwrap();
        let tcp = std::net::TcpListener::bind(server).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (_, peer) = udp.recv_from(&mut buffer).unwrap();
            let id = u16::from_be_bytes([buffer[0], buffer[1]]);
            let mut cut = Packet::new_reply(id);
            cut.set_flags(PacketFlag::RESPONSE | PacketFlag::TRUNCATION);
            // Somebody else's answer first: it is passed over.
            let mut other = answer(&[("evil.org", 6)]);
            other.set_id(id.wrapping_add(1));
            udp.send_to(&other.build_bytes_vec().unwrap(), peer)
                .unwrap();
            udp.send_to(&cut.build_bytes_vec().unwrap(), peer).unwrap();
            let (mut stream, _) = tcp.accept().unwrap();
            let mut query = [0; 256];
            let _ = stream.read(&mut query).unwrap();
            let mut whole = answer(&[("a.org", 7420)]);
            whole.set_id(id);
            let bytes = whole.build_bytes_vec().unwrap();
            let length = u16::try_from(bytes.len()).unwrap();
            stream.write_all(&length.to_be_bytes()).unwrap();
            stream.write_all(&bytes).unwrap();
        });
        let said = ask(server, NAME, Duration::from_secs(30)).unwrap().unwrap();
        assert_eq!(said.targets, [("a.org".to_string(), 7420)]);
    }
}
