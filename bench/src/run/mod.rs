//! `lab run`: sets the lab up, runs the workloads asked for, prints a row for each.

use crate::binaries::Binaries;
use crate::cage::{self, Cage, Controllers, Limits};
use crate::cli::RunArgs;
use crate::device::Device;
use crate::error::Result;
use crate::files::RunDir;
use crate::node::{Node, Wanted};
use crate::report::{self, Row};
use crate::side::{Hooks, SIDES, Side};
use crate::users::{self, User};
use crate::workload::Name;
use crate::{size, stop};
use std::path::PathBuf;

pub mod rounds;
pub mod warm;

/// Everything a workload needs. Fields are dropped in this order: node, then data.
pub struct Lab {
    /// What was asked for.
    pub args: RunArgs,
    /// Where templates are kept.
    pub dir: PathBuf,
    /// Who runs database servers; `None`: the lab's own user.
    pub server_user: Option<User>,
    /// What can be limited.
    pub controllers: Controllers,
    /// The device under the data.
    pub device: Option<Device>,
    /// What is measured.
    pub binaries: Binaries,
    /// The memory node.
    pub node: Node,
    /// Where this run's data is; removed at the end.
    pub run_dir: RunDir,
}

impl Lab {
    /// Sets up cages' parents, run directory and node.
    pub fn open(args: RunArgs) -> Result<Self> {
        let root = users::is_root();
        let dir = args.dir.clone().unwrap_or_else(default_dir);
        let server_user = root
            .then(|| users::find(&args.server_user))
            .and_then(Result::ok);
        let run_dir = RunDir::make(&dir, server_user.as_ref())?;
        let limited = args.memory > 0 || args.iops > 0;
        let controllers = if limited {
            Controllers::find(&dir)
        } else {
            Controllers::none(&dir)
        };
        cage::sweep(&controllers);
        let from = args.bin.as_deref();
        let binaries = Binaries::install(from, &run_dir.path().join("bin"), !args.calibrate)?;
        let mut lab = Self {
            device: controllers.device.clone(),
            dir,
            server_user,
            controllers,
            binaries,
            node: Node::none(),
            run_dir,
            args,
        };
        lab.node = lab.start_node(lab.args.rtt_us)?;
        Ok(lab)
    }

    /// A node with a round trip of its own; the one of the run is `self.node`.
    pub fn start_node(&self, rtt_us: u32) -> Result<Node> {
        if self.args.calibrate {
            return Ok(Node::none());
        }
        let wanted = Wanted {
            kind: &self.args.node,
            memory_bytes: self.args.node_memory,
            rtt_us,
            run_dir: self.run_dir.path(),
        };
        Node::start(wanted, &self.binaries)
    }

    /// The hooked side's ingredients.
    pub fn hooks(&self) -> Hooks<'_> {
        Hooks {
            binaries: &self.binaries,
            node: &self.node,
            options: &self.args.hook_opts,
            calibrate: self.args.calibrate,
        }
    }

    /// The limits asked for.
    pub fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.args.memory,
            read_iops: self.args.iops,
        }
    }

    /// A cage for each side.
    pub fn cages(&self, limits: Limits) -> Result<Pair<Cage>> {
        Pair::try_of(|side| Cage::new(&self.controllers, side.word(), limits))
    }

    fn head(&self) -> String {
        let limit = |controller: bool, value: u64, shown: String| match value {
            0 => "none".into(),
            _ if !controller => "none (left out)".into(),
            _ => shown,
        };
        let args = &self.args;
        let (has_memory, has_io) = (
            self.controllers.memory.is_some(),
            self.controllers.io.is_some(),
        );
        let device = self.device.as_ref().map_or("none".into(), |device| {
            format!("{} ({})", device.name, device.number)
        });
        report::head(
            &[
                ("cage", self.controllers.describe()),
                (
                    "memory",
                    limit(has_memory, args.memory, size::show(args.memory)),
                ),
                (
                    "reads/s",
                    limit(has_io, args.iops.into(), args.iops.to_string()),
                ),
                ("device", device),
                ("data", self.dir.display().to_string()),
                ("node", self.node.describe.clone()),
            ],
            &self.controllers.left_out,
        )
    }
}

/// One of something for each side.
pub struct Pair<T> {
    /// The native side's.
    pub native: T,
    /// The hooked side's.
    pub hooked: T,
}

impl<T> Pair<T> {
    /// Makes both, native first.
    pub fn try_of(mut make: impl FnMut(Side) -> Result<T>) -> Result<Self> {
        Ok(Self {
            native: make(Side::Native)?,
            hooked: make(Side::Hooked)?,
        })
    }

    /// The one of `side`.
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Native => &self.native,
            Side::Hooked => &self.hooked,
        }
    }

    /// The one of `side`.
    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Native => &mut self.native,
            Side::Hooked => &mut self.hooked,
        }
    }
}

/// Runs everything asked for; returns the rows printed.
pub fn run(args: RunArgs) -> Result<Vec<Row>> {
    let lab = Lab::open(args)?;
    eprint!("{}", lab.head());
    let names = if lab.args.workloads.is_empty() {
        Name::all()
    } else {
        lab.args.workloads.clone()
    };
    let mut rows = Vec::new();
    for name in names {
        stop::check()?;
        name.run(&lab, &mut |mut row| {
            row.left_out.clone_from(&lab.controllers.left_out);
            if lab.args.json {
                println!("{}", serde_json::to_string(&row).unwrap_or_default());
            } else {
                print!("{}", report::text_row(&row));
            }
            rows.push(row);
        })?;
    }
    Ok(rows)
}

fn default_dir() -> PathBuf {
    let user = rustix::process::geteuid();
    if user.is_root() {
        return "/var/tmp/ramgrid-lab".into();
    }
    format!("/var/tmp/ramgrid-lab-{}", user.as_raw()).into()
}

/// Both sides in the order of a round: they take turns at going first.
pub fn order(round: u32) -> [Side; 2] {
    if round.is_multiple_of(2) {
        SIDES
    } else {
        [Side::Hooked, Side::Native]
    }
}
