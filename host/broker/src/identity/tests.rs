//! Tests of identities that need several rooms.

mod certificates;
