//! The two ways every whole-system test runs: plainly, and under the oracle.
//!
//! Under the oracle the shim repeats every served read through the kernel and aborts the target
//! when the bytes differ although version and stamp stayed the same. A test body takes a [`Mode`]
//! and hands it to its bed; [`both_modes!`](crate::both_modes) makes the two tests.

use std::process::Command;

/// Tells the shim to repeat every served read through the kernel.
pub const ORACLE_VARIABLE: &str = "HOOKTOOL_ORACLE";

/// How the shim of a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As a user runs it.
    Normal,
    /// Every served read repeated and compared.
    Oracle,
}

impl Mode {
    /// Adds what this mode needs to the environment of a command.
    pub fn apply(self, command: &mut Command) {
        match self {
            Mode::Normal => command.env_remove(ORACLE_VARIABLE),
            Mode::Oracle => command.env(ORACLE_VARIABLE, "1"),
        };
    }

    /// For names of directories.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Normal => "normal",
            Mode::Oracle => "oracle",
        }
    }
}

/// Makes two tests, `name::normal` and `name::oracle`, of a function of the same name that takes a
/// [`Mode`].
#[macro_export]
macro_rules! both_modes {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn normal() {
                super::$name($crate::mode::Mode::Normal);
            }

            #[test]
            fn oracle() {
                super::$name($crate::mode::Mode::Oracle);
            }
        }
    )+};
}
