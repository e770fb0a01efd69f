//! Envelopes made by other software are read; see `../vectors/README.md`.
