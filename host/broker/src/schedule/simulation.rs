//! The schedule against a vault made of numbers, in simulated time: minutes pass in milliseconds.

mod cancellation;
mod fake;
mod load;
mod outage;
mod overload;
mod refusals;
