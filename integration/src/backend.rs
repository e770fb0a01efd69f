//! Real backends, started by the tests themselves and ended with them.

pub mod aws;
pub mod azure;
pub mod card;
pub mod registry;
pub mod token;
