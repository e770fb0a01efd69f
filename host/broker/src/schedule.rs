//! When which vault is asked, and for whom: no build fails because of a vault that is busy, slow or away for a while.
//!
//! ```text
//! peer limits ─► choice of a key ─► admission ─► fair queue ─► breaker, budget ─► vault ─┬─► outcome
//!   peers         equivalent         admission     queue        breaker  budget          │
//!                      ▲─────────────── failover, or a retry after a pause ◄─────────────┘ retry, fault
//! ```
//!
//! Everything but [`scheduler`] is a state machine that is told the time; that one waits, on tokio's clock.

pub mod admission;
pub mod breaker;
pub mod budget;
pub mod equivalent;
pub mod fault;
pub mod peers;
pub mod published;
pub mod queue;
mod random;
pub mod refusal;
pub mod retry;
mod room;
pub mod scheduler;
pub mod vault;

pub use room::TooMany;

#[cfg(test)]
mod simulation;
