//! How the comparison is shown: a table for people, JSON lines for programs.
//!
//! Called by `peers` as the figures come, so that a run that is stopped has shown what it has.

use serde_json::json;

use super::load::Op;
use super::server::{Kind, Server};
use super::{Cell, Figure, PeersArgs};

/// The head of the table.
pub fn head(args: &PeersArgs) {
    if !args.json {
        println!(
            "{:<4}{:>6}{:>5}  {:<16}{:<11}{:>10}{:>9}{:>12}{:>9}{:>11}{:>9}",
            "op",
            "conns",
            "pipe",
            "generator",
            "server",
            "req/s",
            ":redis",
            "server us",
            ":redis",
            "generator",
            "p50 us"
        );
    }
}

/// One cell: a line for each server, beside Redis where it took part.
pub fn row(args: &PeersArgs, cell: Cell, generator: &str, figures: &[(Kind, Figure)]) {
    let redis = figures.iter().find(|(kind, _)| *kind == Kind::Redis);
    for (kind, figure) in figures {
        let rate_ratio = redis.map(|(_, redis)| figure.rate / redis.rate);
        let cost_ratio = redis.map(|(_, redis)| figure.server_us / redis.server_us);
        if args.json {
            let line = json!({
                "schema": 1, "op": cell.op.name(), "connections": cell.connections,
                "pipeline": cell.pipeline, "generator": generator, "server": kind.name(),
                "rate": figure.rate, "server_us": figure.server_us,
                "generator_share": figure.generator, "p50_us": figure.p50_us,
            });
            println!("{line}");
            continue;
        }
        let show = |ratio: Option<f64>| ratio.map_or("-".into(), |ratio| format!("{ratio:.2}x"));
        let op = match cell.op {
            Op::Get => "GET",
            Op::Set => "SET",
        };
        println!(
            "{op:<4}{:>6}{:>5}  {generator:<16}{:<11}{:>10.0}{:>9}{:>12.2}{:>9}{:>10.0}%{:>9.1}",
            cell.connections,
            cell.pipeline,
            kind.name(),
            figure.rate,
            show(rate_ratio),
            figure.server_us,
            show(cost_ratio),
            figure.generator * 100.0,
            figure.p50_us,
        );
    }
}

/// Memory per block of a server that is full.
pub fn memory(args: &PeersArgs, server: &Server, (resident, items): (u64, u64)) {
    let each = resident as f64 / items.max(1) as f64;
    if args.json {
        let line = json!({
            "schema": 1, "server": server.kind.name(), "memory_bytes": args.memory,
            "value_bytes": args.value, "resident_bytes": resident, "items": items,
            "bytes_per_item": each,
        });
        println!("{line}");
        return;
    }
    println!(
        "{}: {items} values of {} bytes in {resident} resident bytes ({} allowed): {each:.0} each, \
         {:.1} % over",
        server.kind.name(),
        args.value,
        args.memory,
        (each / f64::from(args.value) - 1.0) * 100.0,
    );
}
