//! Whether a peer may have a signature: Cedar policies, checked at load, denying by default.
//!
//! Pure: texts and facts in, decisions out; no file, no clock. What policies may speak of is in
//! `policies/prokura.cedarschema`; examples stand beside it.
//!
//! # Decisions
//!
//! - What no policy permits is denied; one `forbid` that holds outweighs every `permit`.
//! - A `forbid` whose condition cannot be evaluated (integer overflow; nothing else passes the check at load) denies.
//!   A `permit` whose condition cannot be evaluated permits nothing.
//! - A [`Permit`] is for one peer, key and digest, and is made by [`PolicySet::decide`] alone.
//!
//! # Cost
//!
//! Cedar has no loops, no recursion and no calls: one policy costs at most its own length, times the length of a text
//! where `like` compares with a pattern. All three are bounded by [`crate::limits`]. Only policies whose scope matches
//! are evaluated, and those that name another key are not even looked at: who scopes policies by key pays for the
//! policies of one key. At worst a decision is linear in the number of policies.

mod claimed;
mod decide;
mod difference;
mod entities;
mod facts;
mod nearest;
mod origin;
mod problem;
mod scope;
mod set;
mod slice;

pub use claimed::{Claimed, InvalidClaim, Reference};
pub use decide::{Denial, Explanation, Permit};
pub use difference::Difference;
pub use facts::{Counts, KeyFacts, Look, Wanted};
pub use nearest::Nearest;
pub use problem::{LoadError, Problem};
pub use set::{PolicySet, PolicyText};

/// What policies may speak of, in Cedar's schema language.
pub const SCHEMA: &str = include_str!("../policies/prokura.cedarschema");

#[cfg(test)]
mod tests;
