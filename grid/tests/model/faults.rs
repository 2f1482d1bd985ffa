//! The rules of the protocol, each of which can be broken on purpose: a model that finds nothing
//! when a rule is missing proves nothing when all are there.

/// The rule that an actor of the world leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// W1: the record is published after the cells were entered.
    RecordLate,
    /// W2: the cells are not entered at all.
    NoEnter,
    /// F1: the filler does not ask whether a write is in flight.
    FillInFlight,
    /// F2: the filler does not look at the stamp again after its read.
    FillOneStamp,
    /// S2: the reader of a local page does not ask whether its tag moved.
    NoSequence,
    /// S3: the reader does not look at the cells again.
    NoRecheck,
    /// R2: what the dead had in flight is subtracted instead of frozen.
    Subtract,
    /// R3: a frozen cell is thawed without a look at the live records.
    ThawBlind,
    /// P: the hook server believes a stamp without starting a new epoch.
    ProveSameEpoch,
    /// P: the hook server lets go without a new epoch when a writer came.
    ProveLeavesQuietly,
    /// T: a record is made anew without starting a new epoch.
    RecycleSameEpoch,
    /// T: a writer does not ask whether its record is current after it entered.
    StaleNumbering,
    /// C: a writer that is alone does not compare the stamp.
    NoCompare,
    /// C: files that share a pair of cells vouch for each other.
    CollidingVouch,
    /// C: a reader does not compare the stamp.
    NoStamp,
    /// O: a newcomer of another domain is answered before files are disowned.
    DisownLate,
}
