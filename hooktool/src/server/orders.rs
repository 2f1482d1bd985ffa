//! `hooktool node add`, `remove`, `drain`: changes of the pool at a user's order.
//!
//! `viewers` calls `change` on the thread of the viewer who asked; it waits a moment for the first
//! word of a node that was added, and for nobody else.

use std::time::{Duration, Instant};

use grid::node::NODES_MAX;

use super::nodes::Node;
use super::pool::{Origin, Refusal};
use super::session::Session;
use super::viewers::refused;
use crate::config::NodeAddr;
use crate::control::{NodeOrder, NodeState, Response};

/// How long an order waits for the first word of a node.
const FIRST_WORD: Duration = Duration::from_millis(1500);

/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Carries an order out.
pub fn change(session: &Session, order: NodeOrder, addr: &NodeAddr) -> Response {
    if let Some(cluster) = &session.cluster {
        let (name, shown) = (&session.config.name, &cluster.shown);
        return refused(
            &format!("the nodes of session {name} are the masters of {shown}"),
            "they come, go and share the blocks as the cluster says",
            "change the cluster:  redis-cli --cluster help",
        );
    }
    let is_name = matches!(addr, NodeAddr::Srv { .. });
    let outcome = match order {
        NodeOrder::Add if is_name => session.add_name(addr).map(|()| None),
        NodeOrder::Remove if is_name => session.remove_name(addr).map(|()| None),
        NodeOrder::Drain if is_name => Err(Refusal::Several),
        NodeOrder::Add => {
            let added = session.add_node(addr, Origin::Command);
            added.map(|node| first_word(session, &node))
        }
        NodeOrder::Remove => known(session, addr).and_then(|node| {
            let name = node.name().map(str::to_string);
            name.map_or(Ok(()), |name| Err(Refusal::Named(name)))?;
            session.remove_node(&node).map(|()| None)
        }),
        NodeOrder::Drain => {
            known(session, addr).and_then(|node| session.drain_node(&node).map(|()| None))
        }
    };
    match outcome {
        Ok(trouble) => Response::Node { trouble },
        Err(refusal) => explain(session, order, addr, refusal),
    }
}

fn known(session: &Session, addr: &NodeAddr) -> Result<std::sync::Arc<Node>, Refusal> {
    session.pool.find_at(addr).ok_or(Refusal::Unknown)
}

/// Waits until the node has answered or failed; what a user is to be told of it.
fn first_word(session: &Session, node: &Node) -> Option<String> {
    let until = Instant::now() + FIRST_WORD;
    while node.health().0 == NodeState::Connecting && Instant::now() < until {
        if session.is_ending() {
            break;
        }
        std::thread::sleep(LOOK_PAUSE);
    }
    let nodes = session.pool.nodes();
    let others = || nodes.iter().filter(|other| other.number != node.number);
    let home = node.home();
    if let Some(same) = others().find(|other| home.is_some() && other.home() == home) {
        return Some(format!(
            "node {} is the same server as {}: it has two shares now, and no more memory; let one \
             go:  hooktool node remove {}",
            node.shown, same.shown, node.shown
        ));
    }
    let complaint = node.complaint(others().any(|other| other.is_up()));
    complaint.map(|text| text.replace("  --node redis://", "  hooktool node add redis://"))
}

/// What was refused, what it means, and what to type.
fn explain(session: &Session, order: NodeOrder, addr: &NodeAddr, refusal: Refusal) -> Response {
    let name = &session.config.name;
    let list = format!("see what it has:  hooktool node list {name}");
    let another = format!("hooktool node add HOST:7420 {name}");
    match refusal {
        Refusal::Known => refused(
            &format!("node {addr} is in session {name} already"),
            "a node has one share of the files, however often and in whatever way it is named",
            &list,
        ),
        Refusal::Full => refused(
            &format!("session {name} has {NODES_MAX} nodes: {addr} would be one too many"),
            "blocks are spread over at most that many",
            &format!("let one go first:  hooktool node remove ADDR {name}"),
        ),
        Refusal::Unknown => {
            let nodes = session.pool.nodes();
            let has: Vec<&str> = nodes.iter().map(|node| node.shown.as_str()).collect();
            let has = format!("its nodes are: {}", has.join(" "));
            refused(&format!("session {name} has no node {addr}"), &has, &list)
        }
        Refusal::Last if order == NodeOrder::Drain => refused(
            &format!("no other node of session {name} takes blocks"),
            "the share of this one would go to nobody",
            &format!("add another first:  {another}"),
        ),
        Refusal::Last => refused(
            &format!("{addr} is the last node of session {name} that takes blocks"),
            "without it nothing could be served",
            &format!("add another first:  {another}   or step aside:  hooktool off {name}"),
        ),
        Refusal::Named(by) => refused(
            &format!("node {addr} came with {by}"),
            "it would be back with the next look at that name",
            &format!("change what the name says, or remove it whole:  hooktool node remove {by}"),
        ),
        Refusal::Several => refused(
            &format!("{addr} stands for several nodes"),
            "each of them is drained by itself",
            &format!("hooktool node drain HOST:PORT {name}   of these:  hooktool node list {name}"),
        ),
        Refusal::Failed(failure) => refused(&failure.what, &failure.means, &failure.fix),
    }
}
