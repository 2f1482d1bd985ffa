//! Never stale: reads against models, under strangers, twins, shortage and killed writers.
//!
//! The proof that a wrong byte would be noticed is here, too: a planted stale read must make the
//! oracle abort.

#[path = "exact/calls.rs"]
mod calls;
#[path = "exact/confined.rs"]
mod confined;
#[path = "exact/counters.rs"]
mod counters;
#[path = "exact/domains.rs"]
mod domains;
#[path = "exact/model.rs"]
mod model;
#[path = "exact/oracle.rs"]
mod oracle;
#[path = "exact/outsiders.rs"]
mod outsiders;
#[path = "exact/owned.rs"]
mod owned;
#[path = "exact/pressure.rs"]
mod pressure;
#[path = "exact/recorded.rs"]
mod recorded;
#[path = "exact/strangers.rs"]
mod strangers;
#[path = "exact/twins.rs"]
mod twins;
#[path = "exact/worlds.rs"]
mod worlds;
