//! Vectors for hosts: what a plugin might reply, judged by the checks of our own host.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::{Result, bail, ensure};
use prokura_envelope::{Attributes, Descriptor, EnvelopeFormat, Payload, SigningScheme, Unsigned};
use prokura_plugin::message::PluginConfig;
use prokura_plugin::vector::{Direction, Expect, Signed, Stream, Values, Vector};
use prokura_plugin::{CertificateChain, KeyId, KeySpec, PluginName, RawSignature};
use prokura_signer::checks::{self, EnvelopeRequest};

use super::{Verdict, outcome, verdict};
use crate::pki::{Authority, generate_key};

const NAME: &str = "example";
const KEY_ID: &str = "some-key";
const SIGNING_TIME: &str = "2025-01-01T00:00:00Z";

/// Runs every vector for hosts.
///
/// # Errors
/// If keys for the replies cannot be made.
pub fn check_host(vectors: &[Vector]) -> Result<Vec<Verdict>> {
    let mut stages = BTreeMap::new();
    let mut verdicts = Vec::new();
    for vector in vectors.iter().filter(|v| v.direction == Direction::Host) {
        let spec = vector.key_spec.unwrap_or(KeySpec::Ec256);
        let stage = match stages.entry(spec) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => place.insert(Stage::new(spec)?),
        };
        verdicts.push(verdict(vector, "host", outcome(stage.judge(vector))));
    }
    ensure!(!verdicts.is_empty(), "there are no vectors for hosts");
    Ok(verdicts)
}

/// A host in the middle of a signature, and what a good plugin would reply.
struct Stage {
    spec: KeySpec,
    values: Values,
}

/// What the host made of a reply.
enum Judgement {
    Taken,
    /// The plugin refused with this code.
    Error(prokura_plugin::ErrorCode),
    /// The host refused, with the rule it names and its words.
    Refused(&'static str, String),
}

impl Stage {
    fn new(spec: KeySpec) -> Result<Self> {
        let to_be_signed = unsigned(spec)?.to_be_signed().to_vec();
        let (signature, chain) = made(spec, &to_be_signed)?;
        let (other_signature, other_chain) = made(spec, &to_be_signed)?;
        let signed = Signed {
            signature: &signature,
            other_signature: &other_signature,
            chain: &chain,
            other_chain: &other_chain,
        };
        let values = Values::new(KEY_ID, &PluginConfig::default(), spec, &to_be_signed);
        Ok(Self { spec, values: values.with_reply(NAME, &signed) })
    }

    fn judge(&self, vector: &Vector) -> Result<()> {
        let reply = vector.fill(&self.values)?;
        let judgement = match vector.reply {
            Stream::Stderr => match checks::refusal(&reply) {
                Some(refusal) => Judgement::Error(refusal.code),
                // SPEC ERR-6: the host shows exit code and stderr instead.
                None => Judgement::Refused("ERR-6", "no error object".to_owned()),
            },
            Stream::Stdout => self.read(&vector.command, &reply)?,
        };
        match (&vector.expect, judgement) {
            (Expect::Success, Judgement::Taken) => Ok(()),
            (Expect::Error(expected), Judgement::Error(found)) => {
                ensure!(found == *expected, "it was read as {found}, expected {expected}");
                Ok(())
            }
            (Expect::Refused(expected), Judgement::Refused(found, words)) => {
                ensure!(found == expected, "refused by {found} ({words}), expected {expected}");
                Ok(())
            }
            (expected, Judgement::Taken) => bail!("it was taken, expected {expected:?}"),
            (expected, Judgement::Error(found)) => bail!("it was read as {found}, expected {expected:?}"),
            (expected, Judgement::Refused(rule, words)) => {
                bail!("refused by {rule} ({words}), expected {expected:?}")
            }
        }
    }

    fn read(&self, command: &str, reply: &[u8]) -> Result<Judgement> {
        let (key_id, name) = (KeyId::new(KEY_ID)?, NAME.parse::<PluginName>()?);
        let violation = match command {
            "get-plugin-metadata" => checks::metadata(reply, &name).map(|_| ()),
            "describe-key" => checks::describe_key(reply, &key_id).map(|_| ()),
            "generate-signature" => match checks::generate_signature(reply, &key_id, self.spec) {
                Ok(made) => return self.finish(made),
                Err(violation) => Err(violation),
            },
            "generate-envelope" => {
                let (payload, signing_time) = (payload()?, SIGNING_TIME.parse()?);
                let request = EnvelopeRequest {
                    format: EnvelopeFormat::Jws,
                    payload: &payload,
                    signing_time,
                    expiry: None,
                };
                checks::generate_envelope(reply, &request).map(|_| ())
            }
            other => bail!("the kit knows no command {other:?}"),
        };
        Ok(match violation {
            Ok(()) => Judgement::Taken,
            Err(violation) => Judgement::Refused(violation.rule, violation.message),
        })
    }

    /// What does not make an envelope is refused.
    fn finish(&self, made: checks::GeneratedSignature) -> Result<Judgement> {
        Ok(match unsigned(self.spec)?.finish(made.signature, &made.chain) {
            Ok(_) => Judgement::Taken,
            Err(error) => Judgement::Refused(rule(&error), error.to_string()),
        })
    }
}

/// Which rule of SPEC.md section 7 it is that keeps an envelope from being made.
fn rule(error: &prokura_envelope::Error) -> &'static str {
    use prokura_envelope::Error;
    match error {
        Error::Chain(violation) => violation.rule,
        Error::NoCertificates => "CERT-1",
        Error::Certificate { .. } => "SIG-4",
        Error::WrongSignature { .. } | Error::WrongLeafKey { .. } => "SIG-6",
        _ => "none",
    }
}

fn payload() -> Result<Payload> {
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: format!("sha256:{}", "a".repeat(64)),
        size: 1,
        annotations: BTreeMap::new(),
    };
    Ok(Payload::new(target, BTreeMap::new())?)
}

fn unsigned(spec: KeySpec) -> Result<Unsigned> {
    let attributes = Attributes {
        scheme: SigningScheme::X509,
        signing_time: SIGNING_TIME.parse()?,
        expiry: None,
        extended: Vec::new(),
        signing_agent: None,
    };
    Ok(Unsigned::new(EnvelopeFormat::Jws, &payload()?, attributes, spec)?)
}

fn made(spec: KeySpec, to_be_signed: &[u8]) -> Result<(RawSignature, CertificateChain)> {
    let key = generate_key(spec)?;
    let authority = Authority::new("vector root")?;
    let leaf = authority.issue_to(&key, "vector leaf", |_| ())?;
    let chain = CertificateChain::from_pem(format!("{leaf}{}", authority.certificate()).as_bytes())?;
    let digest = prokura_plugin::Digest::of(spec.hash_algorithm(), to_be_signed);
    let bytes = crate::signature::sign(&key, spec, &digest)?;
    Ok((RawSignature::from_fixed_width(spec, bytes)?, chain))
}
