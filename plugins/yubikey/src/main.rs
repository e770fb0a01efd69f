//! `notation-yubikey`: the executable.

use std::process::ExitCode;

use prokura_plugin::{Error, KeyRequest, SigningKey};

fn main() -> ExitCode {
    prokura_plugin::serve(
        prokura_plugin::metadata!("yubikey", "Notary signing plugin for keys on YubiKeys (PIV)"),
        open_key,
    )
}

fn open_key(_: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
    Err(Error::internal("this plugin is being built and cannot open keys yet"))
}
