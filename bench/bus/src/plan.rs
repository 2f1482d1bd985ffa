//! What is measured, in which order: round by round, each scene in turn, the floor beside each.

use crate::Result;
use crate::cli::{Kind, Measure, RunArgs};
use crate::report::{self, Figure, Row};
use crate::stage::{Ground, Scene, measure};

/// Messages of a batch.
const BATCH: u32 = 32;
/// Time of the floor measured beside each scene.
const FLOOR_MS: u64 = 60;

/// What latency is measured of.
const LATENCIES: [Kind; 11] = [
    Kind::RingSpin,
    Kind::RingBare,
    Kind::Ring,
    Kind::Iceoryx2,
    Kind::RingSleep,
    Kind::Iceoryx2Event,
    Kind::Zmq,
    Kind::Mq,
    Kind::Pipe,
    Kind::Relay,
    Kind::Tcp,
];

/// What rates are measured of, and whether it has a call for many.
const RATES: [(Kind, bool); 8] = [
    (Kind::RingBare, true),
    (Kind::Ring, true),
    (Kind::Iceoryx2, false),
    (Kind::Zmq, false),
    (Kind::Mq, false),
    (Kind::Pipe, true),
    (Kind::Relay, true),
    (Kind::Tcp, true),
];

fn scenes(arguments: &RunArgs) -> Vec<Scene> {
    let is_asked = |kind: Kind| {
        let is_there = kind != Kind::Relay || arguments.hooktool.is_some();
        is_there && (arguments.only.is_empty() || arguments.only.contains(&kind))
    };
    let mut scenes = Vec::new();
    if arguments.measure != Some(Measure::Rate) {
        for kind in [Kind::Word, Kind::Futex]
            .into_iter()
            .filter(|kind| is_asked(*kind))
        {
            scenes.push(Scene {
                kind,
                bytes: 8,
                batch: 0,
            });
        }
        for &bytes in &arguments.sizes {
            for kind in LATENCIES.into_iter().filter(|kind| is_asked(*kind)) {
                scenes.push(Scene {
                    kind,
                    bytes,
                    batch: 0,
                });
            }
        }
    }
    if arguments.measure != Some(Measure::Latency) {
        for &bytes in &arguments.sizes {
            for (kind, has_batches) in RATES.into_iter().filter(|(kind, _)| is_asked(*kind)) {
                scenes.push(Scene {
                    kind,
                    bytes,
                    batch: 1,
                });
                if has_batches {
                    scenes.push(Scene {
                        kind,
                        bytes,
                        batch: BATCH,
                    });
                }
            }
        }
    }
    scenes
}

/// Measures everything and prints it.
pub fn run(arguments: &RunArgs) -> Result<()> {
    let ground = Ground::new()?;
    let scenes = scenes(arguments);
    let mut rows: Vec<Row> = scenes.iter().map(|scene| Row::new(*scene)).collect();
    for round in 0..arguments.rounds as usize {
        for turn in 0..rows.len() {
            // Every other round backwards, so that nobody always follows the same one.
            let turn = if round % 2 == 0 {
                turn
            } else {
                rows.len() - 1 - turn
            };
            let figure = figure(&ground, rows[turn].scene, arguments);
            match figure {
                Ok(figure) => rows[turn].rounds.push(figure),
                Err(error) => rows[turn].trouble = Some(error.to_string()),
            }
        }
    }
    report::print(&rows, arguments);
    Ok(())
}

/// One measurement, the floors beside it.
fn figure(ground: &Ground, scene: Scene, arguments: &RunArgs) -> Result<Figure> {
    let floor = |kind| -> Result<u64> {
        let scene = Scene {
            kind,
            bytes: 8,
            batch: 0,
        };
        Ok(measure(ground, scene, FLOOR_MS, arguments)?[0].p50_ns)
    };
    let before = floor(Kind::Word)?;
    let futex_ns = match scene.kind {
        Kind::RingSleep | Kind::Iceoryx2Event => floor(Kind::Futex)?,
        _ => 0,
    };
    let [first, second] = measure(ground, scene, arguments.time_ms, arguments)?;
    let after = floor(Kind::Word)?;
    // What a message costs both sides; a round trip is two messages.
    let cost = |seen: crate::actor::Seen| seen.cpu_ns as f64 / seen.messages.max(1) as f64;
    let halves = if scene.batch == 0 { 2.0 } else { 1.0 };
    Ok(Figure {
        word_ns: (before + after) / 2,
        word_spread: before.max(after) as f64 / before.min(after).max(1) as f64,
        futex_ns,
        p50_ns: first.p50_ns,
        p99_ns: first.p99_ns,
        per_s: match scene.batch {
            0 => 0.0,
            _ => second.messages as f64 / second.wall_ns as f64 * 1e9,
        },
        cpu_ns: (cost(first) + cost(second)) / halves,
    })
}
