//! Envelopes as callers meet them: made, read, verified, refused. One binary, so that keys are generated once.

mod certificates;
mod cose_reading;
mod finishing;
mod jws_reading;
mod mint;
mod other_makers;
mod properties;
mod round_trip;
