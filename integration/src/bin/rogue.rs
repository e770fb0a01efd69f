//! A signing plugin that breaks one rule of the protocol, chosen by plugin config `break`. For tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    prokura_integration::rogue::main()
}
