//! A plugin whose vendor library prints to standard output; the protocol must not notice. See `tests/noisy.rs`.

#![expect(clippy::print_stdout, reason = "this is what vendor libraries do")]

use std::process::ExitCode;

use prokura_plugin::{
    CertificateChain, Deadline, Digest, Error, KeyRequest, KeySpec, PublicKey, RawSignature, SigningKey,
    metadata, serve,
};

fn main() -> ExitCode {
    serve(metadata!("noisy", "Prints where it must not"), open_key)
}

fn open_key(_: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
    println!("vendor library 1.0, logged in");
    let point = [4; 65]; // uncompressed, and of the right length; nothing is ever verified with it
    Ok(Box::new(Key(PublicKey::from_ec_point(KeySpec::Ec256, &point).map_err(Error::internal)?)))
}

struct Key(PublicKey);

impl SigningKey for Key {
    fn public_key(&self) -> &PublicKey {
        println!("vendor library 1.0, reading the key");
        &self.0
    }

    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        Ok(CertificateChain::default())
    }

    fn sign_digest(&self, _: &Digest, _: Deadline) -> Result<RawSignature, Error> {
        Err(Error::access_denied("this plugin does not sign"))
    }
}
