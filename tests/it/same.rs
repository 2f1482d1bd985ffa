//! A hooked program is the program: same output, same files, same status, same place in the world.
//!
//! Coreutils, shells and Python run natively and hooked in two directories that began alike;
//! output, error output, exit status or signal, and the directories afterwards must be equal byte
//! for byte. The cases are in the modules below, by subject.

#[path = "same/coreutils.rs"]
mod coreutils;
#[path = "same/place.rs"]
mod place;
#[path = "same/python.rs"]
mod python;
#[path = "same/status.rs"]
mod status;
#[path = "same/tools.rs"]
mod tools;
