//! The C face from outside: the header is what the sources say, and two C programs talk, linked
//! with the shared and with the static library. To renew the header: `RAMGRID_BLESS=1 cargo test -p
//! ramgrid-bus-c header`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bus::{Address, Bus, Spec, Template};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_header_is_what_the_sources_say() {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let made = cbindgen::Builder::new()
        .with_src(root().join("src/status.rs"))
        .with_src(root().join("src/calls.rs"))
        .with_config(config)
        .generate()
        .unwrap();
    let mut text = Vec::new();
    made.write(&mut text);
    let text = String::from_utf8(text).unwrap();
    let path = root().join("include/ramgrid_bus.h");
    if std::env::var_os("RAMGRID_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(
        text == kept,
        "ramgrid_bus.h is out of date: see the head of this file"
    );
}

/// A directory for one test.
struct Ground(PathBuf);

impl Ground {
    fn new(name: &str) -> Ground {
        let name = format!("ramgrid-bus-c-{}-{name}", std::process::id());
        let ground = Ground(std::env::temp_dir().join(name));
        let bus = Bus::open(&ground.bus()).unwrap();
        bus.make().unwrap();
        let spec = Spec {
            template: Template::default(),
            ends: [Address(0x101), Address(0x201)],
            ring_bytes: [65536; 2],
            message_bytes_max: None,
            is_summed: true,
            is_stamped: false,
            priority: 0,
            description: String::new(),
        };
        bus.create(&spec).unwrap();
        ground
    }

    fn bus(&self) -> String {
        self.0.join("bus").to_str().unwrap().to_string()
    }

    /// Compiles an example, as strictly as C can be.
    fn compile(&self, name: &str, libraries: &[&str]) -> PathBuf {
        let program = self.0.join(name);
        let source = root().join(format!("../../examples/bus-c/{name}.c"));
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"]);
        cc.arg(root().join("include"))
            .arg(source)
            .arg("-o")
            .arg(&program)
            .args(libraries);
        let output = cc.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        program
    }

    fn talk(&self, libraries: &[&str]) {
        let run = |program: &Path| {
            let mut command = Command::new(program);
            command
                .arg(self.bus())
                .env("LD_LIBRARY_PATH", built())
                .stdout(Stdio::piped());
            command.spawn().unwrap()
        };
        let receiver = run(&self.compile("receiver", libraries));
        let sender = run(&self.compile("sender", libraries));
        let [sender, receiver] = [sender, receiver].map(|child| child.wait_with_output().unwrap());
        assert!(sender.status.success() && receiver.status.success());
        let said = String::from_utf8(sender.stdout).unwrap();
        assert!(
            said.lines().count() == 10 && said.ends_with("order 10: taken\n"),
            "{said}"
        );
        let heard = String::from_utf8(receiver.stdout).unwrap();
        assert!(heard.starts_with("number 1: order 1\n"), "{heard}");
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where cargo put the libraries: beside this test.
fn built() -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .to_path_buf()
}

#[test]
fn two_programs_talk_by_the_shared_library() {
    let search = format!("-L{}", built().display());
    Ground::new("shared").talk(&[&search, "-lramgrid_bus"]);
}

#[test]
fn two_programs_talk_by_the_static_library() {
    let library = built().join("libramgrid_bus.a");
    let library = library.to_str().unwrap();
    Ground::new("static").talk(&[library, "-lpthread", "-ldl", "-lm"]);
}

#[test]
fn every_status_has_words() {
    for status in -17..=0 {
        let words = ramgrid_bus::rg_bus_error_string(status);
        assert!(!words.is_null());
    }
}
