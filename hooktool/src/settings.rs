//! Settings with their meaning: checked values, and for each where it came from.
//!
//! `run` makes a session of them; `--dry-run` prints `rows`. A wrong value is a usage failure that
//! names the flag, variable or line it came from and says what to write instead.

use std::path::PathBuf;

use crate::cli::SettingArgs;
use crate::config::{
    EMBEDDED_BYTES_DEFAULT, Fill, LINGER_NAMED_MS, LocalSize, Mode, NAME_BYTES_MAX, NODES_MAX,
    NodeAddr,
};
use crate::failure::Failure;
use crate::layers::{Layers, Origin};
use crate::seal::{self, Integrity};
use crate::sizes::BadQuantity;
use crate::tls::{self, Papers};
use crate::{globs, limits, nodes, sizes};

/// Least size of a cache or an index that is not 0, in bytes: a number without a unit is a slip.
const MEMORY_BYTES_MIN: u64 = 64 << 10;

/// Longest linger, in milliseconds: a week.
const LINGER_MS_MAX: u64 = 7 * 24 * 3_600_000;

/// One line of `--dry-run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The setting, as its flag spells it.
    pub key: &'static str,
    /// Its value, as it could be typed.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Resolved settings of a session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Memory nodes, never empty.
    pub nodes: Vec<NodeAddr>,
    /// Files for those that speak TLS.
    pub papers: Papers,
    /// Local cache.
    pub local: LocalSize,
    /// Index, cells and ring, in bytes; `None`: from the limits.
    pub index_bytes: Option<u64>,
    /// Globs of files to serve.
    pub include: Vec<String>,
    /// Globs of files never to serve.
    pub exclude: Vec<String>,
    /// Globs of files only the session writes.
    pub own: Vec<String>,
    /// `--name`.
    pub name: Option<String>,
    /// Serve or observe.
    pub mode: Mode,
    /// Share of verified reads, in millionths.
    pub verify_ppm: u32,
    /// What to keep.
    pub fill: Fill,
    /// How blocks are protected on the nodes.
    pub integrity: Integrity,
    /// Most bytes per second to the nodes.
    pub fill_rate_bytes_per_s: Option<u64>,
    /// How long blocks outlive the last process, in milliseconds.
    pub linger_ms: u64,
    /// Refuse to start without every node.
    pub require: bool,
    /// Follow children and exec.
    pub follow: bool,
    /// Answer ENOSYS to `io_uring_setup`.
    pub deny_io_uring: bool,
    /// Where the last snapshot goes, as typed.
    pub stats_at_exit: Option<String>,
    /// Every setting with its origin.
    pub rows: Vec<Row>,
}

/// Takes settings out of the layers one by one and keeps the rows.
struct Resolver {
    layers: Layers,
    rows: Vec<Row>,
}

/// Resolves what was typed, exported and written down.
///
/// # Errors
///
/// The first value that is wrong, or a configuration file that cannot be used.
pub fn resolve(
    arguments: &SettingArgs,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Settings, Failure> {
    let layers = Layers::collect(arguments, variable)?;
    let mut take = Resolver {
        layers,
        rows: Vec::new(),
    };
    let nodes = take.nodes()?;
    let papers = take.papers(&nodes)?;
    let name = take.one("name", None, check_name, Clone::clone)?;
    let named = name.is_some();
    let linger_default = if named { LINGER_NAMED_MS } else { 0 };
    let linger = take.one("linger", None, parse_linger, |ms| sizes::show_time_ms(*ms))?;
    take.show("linger", sizes::show_time_ms(linger_default));
    let local = take.one("local", Some(LocalSize::Auto), parse_local, show_local)?;
    let index_bytes = take.one("index", None, parse_memory, |bytes| sizes::show(*bytes))?;
    take.show("index", "auto".into());
    let verify = take.one("verify", Some(0), sizes::parse_share_ppm, |ppm| {
        sizes::show_share_ppm(*ppm)
    })?;
    let rate = take.one("fill-rate", None, sizes::parse_rate, |rate| {
        format!("{}/s", sizes::show(*rate))
    })?;
    let mode = take.one("mode", Some(Mode::Serve), parse_mode, |mode| {
        show_mode(*mode).into()
    })?;
    let fill = take.one("fill", Some(Fill::Auto), parse_fill, |fill| {
        show_fill(*fill).into()
    })?;
    Ok(Settings {
        nodes,
        papers,
        local: local.unwrap_or(LocalSize::Auto),
        index_bytes,
        include: take.globs("include")?,
        exclude: take.globs("exclude")?,
        own: take.globs("own")?,
        name,
        mode: mode.unwrap_or(Mode::Serve),
        verify_ppm: verify.unwrap_or(0),
        fill: fill.unwrap_or(Fill::Auto),
        integrity: take.integrity()?,
        fill_rate_bytes_per_s: rate,
        linger_ms: linger.unwrap_or(linger_default),
        require: take.truth("require")?,
        follow: !take.truth("no-follow")?,
        deny_io_uring: take.truth("no-io-uring")?,
        stats_at_exit: take.one("stats-at-exit", None, check_file_name, Clone::clone)?,
        rows: take.rows,
    })
}

impl Resolver {
    /// A setting with one value; the row says the default where nothing else was said.
    fn one<T>(
        &mut self,
        key: &'static str,
        default: Option<T>,
        parse: impl Fn(&str) -> Result<T, BadQuantity>,
        show: impl Fn(&T) -> String,
    ) -> Result<Option<T>, Failure> {
        let (value, origin) = match self.layers.texts(key) {
            None => (default, Origin::Default),
            Some((texts, origin)) => {
                let text = texts.first().map_or("", String::as_str);
                let value = parse(text).map_err(|bad| refuse(key, text, &origin, &bad))?;
                (Some(value), origin)
            }
        };
        let shown = value.as_ref().map_or_else(|| "-".into(), show);
        self.rows.push(Row {
            key,
            value: shown,
            origin,
        });
        Ok(value)
    }

    /// Corrects the row just made where the default is not a plain value.
    fn show(&mut self, key: &str, value: String) {
        if let Some(row) = self.rows.last_mut()
            && row.key == key
            && row.origin == Origin::Default
        {
            row.value = value;
        }
    }

    fn truth(&mut self, key: &'static str) -> Result<bool, Failure> {
        let value = self.one(key, Some(false), parse_truth, |truth| {
            if *truth { "yes".into() } else { "no".into() }
        });
        Ok(value?.unwrap_or(false))
    }

    fn globs(&mut self, key: &'static str) -> Result<Vec<String>, Failure> {
        let Some((texts, origin)) = self.layers.texts(key) else {
            self.rows.push(Row {
                key,
                value: "-".into(),
                origin: Origin::Default,
            });
            return Ok(Vec::new());
        };
        let texts = texts.to_vec();
        if texts.len() > globs::GLOBS_MAX {
            let bad = BadQuantity {
                means: format!(
                    "at most {} globs are matched against each file",
                    globs::GLOBS_MAX
                ),
                write: "'/srv/{a,b,c}/**'".into(),
            };
            return Err(refuse(key, "(the list)", &origin, &bad));
        }
        for text in &texts {
            globs::check(text).map_err(|bad| refuse(key, text, &origin, &bad))?;
        }
        self.rows.push(Row {
            key,
            value: texts.join(" "),
            origin,
        });
        Ok(texts)
    }

    /// `--seal` and `--integrity`, which is `tag` where blocks are encrypted.
    fn integrity(&mut self) -> Result<Integrity, Failure> {
        let path = self.one("seal", None, seal::check_path, Clone::clone)?;
        let origin = self.rows.last().map(|row| row.origin.clone());
        let plain = self.one("integrity", Some(Integrity::Tag), seal::parse, |how| {
            how.word().into()
        })?;
        let integrity = seal::choose(path.zip(origin), plain.unwrap_or_default())?;
        self.show("integrity", integrity.word().into());
        Ok(integrity)
    }

    /// `--node-ca`, `--node-cert` and `--node-key`, read once: whoever gave them wants them used.
    fn papers(&mut self, nodes: &[NodeAddr]) -> Result<Papers, Failure> {
        let path = |path: &PathBuf| path.display().to_string();
        let papers = Papers {
            ca: self.one("node-ca", None, tls::check_path, path)?,
            cert: self.one("node-cert", None, tls::check_path, path)?,
            key: self.one("node-key", None, tls::check_path, path)?,
        };
        tls::examine(&papers, nodes.iter().any(NodeAddr::is_tls)).map(|()| papers)
    }

    fn nodes(&mut self) -> Result<Vec<NodeAddr>, Failure> {
        let key = "node";
        let Some((texts, origin)) = self.layers.texts(key) else {
            let node = NodeAddr::Embedded {
                bytes: EMBEDDED_BYTES_DEFAULT,
            };
            self.rows.push(Row {
                key,
                value: node.to_string(),
                origin: Origin::Default,
            });
            return Ok(vec![node]);
        };
        let mut nodes = Vec::new();
        for text in texts {
            let node =
                parse_node(text).map_err(|bad| refuse(key, &nodes::mask(text), &origin, &bad))?;
            let again = nodes
                .iter()
                .any(|old: &NodeAddr| old.to_string() == node.to_string());
            if again {
                let bad = bad("this node is named twice", "10.0.0.7:7420, once");
                return Err(refuse(key, &nodes::mask(text), &origin, &bad));
            }
            if nodes.len() == NODES_MAX {
                let means = format!("it is one too many: a session uses at most {NODES_MAX} nodes");
                let bad = bad(means, format!("ADDR at most {NODES_MAX} times"));
                return Err(refuse(key, &nodes::mask(text), &origin, &bad));
            }
            nodes.push(node);
        }
        let is_cluster = |node: &&NodeAddr| matches!(node, NodeAddr::Cluster { .. });
        if let Some(cluster) = nodes.iter().find(is_cluster)
            && nodes.len() > 1
        {
            let means = "a cluster places the blocks itself: it is the whole pool of a session";
            let bad = bad(means, cluster.to_string());
            let all: Vec<_> = nodes.iter().map(ToString::to_string).collect();
            return Err(refuse(key, &all.join(" "), &origin, &bad));
        }
        let shown: Vec<_> = nodes.iter().map(ToString::to_string).collect();
        self.rows.push(Row {
            key,
            value: shown.join(" "),
            origin,
        });
        Ok(nodes)
    }
}

fn refuse(key: &str, text: &str, origin: &Origin, bad: &BadQuantity) -> Failure {
    Failure::usage(
        format!("{}: '{text}' cannot be used", origin.spell(key)),
        bad.means.clone(),
        format!("write:  {}", origin.write(key, &bad.write)),
    )
}

fn bad(means: impl Into<String>, write: impl Into<String>) -> BadQuantity {
    BadQuantity {
        means: means.into(),
        write: write.into(),
    }
}

fn parse_node(text: &str) -> Result<NodeAddr, BadQuantity> {
    let node = nodes::parse(text)?;
    if let NodeAddr::Embedded { bytes } = node {
        fits(bytes).map_err(|bad| BadQuantity {
            write: format!("embedded:{}", bad.write),
            ..bad
        })?;
    }
    Ok(node)
}

/// A node as an argument of a command names it.
///
/// # Errors
///
/// It is no address; the failure shows no password.
pub fn node_of_argument(text: &str, verb: &str) -> Result<NodeAddr, Failure> {
    parse_node(text).map_err(|bad| {
        Failure::usage(
            format!("{verb}: '{}' cannot be used", nodes::mask(text)),
            bad.means,
            format!("write:  hooktool {verb} {}", bad.write),
        )
    })
}

fn parse_memory(text: &str) -> Result<u64, BadQuantity> {
    let bytes = sizes::parse_size(text)?;
    if (1..MEMORY_BYTES_MIN).contains(&bytes) {
        let plain = text.trim();
        let is_bare = plain.bytes().all(|byte| byte.is_ascii_digit());
        let means = format!(
            "that is {bytes} bytes; less than {} holds nothing",
            sizes::show(MEMORY_BYTES_MIN)
        );
        let write = match is_bare {
            true => format!("{plain}MiB"),
            false => sizes::show(MEMORY_BYTES_MIN),
        };
        return Err(bad(means, write));
    }
    fits(bytes).map(|()| bytes)
}

fn parse_linger(text: &str) -> Result<u64, BadQuantity> {
    let time_ms = sizes::parse_time_ms(text)?;
    if time_ms > LINGER_MS_MAX {
        let means = "a session that nobody is in is kept for a week at most: it holds memory";
        return Err(bad(means, sizes::show_time_ms(LINGER_MS_MAX)));
    }
    Ok(time_ms)
}

/// Refuses more memory than the tightest limit leaves, with the largest that could be written.
fn fits(bytes: u64) -> Result<(), BadQuantity> {
    let limit = limits::memory();
    if bytes < limit.bytes {
        return Ok(());
    }
    let whole = (limit.bytes / 2) >> 20;
    let means = format!(
        "the limit is {} ({})",
        sizes::show_short(limit.bytes),
        limit.name
    );
    Err(bad(means, format!("{}MiB", whole.max(1))))
}

fn parse_local(text: &str) -> Result<LocalSize, BadQuantity> {
    match text {
        "auto" => Ok(LocalSize::Auto),
        _ => parse_memory(text).map(LocalSize::Bytes),
    }
}

fn show_local(local: &LocalSize) -> String {
    match local {
        LocalSize::Auto => "auto".into(),
        LocalSize::Bytes(bytes) => sizes::show(*bytes),
    }
}

fn parse_mode(text: &str) -> Result<Mode, BadQuantity> {
    match text {
        "serve" => Ok(Mode::Serve),
        "observe" => Ok(Mode::Observe),
        _ => Err(bad("the modes are serve and observe", "serve")),
    }
}

/// The word for a mode.
pub fn show_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Serve => "serve",
        Mode::Observe => "observe",
    }
}

fn parse_fill(text: &str) -> Result<Fill, BadQuantity> {
    match text {
        "auto" => Ok(Fill::Auto),
        "always" => Ok(Fill::Always),
        _ => Err(bad(
            "blocks are filled auto (by judgement) or always (for tests)",
            "auto",
        )),
    }
}

fn show_fill(fill: Fill) -> &'static str {
    match fill {
        Fill::Auto => "auto",
        Fill::Always => "always",
    }
}

fn parse_truth(text: &str) -> Result<bool, BadQuantity> {
    match text {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(bad("this is switched on by true and off by false", "true")),
    }
}

fn check_name(text: &str) -> Result<String, BadQuantity> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let number = text.bytes().all(|byte| byte.is_ascii_digit());
    if text.len() > NAME_BYTES_MAX || number || !text.bytes().all(plain) {
        let means = "a name is up to 64 letters, digits, dots, dashes and underscores, and not a \
                     number (that would be a process)";
        let instead = match text {
            "" => "pg".to_string(),
            _ => name_of_command(text),
        };
        return Err(bad(means, instead));
    }
    Ok(text.to_string())
}

fn check_file_name(text: &str) -> Result<String, BadQuantity> {
    if text.is_empty() || text.ends_with('/') {
        return Err(bad("the counters go to a file", "/var/tmp/stats.%p.json"));
    }
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '%' && !matches!(letters.next(), Some('p' | 'h' | 't' | '%')) {
            let means = "behind a % stands p (process), h (host), t (seconds since 1970) or %";
            return Err(bad(means, "/var/tmp/stats.%p.json"));
        }
    }
    Ok(text.to_string())
}

/// The name a session gets from its command: its base name, other characters replaced.
pub fn name_of_command(command: &str) -> String {
    let base = command
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or("");
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = base.chars().map(plain).take(NAME_BYTES_MAX - 4).collect();
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("cmd-{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    fn with(change: impl Fn(&mut SettingArgs)) -> Result<Settings, Failure> {
        let mut arguments = SettingArgs::default();
        change(&mut arguments);
        resolve(&arguments, |_| None)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = with(|_| {}).unwrap();
        assert_eq!(settings.nodes, [NodeAddr::Embedded { bytes: 256 << 20 }]);
        assert_eq!(settings.local, LocalSize::Auto);
        assert_eq!(settings.linger_ms, 0);
        assert!(settings.follow && !settings.require && !settings.deny_io_uring);
        assert_eq!(settings.rows.len(), crate::layers::KEYS.len());
    }

    #[test]
    fn a_wrong_address_is_shown_in_its_shape_without_its_password() {
        for (typed, shown) in [
            ("redis://s3cret@h:1", "'redis://***@h:1'"),
            ("rediss://:s3cret@h:x", "'rediss://:***@h:x'"),
            ("redis://s3cret:s3cret@h", "'redis://***:***@h'"),
            ("s3cret@h:x", "'***@h:x'"),
        ] {
            let failure = with(|args| args.node = vec![typed.into()]).unwrap_err();
            let text = failure.to_string();
            assert!(text.contains(shown) && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn the_seventeenth_node_is_refused_and_the_sixteenth_is_not() {
        let nodes = |count: usize| {
            (0..count)
                .map(|n| format!("10.0.0.{n}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(with(|args| args.node = nodes(16)).unwrap().nodes.len(), 16);
        let failure = with(|args| args.node = nodes(17)).unwrap_err();
        assert!(failure.what.contains("10.0.0.16"), "{failure}");
        assert!(failure.means.contains("at most 16 nodes"), "{failure}");
    }

    #[test]
    fn a_name_brings_a_linger() {
        let settings = with(|args| args.name = Some("pg".into())).unwrap();
        assert_eq!(settings.linger_ms, LINGER_NAMED_MS);
        let row = settings
            .rows
            .iter()
            .find(|row| row.key == "linger")
            .unwrap();
        assert_eq!(row.value, "10min");
    }

    #[test]
    fn wrong_values_name_their_flag_and_the_repair() {
        let failure = with(|args| args.local = Some("64g".into())).unwrap_err();
        assert_eq!(failure.kind, Kind::Usage);
        assert_eq!(failure.what, "--local: '64g' cannot be used");
        assert_eq!(failure.fix, "write:  --local 64GiB");
        for change in [
            (|args: &mut SettingArgs| args.mode = Some("fast".into())) as fn(&mut SettingArgs),
            |args| args.fill = Some("never".into()),
            |args| args.verify = Some("2".into()),
            |args| args.linger = Some("10".into()),
            |args| args.name = Some("123".into()),
            |args| args.name = Some("a/b".into()),
            |args| args.own = vec!["base/**".into()],
            |args| args.node = vec!["a:1".into(), "a:1".into()],
            |args| args.index = Some("9000TiB".into()),
            |args| args.local = Some("9000TiB".into()),
            |args| args.node = vec!["embedded:9000TiB".into()],
            |args| args.seal = Some("/no/such/key".into()),
            |args| args.seal = Some(String::new()),
            |args| args.integrity = Some("none".into()),
            |args| args.stats_at_exit = Some("/tmp/".into()),
            |args| args.stats_at_exit = Some("/tmp/a.%z".into()),
            |args| args.stats_at_exit = Some("/tmp/a%".into()),
            |args| args.local = Some("64".into()),
            |args| args.index = Some("1".into()),
            |args| args.linger = Some("99999d".into()),
            |args| args.node = (0..17).map(|n| format!("10.0.0.{n}")).collect(),
        ] {
            assert_eq!(with(change).unwrap_err().kind, Kind::Usage);
        }
    }

    #[test]
    fn a_wrong_address_does_not_show_its_password() {
        let failure = with(|args| args.node = vec!["redis://u:hunter2@h:1".into()]).unwrap_err();
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
    }

    #[test]
    fn variables_are_named_in_messages() {
        let found = resolve(&SettingArgs::default(), |name| {
            (name == "HOOKTOOL_REQUIRE").then(|| "maybe".into())
        });
        let failure = found.unwrap_err();
        assert_eq!(failure.fix, "write:  HOOKTOOL_REQUIRE=true");
    }

    #[test]
    fn commands_make_names() {
        assert_eq!(name_of_command("/usr/bin/postgres"), "postgres");
        assert_eq!(name_of_command("./a b"), "a-b");
        assert_eq!(name_of_command("/opt/42"), "cmd-42");
    }
}
