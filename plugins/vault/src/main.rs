//! `notation-vault`: the executable.

use std::process::ExitCode;

use prokura_plugin::{Error, KeyRequest, SigningKey};

fn main() -> ExitCode {
    prokura_plugin::serve(
        prokura_plugin::metadata!(
            "vault",
            "Notary signing plugin for the transit engine of HashiCorp Vault and OpenBao"
        ),
        open_key,
    )
}

fn open_key(_: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
    Err(Error::internal("this plugin is being built and cannot open keys yet"))
}
