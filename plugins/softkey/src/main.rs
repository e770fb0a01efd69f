//! Signs with keys kept in files. For tests and first steps, NOT FOR PRODUCTION: whoever reads the file has the key.

mod error;
mod key;
mod limits;
mod vault;

use std::process::ExitCode;

const USAGE: &str = "\
NOT FOR PRODUCTION: the private key lies in a file, and whoever reads the file has the key.

Plugin config, one of the two ways:
  keyPath   PEM file of the private key (PKCS#8, SEC1 or PKCS#1, not encrypted), mode 0600
  certPath  PEM file of its certificate chain, optional
or
  dir       directory that holds KEY_ID.key and, optional, KEY_ID.crt";

fn main() -> ExitCode {
    let metadata = prokura_plugin::metadata!("softkey", "Signs with keys in files. NOT FOR PRODUCTION");
    // It needs the digest alone; that it takes the bytes lets the kit try it.
    prokura_plugin::Service::new(metadata, key::open_key)
        .usage(USAGE)
        .config_names(vault::CONFIG_NAMES, &[])
        .reads_to_be_signed()
        .run()
}
