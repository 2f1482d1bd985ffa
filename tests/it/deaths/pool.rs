//! Nodes come, go and die under PostgreSQL: no transaction fails, the share of reads served falls
//! by what the lost node held, and recovers.

use std::process::{Child, Command, Stdio};

use harness::bed::Bed;
use harness::both_modes;
use harness::load::{prepare, under_load};
use harness::mode::Mode;
use harness::node::Node;
use harness::postgres::Postgres;
use harness::run::{run, wait_until, wrapped};
use harness::script::script;
use harness::session::Hooked;
use harness::stage::tool;
use serde_json::Value;

both_modes!(one_killed_one_added);

/// How far the share of reads served may be from where it was and count as recovered.
const RECOVERED: f64 = 0.05;

/// What else than the lost share a kill may cost while it is noticed and under a load that writes.
const BESIDES: f64 = 0.25;

fn scene<'a>(bed: &'a Bed, nodes: &[Node]) -> (Postgres, Hooked<'a>) {
    let mut postgres = Postgres::init(bed, true);
    let mut hooked = bed.hooked().flag("--local", "0");
    for node in nodes {
        hooked = hooked.flag("--node", node.addr.to_string());
    }
    postgres.start(hooked.command(bed.path(), &postgres.server_words()));
    prepare(&postgres);
    wait_until("nearly all reads are served, by all nodes", || {
        let list = list(bed, &hooked);
        let all_hold = list.iter().all(|node| node["blocks"].as_u64() > Some(0));
        served(&postgres, &hooked) > 0.9 && all_hold
    });
    (postgres, hooked)
}

/// The share of the reads of some thousand transactions that is served.
fn served(postgres: &Postgres, hooked: &Hooked<'_>) -> f64 {
    let count = || {
        let stats = hooked.stats().expect("the session lives");
        (stats.hits(), stats.count("reads"))
    };
    let before = count();
    postgres.pgbench(&["-n", "-S", "-c", "2", "-t", "1000"]);
    let after = count();
    let reads = (after.1 - before.1).max(1);
    (after.0 - before.0) as f64 / reads as f64
}

/// What `hooktool node list -j` says.
fn list(bed: &Bed, hooked: &Hooked<'_>) -> Vec<Value> {
    let listed = run(&mut bed.hooktool(&["node", "list", "-j", hooked.name.as_str()]));
    let text = listed.must_pass().text();
    let lines = text.lines().map(serde_json::from_str);
    lines.map(|line| line.expect("a line of JSON")).collect()
}

fn order(bed: &Bed, hooked: &Hooked<'_>, verb: &str, node: &Node) {
    let addr = node.addr.to_string();
    let words = ["node", verb, addr.as_str(), hooked.name.as_str()];
    run(&mut bed.hooktool(&words)).must_pass();
}

/// What the list says of a node.
fn of<'a>(list: &'a [Value], node: &Node) -> &'a Value {
    let addr = node.addr.to_string();
    let mut nodes = list.iter();
    nodes
        .find(|known| known["addr"] == addr.as_str())
        .expect("listed")
}

fn finish(mut postgres: Postgres, hooked: &Hooked<'_>) {
    postgres.must_be_clean();
    postgres.log_must_lack(&["recovery"]);
    assert!(postgres.stop().success());
    hooked.final_stats().must_have_hits();
}

fn one_killed_one_added(mode: Mode) {
    let bed = Bed::new("pool-killed", mode);
    let mut nodes: Vec<Node> = (0..4).map(|_| Node::start(&bed, "64MiB")).collect();
    let (postgres, hooked) = scene(&bed, &nodes);
    let blocks = |node: &Node| {
        of(&list(&bed, &hooked), node)["blocks"]
            .as_f64()
            .expect("a number")
    };
    let held: Vec<f64> = nodes.iter().map(&blocks).collect();
    let most = (0..4)
        .max_by(|a, b| held[*a].total_cmp(&held[*b]))
        .expect("four");
    let share = held[most] / held.iter().sum::<f64>();
    let before = served(&postgres, &hooked);
    under_load(&postgres, |advance| {
        advance(100);
        nodes[most].kill();
        let without = served(&postgres, &hooked);
        assert!(
            without >= before - share - BESIDES,
            "{without} of the reads are served without a node that held {share}, {before} before"
        );
        assert!(
            before - without >= share / 4.0,
            "{before} {without} {share}: nothing was lost"
        );
        nodes.push(Node::start(&bed, "64MiB"));
        order(&bed, &hooked, "add", &nodes[4]);
        advance(200);
    });
    wait_until("as many reads are served as before", || {
        served(&postgres, &hooked) >= before - RECOVERED
    });
    let list = list(&bed, &hooked);
    assert_eq!(of(&list, &nodes[most])["state"], "unreachable");
    assert!(
        of(&list, &nodes[4])["blocks"].as_u64() > Some(0),
        "{list:?}"
    );
    assert!(nodes[4].info("keyspace_hits") > 0);
    order(&bed, &hooked, "remove", &nodes[most]);
    finish(postgres, &hooked);
}

#[test]
fn drained_and_removed() {
    let bed = Bed::new("pool-drained", Mode::Oracle);
    let nodes: Vec<Node> = (0..3).map(|_| Node::start(&bed, "64MiB")).collect();
    let (postgres, hooked) = scene(&bed, &nodes);
    let before = served(&postgres, &hooked);
    let drained = |node: &Node| {
        order(&bed, &hooked, "drain", node);
        wait_until("drained", || {
            of(&list(&bed, &hooked), node)["state"] == "drained"
        });
    };
    drained(&nodes[2]);
    let after = served(&postgres, &hooked);
    assert!(
        after >= before - RECOVERED,
        "{before} {after}: its blocks have not been taken along"
    );
    order(&bed, &hooked, "add", &nodes[2]);
    under_load(&postgres, |advance| {
        advance(100);
        drained(&nodes[0]);
        order(&bed, &hooked, "remove", &nodes[0]);
        // Its number goes to another node, in the middle of everything.
        order(&bed, &hooked, "add", &nodes[0]);
        order(&bed, &hooked, "remove", &nodes[1]);
        advance(300);
    });
    wait_until("as many reads are served as before", || {
        served(&postgres, &hooked) >= before - RECOVERED
    });
    assert_eq!(list(&bed, &hooked).len(), 2);
    finish(postgres, &hooked);
}

/// A session whose programs see a file of the test's own as /etc/NAME.
fn beneath(etc: &str, file: &std::path::Path, command: &Command) -> Command {
    let mount = format!("mount --bind {} /etc/{etc} && exec \"$@\"", file.display());
    wrapped(&["unshare", "-m", "sh", "-c", &mount, "sh"], command)
}

/// Reads a file again and again until its input ends; killed when the test fails.
struct Reader(Child);

impl Reader {
    fn start(bed: &Bed, hooked: &Hooked<'_>, wrap: impl Fn(&Command) -> Command) -> Reader {
        let content: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let file = bed.write("data", &content);
        let reader = script(bed, "rereader.py");
        let words = ["python3".as_ref(), reader.as_os_str(), file.as_os_str()];
        let mut command = wrap(&hooked.command(bed.path(), &words));
        Reader(
            command
                .stdin(Stdio::piped())
                .spawn()
                .expect("start the reader"),
        )
    }

    fn finish(mut self) {
        drop(self.0.stdin.take());
        assert!(
            self.0.wait().expect("wait").success(),
            "it has read what is not there"
        );
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until that many more reads are served by nodes.
fn wait_hits(hooked: &Hooked<'_>, more: u64) {
    let before = hooked.stats().map_or(0, |stats| stats.count("hits_remote"));
    hooked.wait_stats("nodes serve", |stats| {
        stats.count("hits_remote") >= before + more
    });
}

#[test]
fn a_node_that_comes_back_at_another_address_is_found_by_its_name() {
    let bed = Bed::new("pool-names", Mode::Normal);
    let mut here = Node::start(&bed, "64MiB");
    let hosts = bed.write("hosts", b"127.0.0.1 localhost memory.test\n");
    let addr = format!("memory.test:{}", here.addr.port());
    let hooked = bed.hooked().flag("--local", "0").flag("--node", addr);
    let reader = Reader::start(&bed, &hooked, |command| beneath("hosts", &hosts, command));
    wait_hits(&hooked, 2000);
    here.kill();
    let mut there = here.addr;
    there.set_ip([127, 0, 0, 2].into());
    let there = Node::start_at(&bed, "64MiB", there);
    bed.write("hosts", b"127.0.0.1 localhost\n127.0.0.2 memory.test\n");
    wait_hits(&hooked, 2000);
    assert!(there.info("keyspace_hits") > 0);
    reader.finish();
}

/// A name server that knows one name with SRV records; killed when dropped.
struct NameServer(Child);

/// Where it listens: port 53 of an address of the loopback that nobody else uses.
const NAME_SERVER: &str = "127.7.4.53";

/// The name.
const NAME: &str = "_memnode._tcp.memory.test";

impl NameServer {
    fn start(bed: &Bed, nodes: &[&Node]) -> NameServer {
        let mut command = bed.native(bed.path(), &[tool("dnsmasq")]);
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
        ]);
        command.args([
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--user=root",
        ]);
        command.arg(format!("--listen-address={NAME_SERVER}"));
        command.arg("--address=/memory.test/127.0.0.1");
        for node in nodes {
            let port = node.addr.port();
            command.arg(format!("--srv-host={NAME},n{port}.memory.test,{port}"));
        }
        NameServer(command.spawn().expect("start dnsmasq"))
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_nodes_of_a_name_come_and_go_with_its_records() {
    let bed = Bed::new("pool-srv", Mode::Normal);
    let nodes: Vec<Node> = (0..3).map(|_| Node::start(&bed, "64MiB")).collect();
    let settings = bed.write(
        "resolv.conf",
        format!("nameserver {NAME_SERVER}\n").as_bytes(),
    );
    let ports = |hooked: &Hooked<'_>| -> Vec<u16> {
        let port_of = |node: &Value| node["addr"].as_str()?.rsplit_once(':')?.1.parse().ok();
        let mut ports: Vec<u16> = list(&bed, hooked).iter().filter_map(port_of).collect();
        ports.sort_unstable();
        ports
    };
    let sorted = |nodes: &[&Node]| {
        let mut ports: Vec<u16> = nodes.iter().map(|node| node.addr.port()).collect();
        ports.sort_unstable();
        ports
    };
    let before = NameServer::start(&bed, &[&nodes[0], &nodes[1]]);
    let hooked = bed
        .hooked()
        .flag("--local", "0")
        .flag("--node", format!("srv://{NAME}"));
    let reader = Reader::start(&bed, &hooked, |line| {
        beneath("resolv.conf", &settings, line)
    });
    wait_hits(&hooked, 2000);
    assert_eq!(ports(&hooked), sorted(&[&nodes[0], &nodes[1]]));
    drop(before);
    // Nobody answers for the name: everything stays as it is.
    wait_hits(&hooked, 2000);
    assert_eq!(ports(&hooked), sorted(&[&nodes[0], &nodes[1]]));
    let after = NameServer::start(&bed, &[&nodes[1], &nodes[2]]);
    wait_until("the pool is what the records say", || {
        ports(&hooked) == sorted(&[&nodes[1], &nodes[2]])
    });
    wait_hits(&hooked, 2000);
    assert!(nodes[2].info("keyspace_hits") > 0);
    reader.finish();
    drop(after);
}
