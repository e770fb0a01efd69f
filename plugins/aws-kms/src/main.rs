//! `notation-aws-kms`: the executable.

use std::process::ExitCode;

use prokura_plugin::{Error, KeyRequest, SigningKey};

fn main() -> ExitCode {
    prokura_plugin::serve(
        prokura_plugin::metadata!("aws-kms", "Notary signing plugin for keys in AWS KMS"),
        open_key,
    )
}

fn open_key(_: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
    Err(Error::internal("this plugin is being built and cannot open keys yet"))
}
