//! Plugin config and key ids, parsed into types at the door.

pub mod locator;
pub mod pin;
pub mod uri;
