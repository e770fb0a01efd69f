//! `[limits]`: what an operator may set within the bounds of the program.

use std::time::Duration;

use super::table::Table;
use crate::limits::{
    CONNECTIONS_DEFAULT, CONNECTIONS_MAX, DRAIN_DEFAULT_S, DRAIN_MAX_S, IN_FLIGHT_DEFAULT, IN_FLIGHT_MAX,
    SIGN_DEADLINE_DEFAULT_S, SIGN_DEADLINE_MAX_S,
};

/// What is allowed at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections, all listeners together.
    pub connections: usize,
    /// Requests to sign that are under way, all connections together; further ones are refused at once.
    pub in_flight: usize,
    /// How long one request may take if its caller does not say.
    pub sign_deadline: Duration,
    /// How long requests under way are waited for at the end.
    pub drain: Duration,
}

pub(super) fn read(mut table: Table<'_>) -> Limits {
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let limits = Limits {
        connections: size(table.number("connections", 1..=CONNECTIONS_MAX, CONNECTIONS_DEFAULT)),
        in_flight: size(table.number("in_flight", 1..=IN_FLIGHT_MAX, IN_FLIGHT_DEFAULT)),
        sign_deadline: Duration::from_secs(table.number(
            "sign_deadline_s",
            1..=SIGN_DEADLINE_MAX_S,
            SIGN_DEADLINE_DEFAULT_S,
        )),
        drain: Duration::from_secs(table.number("drain_s", 1..=DRAIN_MAX_S, DRAIN_DEFAULT_S)),
    };
    table.end();
    limits
}
