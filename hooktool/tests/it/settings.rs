//! Settings from all layers, as `--dry-run` shows them; nothing is started.

use crate::house::{driver, err, hooktool, out, run, status, workshop};

fn row(text: &str, key: &str) -> String {
    let line = text
        .lines()
        .find(|line| line.split_whitespace().next() == Some(key));
    line.unwrap_or_else(|| panic!("{key}: {text}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_dry_run_shows_everything_and_starts_nothing() {
    let output = run(&[
        "run",
        "--dry-run",
        "--local",
        "64MiB",
        "--",
        "sh",
        "-c",
        "echo hello",
    ]);
    let text = out(&output);
    assert_eq!(status(&output), 0, "{}", err(&output));
    assert!(
        text.contains(&format!("LD_PRELOAD={}\n", driver().display())),
        "{text}"
    );
    assert!(text.contains("HOOKTOOL_SESSION="), "{text}");
    assert!(text.ends_with("sh -c 'echo hello'\n"), "{text}");
    assert_eq!(row(&text, "local"), "local 64MiB flag");
    assert_eq!(row(&text, "node"), "node embedded:256MiB default");
    assert_eq!(row(&text, "name"), "name sh default");
    assert!(!text.contains("\nhello\n"));
}

#[test]
fn flag_beats_environment_beats_file() {
    let file = workshop().join("layers.toml");
    let text = "local = \"1MiB\"\nfill_rate = \"1MiB/s\"\nverify = 0.5\nrequire = true\n\
                own = [\"/a/**\", \"/b/**\"]\n";
    std::fs::write(&file, text).unwrap();
    let output = hooktool(&["run", "--dry-run", "--local", "3MiB", "--config"])
        .arg(&file)
        .args(["--", "true"])
        .env("HOOKTOOL_LOCAL", "2MiB")
        .env("HOOKTOOL_FILL_RATE", "2MiB/s")
        .env("HOOKTOOL_NODE", "a:1,b")
        .output()
        .unwrap();
    let text = out(&output);
    assert_eq!(row(&text, "local"), "local 3MiB flag");
    assert_eq!(row(&text, "fill-rate"), "fill-rate 2MiB/s environment");
    assert_eq!(row(&text, "node"), "node a:1 b:7420 environment");
    assert_eq!(
        row(&text, "verify"),
        format!("verify 50% {}", file.display())
    );
    assert_eq!(
        row(&text, "require"),
        format!("require yes {}", file.display())
    );
    assert_eq!(
        row(&text, "own"),
        format!("own /a/** /b/** {}", file.display())
    );
}

#[test]
fn files_are_checked() {
    let with = |text: &str| {
        let file = workshop().join(format!("wrong-{}.toml", text.len()));
        std::fs::write(&file, text).unwrap();
        let mut command = hooktool(&["run", "--dry-run", "--config"]);
        let output = command.arg(&file).args(["--", "true"]).output().unwrap();
        (status(&output), err(&output))
    };
    assert_eq!(with("locale = \"1MiB\"\n").0, 125);
    assert_eq!(with("local = [\n").0, 125);
    let (code, text) = with("local = \"64g\"\n");
    assert_eq!(code, 125);
    assert!(text.contains("local = \"64GiB\""), "{text}");
    let output = run(&[
        "run",
        "--dry-run",
        "--config",
        "/no/such.toml",
        "--",
        "true",
    ]);
    assert_eq!(status(&output), 125);
}

#[test]
fn passwords_are_never_shown() {
    let node = "redis://:hunter2@127.0.0.1:7420";
    let output = run(&["run", "--dry-run", "--node", node, "--", "true"]);
    assert_eq!(status(&output), 0);
    assert!(!format!("{}{}", out(&output), err(&output)).contains("hunter2"));
}

#[test]
fn other_preloads_are_kept() {
    let mut command = hooktool(&["run", "--dry-run", "--", "true"]);
    let output = command.env("LD_PRELOAD", "libm.so.6").output().unwrap();
    let expected = format!("LD_PRELOAD={}:libm.so.6\n", driver().display());
    assert!(out(&output).contains(&expected), "{}", out(&output));
}

#[test]
fn a_misspelt_variable_is_told_once_and_keeps_nothing_from_starting() {
    let mut command = hooktool(&["run", "--node", "embedded:16MiB", "--", "echo", "ran"]);
    let output = command.env("HOOKTOOL_LOCL", "1MiB").output().unwrap();
    assert_eq!((status(&output), out(&output).as_str()), (0, "ran\n"));
    let text = err(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("HOOKTOOL_LOCL"), "{text}");
}
