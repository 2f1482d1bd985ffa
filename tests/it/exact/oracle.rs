//! The oracle bites: a planted stale read ends the target at once.
//!
//! A build of the shim with the feature `plant` (made by `make plant`) does not count writes and
//! does not compare stamps when `HOOKTOOL_PLANT=stale` is set, so that it serves what was there
//! before. If this went unnoticed, the silence of all other tests would mean nothing. Nor does
//! anybody notice the panics that it plants in every third read when told `panic`, nor are those in
//! every third write (`panic-in-writes`), before it is counted, the cause of a stale read.

use harness::bed::Bed;
use harness::files::noise;
use harness::mode::Mode;
use harness::puppet::{Puppets, puppet_words, to_hex};
use harness::session::Hooked;
use harness::stage::stage_planted_shim;
use serde_json::json;

/// The signal of abort(3).
const ABORT: i32 = 6;

/// Rewrites and rereads blocks for as long as the puppets live; whether every read was right.
fn provoke(mode: Mode, plant: Option<&str>) -> (bool, Option<i32>, String) {
    let bed = Bed::new("plant", mode);
    provoke_in(&bed, &bed.hooked(), plant)
}

fn provoke_in(bed: &Bed, hooked: &Hooked<'_>, plant: Option<&str>) -> (bool, Option<i32>, String) {
    bed.write("file", &noise(1, 64 * 4096));
    let mut command = hooked.command(bed.path(), &puppet_words(bed, 1));
    if let Some(plant) = plant {
        command.env("HOOKTOOL_SHIM", stage_planted_shim(bed.path()));
        command.env("HOOKTOOL_PLANT", plant);
    }
    let mut puppets = Puppets::start(command);
    puppets.done(0, "open", &json!(["f", "file", "w"]));
    let mut right = true;
    for round in 0..3000_u64 {
        let block = round % 8;
        let piece = noise(round + 10, 4096);
        let wrote = puppets.try_ask(0, "pwrite", &json!(["f", block * 4096, to_hex(&piece)]));
        let read = |puppets: &mut Puppets| {
            let answer = puppets.try_ask(0, "pread", &json!(["f", block * 4096, 4096]))?;
            Some(answer == json!(to_hex(&piece)))
        };
        let Some(_) = wrote else { break };
        let Some(first) = read(&mut puppets) else {
            break;
        };
        let Some(second) = read(&mut puppets) else {
            break;
        };
        right &= first && second;
        if !right {
            break;
        }
    }
    let (status, errors) = puppets.end();
    (
        right,
        std::os::unix::process::ExitStatusExt::signal(&status),
        errors,
    )
}

#[test]
fn a_planted_stale_read_aborts_under_the_oracle() {
    let (right, signal, errors) = provoke(Mode::Oracle, Some("stale"));
    assert!(right, "the oracle let a stale read pass");
    assert_eq!(signal, Some(ABORT), "{errors}");
    assert!(
        errors.contains("oracle"),
        "the abort does not say why: {errors}"
    );
}

#[test]
fn without_the_oracle_the_plant_is_really_stale() {
    let (right, signal, errors) = provoke(Mode::Normal, Some("stale"));
    assert!(
        !right,
        "the plant planted nothing: the test above would prove nothing; {errors}"
    );
    assert_eq!(signal, None, "{errors}");
}

#[test]
fn without_a_plant_nobody_aborts() {
    let (right, signal, errors) = provoke(Mode::Oracle, None);
    assert!(right && signal.is_none(), "{signal:?} {errors}");
}

#[test]
fn a_planted_panic_goes_unnoticed() {
    let (right, signal, errors) = provoke(Mode::Oracle, Some("panic"));
    assert!(right && signal.is_none(), "{signal:?} {errors}");
    assert_eq!(errors, "", "something was said");
}

/// The file is owned by the session, so no change of its stamp makes good what was not counted.
#[test]
fn a_write_that_could_not_be_counted_takes_its_file_out_of_service() {
    for mode in [Mode::Normal, Mode::Oracle] {
        let bed = Bed::new("uncounted", mode);
        let hooked = bed.hooked().flag("--own", bed.join("file"));
        let (right, signal, errors) = provoke_in(&bed, &hooked, Some("panic-in-writes"));
        assert!(right && signal.is_none(), "{signal:?} {errors}");
        assert_eq!(errors, "", "something was said");
        let stats = hooked.final_stats();
        let poisoned = stats.all["region"]["cells_poisoned"].as_u64();
        assert!(poisoned > Some(0), "nothing was planted: {}", stats.all);
    }
}
