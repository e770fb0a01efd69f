//! Tests of identities that need several rooms.

mod certificates;
mod issuer;
mod keys;
mod tokens;
