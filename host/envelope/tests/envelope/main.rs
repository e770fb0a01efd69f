//! Envelopes as callers meet them: made, read, verified, refused. One binary, so that keys are generated once.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where something is wrong")]
#![expect(clippy::needless_pass_by_value, reason = "a test may give away what it has just made")]

mod certificates;
mod cose_reading;
mod finishing;
mod jws_reading;
mod mint;
mod other_makers;
mod properties;
mod round_trip;
mod to_be_signed;
