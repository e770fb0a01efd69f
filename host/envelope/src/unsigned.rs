//! From a payload to the bytes to be signed, and from a raw signature to an envelope.

use prokura_plugin::{CertificateChain, Digest, KeySpec, RawSignature};

use crate::attribute::Attributes;
use crate::certificate::{Certificate, check_code_signing_chain};
use crate::envelope::{Envelope, ParsedEnvelope, parse_chain};
use crate::error::{Error, Mismatch};
use crate::format::EnvelopeFormat;
use crate::limits::{EXTENDED_ATTRIBUTES_MAX, PAYLOAD_BYTES_MAX, SIGNING_AGENT_BYTES_MAX};
use crate::payload::Payload;
use crate::signature::{Salt, explain, verifies};
use crate::time::whole_seconds;
use crate::{cose, jws};

/// Everything that will be signed, without the signature.
#[derive(Clone, Debug)]
pub struct Unsigned {
    format: EnvelopeFormat,
    payload: Vec<u8>,
    attributes: Attributes,
    key_spec: KeySpec,
    protected: Vec<u8>,
    to_be_signed: Vec<u8>,
}

impl Unsigned {
    /// Prepares an envelope for a key of the given spec. Times are cut to whole seconds.
    ///
    /// # Errors
    /// [`Error::Request`] if the expiry is not after the signing time, if an extended attribute has a reserved name,
    /// occurs twice or has a value the format cannot hold, or if a limit is passed.
    pub fn new(
        format: EnvelopeFormat,
        payload: &Payload,
        mut attributes: Attributes,
        key_spec: KeySpec,
    ) -> Result<Self, Error> {
        attributes.signing_time = whole_seconds(attributes.signing_time);
        attributes.expiry = attributes.expiry.map(whole_seconds);
        check(payload, &attributes)?;
        let payload = payload.bytes().to_vec();
        let (protected, to_be_signed) = match format {
            EnvelopeFormat::Jws => {
                let protected = jws::protected_header(&attributes, key_spec)?;
                let to_be_signed = jws::signing_input(&protected, &payload);
                (protected, to_be_signed)
            }
            EnvelopeFormat::Cose => {
                let protected = cose::protected_header(&attributes, key_spec)?;
                let to_be_signed = cose::sig_structure(&protected, &payload)?;
                (protected, to_be_signed)
            }
        };
        Ok(Self { format, payload, attributes, key_spec, protected, to_be_signed })
    }

    /// The exact bytes the signature will cover: JWS signing input or COSE `Sig_structure`.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.to_be_signed
    }

    /// Digest of [`Unsigned::to_be_signed`] under the hash of the key.
    pub fn digest(&self) -> Digest {
        Digest::of(self.key_spec.hash_algorithm(), &self.to_be_signed)
    }

    /// The key spec this was prepared for.
    pub const fn key_spec(&self) -> KeySpec {
        self.key_spec
    }

    /// Whether an envelope with this chain can be made, to be asked before a key is used: the rules of
    /// [`Unsigned::finish`], as far as they need no signature.
    ///
    /// # Errors
    /// [`Error::NoCertificates`], [`Error::Certificate`], [`Error::Chain`].
    pub fn check_chain(&self, chain: &CertificateChain) -> Result<(), Error> {
        self.checked_chain(chain).map(drop)
    }

    /// Verifies a raw signature and makes the envelope. `chain` is leaf first and complete up to the root.
    ///
    /// # Errors
    /// [`Error::WrongKeySpec`], [`Error::NoCertificates`], [`Error::Certificate`], [`Error::Chain`] (rules are applied
    /// at the signing time), [`Error::WrongLeafKey`], and [`Error::WrongSignature`], which says what the signature
    /// turned out to be.
    #[expect(clippy::needless_pass_by_value, reason = "a raw signature belongs to one envelope")]
    pub fn finish(self, signature: RawSignature, chain: &CertificateChain) -> Result<Envelope, Error> {
        if signature.spec() != self.key_spec {
            return Err(Error::WrongKeySpec { expected: self.key_spec, found: signature.spec() });
        }
        let certificates = self.checked_chain(chain)?;
        self.check_signature(&signature, &certificates)?;
        let agent = self.attributes.signing_agent.as_deref();
        let assemble = match self.format {
            EnvelopeFormat::Jws => jws::assemble,
            EnvelopeFormat::Cose => cose::assemble,
        };
        let bytes = assemble(&self.protected, &self.payload, chain.certificates(), agent, signature.bytes())?;
        // What is handed out is what a verifier reads: parsed anew and verified anew.
        Ok(ParsedEnvelope::parse(self.format, &bytes)?.verify()?.into_envelope())
    }

    fn checked_chain(&self, chain: &CertificateChain) -> Result<Vec<Certificate>, Error> {
        let certificates = parse_chain(chain.certificates().iter().cloned().map(Ok))?;
        check_code_signing_chain(&certificates, Some(self.attributes.signing_time))?;
        Ok(certificates)
    }

    fn check_signature(&self, signature: &RawSignature, chain: &[Certificate]) -> Result<(), Error> {
        let (leaf, above) = chain.split_first().ok_or(Error::NoCertificates)?;
        let key = leaf.public_key().map_err(|_| Error::NoCertificates)?; // CERT-12 has refused other keys
        if key.spec() != self.key_spec {
            let (expected, found) = (self.key_spec, key.spec());
            return Err(Error::WrongLeafKey { subject: leaf.subject(), expected, found });
        }
        if verifies(&key, &self.to_be_signed, signature.bytes(), Salt::HashLength) {
            return Ok(());
        }
        let made_it = |c: &&Certificate| {
            let key = c.public_key();
            key.is_ok_and(|key| verifies(&key, &self.to_be_signed, signature.bytes(), Salt::HashLength))
        };
        let mismatch = match above.iter().find(made_it) {
            Some(other) => Mismatch::OtherCertificate { subject: other.subject() },
            None => explain(&key, &self.to_be_signed, signature.bytes(), Salt::HashLength),
        };
        Err(Error::WrongSignature { subject: leaf.subject(), mismatch })
    }
}

fn check(payload: &Payload, attributes: &Attributes) -> Result<(), Error> {
    let refuse = |problem: String| Err(Error::Request { problem });
    let payload_bytes = payload.bytes().len();
    if payload_bytes == 0 || payload_bytes > PAYLOAD_BYTES_MAX {
        return refuse(format!("the payload has {payload_bytes} bytes, expected 1 to {PAYLOAD_BYTES_MAX}"));
    }
    if let Some(expiry) = attributes.expiry.filter(|expiry| *expiry <= attributes.signing_time) {
        return refuse(format!(
            "the expiry {expiry} is not after the signing time {}",
            attributes.signing_time
        ));
    }
    if attributes.extended.len() > EXTENDED_ATTRIBUTES_MAX {
        let found = attributes.extended.len();
        return refuse(format!("{found} extended attributes, at most {EXTENDED_ATTRIBUTES_MAX} are allowed"));
    }
    for (at, attribute) in attributes.extended.iter().enumerate() {
        if attributes.extended.iter().take(at).any(|earlier| earlier.key == attribute.key) {
            return refuse(format!("extended attribute {:?} occurs twice", attribute.key.to_string()));
        }
    }
    if attributes.signing_agent.as_ref().is_some_and(|agent| agent.len() > SIGNING_AGENT_BYTES_MAX) {
        return refuse(format!("the signing agent is longer than {SIGNING_AGENT_BYTES_MAX} bytes"));
    }
    Ok(())
}
