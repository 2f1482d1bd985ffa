//! Certificates for relays, made by `openssl` as `docs/bus.md` says. Used by two test targets.

use std::path::Path;
use std::process::Command;

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// An authority in `dir`: `ca.pem`, `ca.key`.
pub fn authority(dir: &Path) {
    let words = format!("req -x509 {KEY} -keyout ca.key -out ca.pem -days 9 -subj /CN=relays");
    openssl(dir, &words);
}

/// A certificate of that authority, `NAME.pem` and `NAME.key`, for these addresses.
pub fn certificate(dir: &Path, name: &str, addresses: &[&str]) {
    let uri = |address: &&str| format!("URI:ramgrid-bus:{address}");
    let names: Vec<String> = addresses.iter().map(uri).collect();
    let extension = format!("subjectAltName={}\n", names.join(","));
    std::fs::write(dir.join(format!("{name}.ext")), extension).expect("written");
    openssl(
        dir,
        &format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"),
    );
    openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 \
             -extfile {name}.ext -out {name}.pem"
        ),
    );
}

/// What `hooktool bus relay` is told to use them.
pub fn flags(dir: &Path, name: &str) -> Vec<String> {
    let files = [
        ("--cert", format!("{name}.pem")),
        ("--key", format!("{name}.key")),
        ("--ca", "ca.pem".to_string()),
    ];
    let path = |file: String| dir.join(file).display().to_string();
    let words = files
        .into_iter()
        .map(|(flag, file)| [flag.to_string(), path(file)]);
    words.flatten().collect()
}

fn openssl(dir: &Path, words: &str) {
    let mut command = Command::new("openssl");
    let done = command.args(words.split_whitespace()).current_dir(dir);
    let done = done.output().expect("openssl runs");
    assert!(done.status.success(), "{words}: {done:?}");
}
