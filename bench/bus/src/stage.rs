//! The place of one measurement: a directory, what the actors find in it, and the actors.

use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bus::{Address, Bus, Spec, Template};
use clap::ValueEnum;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;
use crate::actor::Seen;
use crate::cli::{Kind, Role, RunArgs};

/// One measurement that never ends is given up after so long beyond its time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Directory of the whole run, removed at its end.
pub struct Ground(PathBuf);

/// Both addresses of the channel that is measured.
pub fn ends() -> [Address; 2] {
    [Address(0x0101), Address(0x0201)]
}

/// The two POSIX queues of a stage.
pub fn queue_names(stage: &Path) -> [String; 2] {
    let base = stage.display().to_string().replace('/', "-");
    ["there", "back"].map(|side| format!("/{}-{side}", base.trim_start_matches('-')))
}

/// What the names of the shared memory begin with that iceoryx2 makes for a stage.
pub fn iceoryx_prefix(stage: &Path) -> String {
    format!(
        "{}_",
        stage
            .display()
            .to_string()
            .replace('/', "-")
            .trim_start_matches('-')
    )
}

impl Ground {
    /// A new directory, in memory where there is such a place.
    pub fn new() -> Result<Ground> {
        let base = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
        let base = base
            .into_iter()
            .find(|path| path.is_dir())
            .unwrap_or_default();
        let ground = Ground(base.join(format!("bus-lab-{}", std::process::id())));
        std::fs::create_dir(&ground.0)?;
        Ok(ground)
    }

    /// A new stage.
    fn stage(&self) -> Result<PathBuf> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let stage = self
            .0
            .join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&stage)?;
        Ok(stage)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What is measured once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    /// What lies between.
    pub kind: Kind,
    /// Bytes of a message.
    pub bytes: u32,
    /// Messages of a batch; 0: latency.
    pub batch: u32,
}

/// Children, ended with whoever started them.
#[derive(Default)]
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Measures one scene: what the first actor saw, and what the second.
pub fn measure(
    ground: &Ground,
    scene: Scene,
    time_ms: u64,
    arguments: &RunArgs,
) -> Result<[Seen; 2]> {
    let stage = ground.stage()?;
    let seen = play(&stage, scene, time_ms, arguments);
    strike(&stage, scene.kind);
    seen
}

fn play(stage: &Path, scene: Scene, time_ms: u64, arguments: &RunArgs) -> Result<[Seen; 2]> {
    let relays = furnish(stage, scene, arguments)?;
    let begun = Instant::now();
    let roles = match scene.batch {
        0 => [Role::Ping, Role::Pong],
        _ => [Role::Source, Role::Sink],
    };
    let me = std::env::current_exe()?;
    let mut actors = Children::default();
    for (nth, role) in roles.into_iter().enumerate() {
        let mut command = Command::new(&me);
        command.arg("actor").args([word(scene.kind), word(role)]);
        let numbers = [u64::from(scene.bytes), u64::from(scene.batch), time_ms];
        command
            .args(numbers.map(|number| number.to_string()))
            .arg(stage);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        actors.0.push(pinned(nth, || command.spawn())?);
    }
    // Nobody looks meanwhile: a look would take one of them its processor.
    std::thread::sleep(Duration::from_millis(time_ms));
    let deadline = Instant::now() + PATIENCE;
    let mut seen = [None; 2];
    while seen.contains(&None) {
        if Instant::now() > deadline {
            return Err("it did not end".into());
        }
        std::thread::sleep(Duration::from_millis(5));
        for (actor, seen) in actors.0.iter_mut().zip(&mut seen) {
            if seen.is_none()
                && let Some(status) = actor.try_wait()?
            {
                *seen = Some(read(actor, status)?);
            }
        }
    }
    let mut seen = seen.map(Option::unwrap_or_default);
    let cpu_ns: u64 = relays.0.iter().map(|relay| cpu_ns(relay.id())).sum();
    // They also worked while the actors settled, before the clock was looked at.
    let share = seen[1].wall_ns as f64 / begun.elapsed().as_nanos() as f64;
    seen[1].cpu_ns += (cpu_ns as f64 * share.min(1.0)) as u64;
    Ok(seen)
}

/// Processor time of a process so far, by the kernel's ticks of 10 ms.
fn cpu_ns(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|it| it.parse::<u64>().ok()).sum::<u64>() * 10_000_000
}

/// What an actor that has ended said.
fn read(actor: &mut Child, status: ExitStatus) -> Result<Seen> {
    let text = |pipe: Option<&mut dyn Read>| -> Result<String> {
        let mut text = String::new();
        pipe.ok_or("no pipe")?.read_to_string(&mut text)?;
        Ok(text)
    };
    if !status.success() {
        let told = text(actor.stderr.as_mut().map(|pipe| pipe as &mut dyn Read))?;
        return Err(told.trim().replace('\n', "; ").into());
    }
    let told = text(actor.stdout.as_mut().map(|pipe| pipe as &mut dyn Read))?;
    Ok(serde_json::from_str(&told)?)
}

fn word(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or(String::new(), |value| value.get_name().to_string())
}

/// Starts something that stays on one of the processors this program may use.
fn pinned<T>(nth: usize, start: impl FnOnce() -> std::io::Result<T>) -> Result<T> {
    let allowed = sched_getaffinity(None)?;
    let usable: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .collect();
    let mut one = CpuSet::new();
    one.set(usable[nth % usable.len()]);
    // A child inherits the set of who starts it.
    sched_setaffinity(None, &one)?;
    let started = start();
    sched_setaffinity(None, &allowed)?;
    Ok(started?)
}

/// Makes what the actors find: channels, for the relay two buses with a relay each.
fn furnish(stage: &Path, scene: Scene, arguments: &RunArgs) -> Result<Children> {
    let mut relays = Children::default();
    match scene.kind {
        Kind::RingSpin | Kind::RingBare => channel(stage, arguments.ring_bytes, false)?,
        Kind::Ring | Kind::RingSleep => channel(stage, arguments.ring_bytes, true)?,
        Kind::Relay => {
            let hooktool = arguments
                .hooktool
                .as_ref()
                .ok_or("the relay wants --hooktool")?;
            let ports = [free_port()?, free_port()?];
            for (nth, name) in ["near", "far"].into_iter().enumerate() {
                let place = stage.join(name);
                channel(&place, arguments.ring_bytes, true)?;
                let far = Template::default().show(ends()[1 - nth]);
                let to = ports[1 - nth];
                let route =
                    format!("[[route]]\naddress = \"{far}\"\nto = \"tcp://127.0.0.1:{to}\"\n");
                std::fs::write(place.join("routes.toml"), route)?;
                let mut command = Command::new(hooktool);
                command.args(["bus", "--bus"]).arg(&place);
                command.args(["relay", "--listen", &format!("127.0.0.1:{}", ports[nth])]);
                command.stdin(Stdio::null()).stderr(Stdio::null());
                relays.0.push(pinned(nth, || command.spawn())?);
            }
            // They look for each other again after 50 ms, then 100, ...
            std::thread::sleep(Duration::from_millis(300));
        }
        _ => {}
    }
    Ok(relays)
}

fn channel(place: &Path, ring_bytes: u64, is_summed: bool) -> Result<()> {
    let bus = Bus::open(&place.display().to_string())?;
    bus.make()?;
    bus.create(&Spec {
        template: Template::default(),
        ends: ends(),
        ring_bytes: [ring_bytes; 2],
        message_bytes_max: None,
        is_summed,
        is_stamped: false,
        priority: 0,
        description: "bus-lab".into(),
    })?;
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Removes what a measurement leaves outside of its directory.
fn strike(stage: &Path, kind: Kind) {
    if kind == Kind::Mq {
        for name in queue_names(stage) {
            let _ = nix::mqueue::mq_unlink(name.as_str());
        }
    }
    // iceoryx2 leaves a little behind even where everybody ended in order.
    let prefix = iceoryx_prefix(stage);
    for entry in std::fs::read_dir("/dev/shm")
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let _ = std::fs::remove_dir_all(stage);
}
