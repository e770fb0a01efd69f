//! The protocol buffers of Prokura, as generated Rust; nothing else.
