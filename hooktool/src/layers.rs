//! The four layers of a setting: flag, `HOOKTOOL_*` variable, configuration file, default.
//!
//! Each layer holds texts; the highest that has any wins whole (lists are not merged). `settings`
//! gives the texts their meaning. A file may only contain keys that exist.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::cli::SettingArgs;
use crate::failure::{Failure, Kind};
use crate::{globs, nodes};

/// Read when `--config` and `HOOKTOOL_CONFIG` name no other.
pub const CONFIG_PATH_DEFAULT: &str = "/etc/ramgrid/hooktool.toml";

/// Largest configuration file, in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Every setting, as its flag spells it.
pub const KEYS: [&str; 21] = [
    "node",
    "node-ca",
    "node-cert",
    "node-key",
    "local",
    "include",
    "exclude",
    "own",
    "name",
    "mode",
    "verify",
    "fill",
    "fill-rate",
    "seal",
    "integrity",
    "index",
    "no-io-uring",
    "no-follow",
    "linger",
    "require",
    "stats-at-exit",
];

/// Variables that are no settings.
const OTHER_VARIABLES: [&str; 9] = [
    "HOOKTOOL_BUS",
    "HOOKTOOL_CONFIG",
    "HOOKTOOL_DISABLED",
    "HOOKTOOL_LOG",
    "HOOKTOOL_ONLY_PID",
    "HOOKTOOL_ORACLE",
    "HOOKTOOL_PLANT",
    "HOOKTOOL_SESSION",
    "HOOKTOOL_SHIM",
];

/// Settings that hold several values.
const LIST_KEYS: [&str; 4] = ["node", "include", "exclude", "own"];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// An environment variable.
    Variable,
    /// The configuration file.
    File(PathBuf),
    /// Nothing was said.
    Default,
}

/// All layers but the default.
#[derive(Debug, Default)]
pub struct Layers {
    flags: BTreeMap<&'static str, Vec<String>>,
    variables: BTreeMap<&'static str, Vec<String>>,
    file: BTreeMap<&'static str, Vec<String>>,
    file_path: PathBuf,
}

/// Name of the variable of a setting: `fill-rate` is `HOOKTOOL_FILL_RATE`.
pub fn variable_name(key: &str) -> String {
    format!("HOOKTOOL_{}", file_key(key).to_uppercase())
}

/// Name of a setting in the file: `fill-rate` is `fill_rate`.
fn file_key(key: &str) -> String {
    key.replace('-', "_")
}

/// Whether a variable is that of a setting.
pub fn is_setting(name: &str) -> bool {
    KEYS.iter().any(|key| variable_name(key) == name)
}

/// Whether the value of a variable counts as not set.
pub fn says_nothing(value: &str) -> bool {
    value.trim_matches([' ', '\t', '\n', ',']).is_empty()
}

/// Those of `names` that look like variables of ours and are none: they change nothing, and whoever
/// set them thinks they do. A misspelt setting in a file is refused; a variable may be somebody
/// else's, and keeps nothing from starting.
pub fn misspelt<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let known: Vec<_> = KEYS.iter().map(|key| variable_name(key)).collect();
    names
        .filter(|name| name.starts_with("HOOKTOOL_"))
        .filter(|name| !OTHER_VARIABLES.contains(name))
        .filter(|name| !known.iter().any(|known| known == name))
        .collect()
}

impl Layers {
    /// Collects the layers. `variable` looks up an environment variable.
    ///
    /// # Errors
    ///
    /// The configuration file was named and cannot be read, or says something impossible.
    pub fn collect(
        arguments: &SettingArgs,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let named = arguments.config.clone();
        let named = named.or_else(|| variable("HOOKTOOL_CONFIG").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| CONFIG_PATH_DEFAULT.into());
        let file = read_file(&path, named.is_some())?;
        let variables = KEYS.into_iter().filter_map(|key| {
            let text = variable(&variable_name(key)).filter(|text| !says_nothing(text))?;
            Some((key, as_list(key, &text)))
        });
        let variables = variables.collect();
        Ok(Self {
            flags: flags(arguments),
            variables,
            file,
            file_path: path,
        })
    }

    /// The texts of a setting and where they came from; `None`: nothing was said.
    pub fn texts(&self, key: &str) -> Option<(&[String], Origin)> {
        if let Some(texts) = self.flags.get(key) {
            return Some((texts, Origin::Flag));
        }
        if let Some(texts) = self.variables.get(key) {
            return Some((texts, Origin::Variable));
        }
        self.file
            .get(key)
            .map(|texts| (texts.as_slice(), Origin::File(self.file_path.clone())))
    }
}

impl Origin {
    /// How a setting is written there: `--local`, `HOOKTOOL_LOCAL`, `local in FILE`.
    pub fn spell(&self, key: &str) -> String {
        match self {
            Self::Flag => format!("--{key}"),
            Self::Variable => variable_name(key),
            Self::File(path) => format!("{} in {}", file_key(key), path.display()),
            Self::Default => key.to_string(),
        }
    }

    /// The setting with another value, as it would be written there.
    pub fn write(&self, key: &str, value: &str) -> String {
        match self {
            Self::Flag | Self::Default => format!("--{key} {value}"),
            Self::Variable => format!("{}={value}", variable_name(key)),
            Self::File(_) => format!("{} = \"{value}\"", file_key(key)),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable => f.write_str("environment"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

fn as_list(key: &str, text: &str) -> Vec<String> {
    match key {
        "node" => nodes::split_list(text),
        _ if LIST_KEYS.contains(&key) => globs::split_list(text),
        _ => vec![text.to_string()],
    }
}

fn flags(arguments: &SettingArgs) -> BTreeMap<&'static str, Vec<String>> {
    let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
    let set = |value: bool| {
        if value {
            vec!["true".to_string()]
        } else {
            Vec::new()
        }
    };
    let all = [
        ("node", arguments.node.clone()),
        ("node-ca", one(&arguments.node_tls.node_ca)),
        ("node-cert", one(&arguments.node_tls.node_cert)),
        ("node-key", one(&arguments.node_tls.node_key)),
        ("local", one(&arguments.local)),
        ("include", arguments.include.clone()),
        ("exclude", arguments.exclude.clone()),
        ("own", arguments.own.clone()),
        ("name", one(&arguments.name)),
        ("mode", one(&arguments.mode)),
        ("verify", one(&arguments.verify)),
        ("fill", one(&arguments.fill)),
        ("fill-rate", one(&arguments.fill_rate)),
        ("seal", one(&arguments.seal)),
        ("integrity", one(&arguments.integrity)),
        ("index", one(&arguments.index)),
        ("no-io-uring", set(arguments.no_io_uring)),
        ("no-follow", set(arguments.no_follow)),
        ("linger", one(&arguments.linger)),
        ("require", set(arguments.require)),
        ("stats-at-exit", one(&arguments.stats_at_exit)),
    ];
    all.into_iter()
        .filter(|(_, texts)| !texts.is_empty())
        .collect()
}

fn read_file(path: &Path, named: bool) -> Result<BTreeMap<&'static str, Vec<String>>, Failure> {
    let text = match read_limited(path) {
        Ok(text) => text,
        Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(BTreeMap::new());
        }
        Err(error) => {
            return Err(Failure::new(
                Kind::Launch,
                format!("cannot read the settings in {}: {error}", path.display()),
                "nothing was started, because a setting there may matter",
                format!(
                    "make it readable, or name another:  --config FILE ({})",
                    path.display()
                ),
            ));
        }
    };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        Failure::usage(
            format!("{} is not TOML: {}", path.display(), error.message()),
            place(&text, &error),
            "write settings as:  local = \"auto\"",
        )
    })?;
    table
        .iter()
        .map(|(name, value)| entry(path, name, value))
        .collect()
}

fn read_limited(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(CONFIG_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Line and text where the parser stopped.
fn place(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..at).unwrap_or("");
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or("");
    format!("line {}: {line}", number + 1)
}

fn entry(
    path: &Path,
    name: &str,
    value: &toml::Value,
) -> Result<(&'static str, Vec<String>), Failure> {
    let Some(key) = KEYS.into_iter().find(|key| file_key(key) == name) else {
        let known: Vec<_> = KEYS.iter().map(|key| file_key(key)).collect();
        return Err(Failure::usage(
            format!("{}: no setting is called '{name}'", path.display()),
            "a misspelt setting would be ignored in silence, so it is refused",
            format!("settings are: {}", known.join(" ")),
        ));
    };
    let texts = match value {
        toml::Value::Array(items) if LIST_KEYS.contains(&key) => {
            items.iter().map(scalar).collect::<Option<Vec<_>>>()
        }
        single => scalar(single).map(|text| vec![text]),
    };
    let texts = texts.ok_or_else(|| {
        Failure::usage(
            format!("{}: {name} has a value of the wrong kind", path.display()),
            format!(
                "it is one text, number or truth value, not a {}",
                value.type_str()
            ),
            format!("write:  {name} = \"...\""),
        )
    })?;
    Ok((key, texts))
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_config(test: &str, text: &str) -> PathBuf {
        let name = format!("hooktool-layers-{test}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn collect(test: &str, text: &str, arguments: SettingArgs) -> Result<Layers, Failure> {
        let config = write_config(test, text);
        let arguments = SettingArgs {
            config: Some(config.clone()),
            ..arguments
        };
        let layers = Layers::collect(&arguments, |name| {
            (name == "HOOKTOOL_LOCAL").then(|| "2MiB".to_string())
        });
        std::fs::remove_file(config).unwrap();
        layers
    }

    #[test]
    fn flag_beats_variable_beats_file() {
        let text = "local = \"1MiB\"\nname = \"pg\"\nmode = \"observe\"\n";
        let arguments = SettingArgs {
            name: Some("web".into()),
            ..SettingArgs::default()
        };
        let layers = collect("order", text, arguments).unwrap();
        assert_eq!(
            layers.texts("name").unwrap(),
            (&["web".to_string()][..], Origin::Flag)
        );
        assert_eq!(
            layers.texts("local").unwrap(),
            (&["2MiB".to_string()][..], Origin::Variable)
        );
        assert!(matches!(layers.texts("mode").unwrap().1, Origin::File(_)));
        assert!(layers.texts("fill").is_none());
    }

    #[test]
    fn a_variable_may_name_a_cluster_by_several_members() {
        let cluster = "redis-cluster://:pw@a:1,b:2";
        assert_eq!(as_list("node", cluster), [cluster]);
        assert_eq!(as_list("node", "a:1,b:2"), ["a:1", "b:2"]);
        assert_eq!(
            as_list("own", "/a/{b,c}/**,/d/**"),
            ["/a/{b,c}/**", "/d/**"]
        );
    }

    #[test]
    fn misspelt_variables_are_found() {
        let names = "PATH HOOKTOOL_LOCL HOOKTOOL_LOCAL HOOKTOOL_FILL_RATE HOOKTOOL_SHIM HOOKTOOL_";
        let found = misspelt(names.split(' '));
        assert_eq!(found, ["HOOKTOOL_LOCL", "HOOKTOOL_"]);
    }

    #[test]
    fn misspelt_keys_and_wrong_kinds_are_refused() {
        for (test, text) in [
            ("key", "loca = 1"),
            ("kind", "local = [1]"),
            ("nested", "[local]\nx = 1"),
            ("toml", "local = = 1"),
        ] {
            let failure = collect(test, text, SettingArgs::default()).unwrap_err();
            assert_eq!(failure.kind, Kind::Usage, "{text}");
        }
    }

    #[test]
    fn a_named_file_must_be_there() {
        let arguments = SettingArgs {
            config: Some("/no/such".into()),
            ..SettingArgs::default()
        };
        let failure = Layers::collect(&arguments, |_| None).unwrap_err();
        assert_eq!(failure.kind, Kind::Launch);
    }
}
