//! Signing with a plugin that makes raw signatures (RAW), over either transport.

use std::collections::BTreeMap;

use prokura_envelope::certificate::Certificate;
use prokura_envelope::{Envelope, Unsigned};
use prokura_plugin::message::{
    Base64, CONTRACT_VERSION, Command, DescribeKeyRequest, GenerateSignatureRequest, capability,
};
use prokura_plugin::{CertificateChain, Digest, KeyDetails, KeySpec, PluginName, PublicKey, RawSignature};
use tokio::time::Instant;

use super::{KeyDescription, Prepared, Signed, Timings};
use crate::chain::{self, Advice};
use crate::checks::{self, GeneratedSignature};
use crate::error::Error;
use crate::grpc::{DESCRIBE_KEY, SIGN_DIGEST};
use crate::plugin::{KeyReference, Plugin, Wire, with_limit};
use crate::supervisor::Order;

/// A signature over a digest. Not verified: there is no certificate to verify it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestSignature {
    /// The signature, of the right length for the key spec.
    pub signature: RawSignature,
    /// The key that made it, as the plugin says.
    pub public_key: PublicKey,
    /// The version of the key that signed, as the vault calls it; cleaned.
    pub key_version: Option<String>,
    /// The id under which the vault logged the request; cleaned.
    pub vault_request_id: Option<String>,
}

impl Plugin {
    /// Signs a digest over gRPC and returns the bare signature, checked for form only: for callers that verify it
    /// themselves, such as benchmarks and brokers that know the key. The digest's hash must be that of `spec`.
    ///
    /// # Errors
    /// [`Error::Incapable`] if the plugin is not reached over gRPC, otherwise whatever the plugin did wrong.
    pub async fn sign_digest(
        &self,
        key: &KeyReference,
        spec: KeySpec,
        digest: &Digest,
    ) -> Result<DigestSignature, Error> {
        match self.wire().await? {
            Wire::Stdio => Err(self.incapable(capability::TRANSPORT_GRPC_1, "signing a digest takes")),
            Wire::Grpc(_) => {
                let (described, to_be_signed) = (None, None);
                let order = Order { key, spec, digest, to_be_signed, described, is_repetition: false };
                sign_digest(self, &order, Instant::now() + self.deadline()).await
            }
        }
    }
}

impl Plugin {
    /// Signs many digests with one key, over few calls, and returns each outcome in the order of `digests`: as
    /// [`Plugin::sign_digest`] does. The deadline is for each [`crate::limits::BATCH_MAX`] of them.
    ///
    /// # Errors
    /// [`Error::Incapable`] if the plugin takes no batches, [`Error::InvalidRequest`] if a digest is not of the hash of
    /// `spec`, otherwise why no process could be asked.
    pub async fn sign_digests(
        &self,
        key: &KeyReference,
        spec: KeySpec,
        digests: &[Digest],
    ) -> Result<Vec<Result<DigestSignature, Error>>, Error> {
        if let Some(other) = digests.iter().find(|digest| digest.algorithm() != spec.hash_algorithm()) {
            let (found, expected) = (other.algorithm(), spec.hash_algorithm());
            return Err(Error::InvalidRequest(format!(
                "a digest was made with {found}, expected {expected}, the one of {spec} keys"
            )));
        }
        let purpose = "signing many digests at once takes";
        if !self.metadata().has(capability::SIGN_STREAM_1) {
            return Err(self.incapable(capability::SIGN_STREAM_1, purpose));
        }
        match self.wire().await? {
            Wire::Stdio => Err(self.incapable(capability::TRANSPORT_GRPC_1, purpose)),
            Wire::Grpc(_) => {
                let signed = self.supervisor().sign_digests(key, spec, digests, self.deadline()).await;
                signed.map_err(|error| with_limit(error, self.deadline()))
            }
        }
    }
}

pub(super) fn check_capability(plugin: &Plugin) -> Result<(), Error> {
    if plugin.metadata().has(capability::SIGNATURE_GENERATOR_RAW) {
        return Ok(());
    }
    Err(plugin.incapable(capability::SIGNATURE_GENERATOR_RAW, "describing a key and signing a blob take"))
}

pub(super) async fn sign(
    plugin: &Plugin,
    key: &KeyReference,
    prepared: &Prepared,
    described: Option<KeyDescription>,
) -> Result<Signed, Error> {
    let begun = Instant::now();
    let deadline = begun + plugin.deadline();
    let wire = plugin.wire().await?;
    let started = Instant::now();
    let description = match described {
        Some(description) if is_enough(&wire, &description) => description,
        // Described over another transport: the key must not have changed since.
        Some(before) => same_spec(plugin, key, &before, describe(plugin, &wire, key, deadline).await?)?,
        None => describe(plugin, &wire, key, deadline).await?,
    };
    // The chain comes before the signature: a key is not used for an envelope that cannot be made.
    let chain = known_chain(plugin, key, &description, prepared).await?;
    let described_at = Instant::now();
    let unsigned =
        Unsigned::new(prepared.format, &prepared.payload, prepared.attributes()?, description.key_spec)
            .map_err(|error| Error::InvalidRequest(error.to_string()))?;
    let (envelope, key_version, vault_request_id) = match &wire {
        Wire::Stdio => (sign_stdio(plugin, key, unsigned, prepared, deadline).await?, None, None),
        Wire::Grpc(_) => sign_grpc(plugin, key, unsigned, &description, &chain, deadline).await?,
    };
    let timings = Timings {
        start: started - begun,
        metadata: plugin.metadata_took(),
        describe: described_at - started,
        sign: described_at.elapsed(),
    };
    let (annotations, transport) = (BTreeMap::new(), wire.transport());
    Ok(Signed { envelope, annotations, transport, timings, key_version, vault_request_id })
}

pub(super) async fn describe(
    plugin: &Plugin,
    wire: &Wire,
    key: &KeyReference,
    deadline: Instant,
) -> Result<KeyDescription, Error> {
    match wire {
        Wire::Stdio => {
            let request = DescribeKeyRequest {
                contract_version: CONTRACT_VERSION.to_owned(),
                key_id: key.key_id().to_string(),
                plugin_config: key.plugin_config().clone(),
            };
            let read = |answer: &[u8]| checks::describe_key(answer, key.key_id());
            let key_spec = plugin.command(Command::DescribeKey, &request, deadline, read).await?;
            Ok(KeyDescription { key_spec, public_key: None, chain: None, details: KeyDetails::default() })
        }
        Wire::Grpc(_) => {
            let described = plugin.supervisor().describe_key(key, deadline).await;
            described.map_err(|error| with_limit(error, plugin.deadline()))
        }
    }
}

async fn sign_stdio(
    plugin: &Plugin,
    key: &KeyReference,
    unsigned: Unsigned,
    prepared: &Prepared,
    deadline: Instant,
) -> Result<Envelope, Error> {
    let spec = unsigned.key_spec();
    let request = GenerateSignatureRequest {
        contract_version: CONTRACT_VERSION.to_owned(),
        key_id: key.key_id().to_string(),
        key_spec: spec.as_str().to_owned(),
        hash_algorithm: spec.hash_algorithm().as_str().to_owned(),
        payload: Base64(unsigned.to_be_signed().to_vec()),
        plugin_config: key.plugin_config().clone(),
    };
    // The inner result: a key that changed is no fault of the plugin's.
    let read = |answer: &[u8]| match checks::generate_signature(answer, key.key_id(), spec) {
        Err(violation) => checks::spec_of_other_key(answer, spec).map(Err).ok_or(violation),
        Ok(signature) => Ok(Ok(signature)),
    };
    let call = Command::GenerateSignature;
    let GeneratedSignature { signature, chain } =
        plugin.command(call, &request, deadline, read).await?.map_err(|other| {
            let calls = (Command::DescribeKey.as_str(), call.as_str());
            key_changed(plugin.name(), key, calls, spec, other)
        })?;
    let chain = rest_of_chain(plugin, key, chain, prepared).await;
    finish(plugin, call.as_str(), unsigned, signature, &chain)
}

/// Over gRPC the vault's certificates are known before the signature; over stdio there is nothing yet.
async fn known_chain(
    plugin: &Plugin,
    key: &KeyReference,
    description: &KeyDescription,
    prepared: &Prepared,
) -> Result<CertificateChain, Error> {
    match (&description.public_key, &description.chain) {
        (Some(public_key), Some(held)) => {
            let (fetch, advice) = (plugin.fetch_issuers(), Advice::of(plugin, &description.details));
            chain::completed(key, public_key, held, fetch, prepared.signing_time, &advice).await
        }
        _ => Ok(CertificateChain::default()),
    }
}

/// A plugin of contract 1.0 returns the whole chain. One that ends early is continued if more is at hand; what it
/// returned is judged as it is otherwise.
async fn rest_of_chain(
    plugin: &Plugin,
    key: &KeyReference,
    held: CertificateChain,
    prepared: &Prepared,
) -> CertificateChain {
    let parse = |der: &Vec<u8>| Certificate::from_der(der).ok();
    let ends_early = held.certificates().last().and_then(parse).is_some_and(|last| !last.is_self_signed());
    let leaf_key = held.certificates().first().and_then(parse).and_then(|leaf| leaf.public_key().ok());
    let Some(leaf_key) = leaf_key.filter(|_| ends_early) else { return held };
    let details = KeyDetails::default();
    let (fetch, advice) = (plugin.fetch_issuers(), Advice::of(plugin, &details));
    let completed = chain::completed(key, &leaf_key, &held, fetch, prepared.signing_time, &advice).await;
    // Its order is the plugin's to keep over stdio (SPEC CHAIN-1): only what comes behind it is added.
    match completed {
        Ok(whole) if whole.certificates().starts_with(held.certificates()) => whole,
        _ => held,
    }
}

async fn sign_grpc(
    plugin: &Plugin,
    key: &KeyReference,
    unsigned: Unsigned,
    description: &KeyDescription,
    chain: &CertificateChain,
    deadline: Instant,
) -> Result<(Envelope, Option<String>, Option<String>), Error> {
    // No PIN, touch or paid call for an envelope that cannot be made.
    unsigned.check_chain(chain).map_err(|source| no_envelope(plugin, DESCRIBE_KEY, source))?;
    let (spec, digest) = (unsigned.key_spec(), unsigned.digest());
    let described = description.public_key.as_ref();
    let asks_for_it = plugin.metadata().has(capability::TO_BE_SIGNED_1);
    let to_be_signed = asks_for_it.then(|| unsigned.to_be_signed());
    let order = Order { key, spec, digest: &digest, to_be_signed, described, is_repetition: false };
    let mut made = sign_digest(plugin, &order, deadline).await?;
    let (version, request_id) = (made.key_version.take(), made.vault_request_id.take());
    let signature = by_described_key(plugin.name(), key, description, made)?;
    Ok((finish(plugin, SIGN_DIGEST, unsigned, signature, chain)?, version, request_id))
}

/// The signature, if the key that made it is the one that was described.
fn by_described_key(
    plugin: &PluginName,
    key: &KeyReference,
    description: &KeyDescription,
    made: DigestSignature,
) -> Result<RawSignature, Error> {
    if description.public_key.as_ref().is_some_and(|described| *described != made.public_key) {
        let (described, signed) = (description.key_spec, made.public_key.spec());
        return Err(key_changed(plugin, key, (DESCRIBE_KEY, SIGN_DIGEST), described, signed));
    }
    Ok(made.signature)
}

async fn sign_digest(
    plugin: &Plugin,
    order: &Order<'_>,
    deadline: Instant,
) -> Result<DigestSignature, Error> {
    let signed = plugin.supervisor().sign_digest(order, deadline).await;
    signed.map_err(|error| with_limit(error, plugin.deadline()))
}

fn finish(
    plugin: &Plugin,
    call: &'static str,
    unsigned: Unsigned,
    signature: RawSignature,
    chain: &CertificateChain,
) -> Result<Envelope, Error> {
    unsigned.finish(signature, chain).map_err(|source| no_envelope(plugin, call, source))
}

fn no_envelope(plugin: &Plugin, call: &'static str, source: prokura_envelope::Error) -> Error {
    Error::Envelope { plugin: plugin.name().clone(), call, source: Box::new(source) }
}

/// Over gRPC the chain comes with the description, over stdio with the signature.
fn is_enough(wire: &Wire, description: &KeyDescription) -> bool {
    matches!(wire, Wire::Stdio) || description.chain.is_some()
}

fn same_spec(
    plugin: &Plugin,
    key: &KeyReference,
    before: &KeyDescription,
    now: KeyDescription,
) -> Result<KeyDescription, Error> {
    if before.key_spec == now.key_spec {
        return Ok(now);
    }
    let calls = (Command::DescribeKey.as_str(), DESCRIBE_KEY);
    Err(key_changed(plugin.name(), key, calls, before.key_spec, now.key_spec))
}

fn key_changed(
    plugin: &PluginName,
    key: &KeyReference,
    (described_by, signed_by): (&'static str, &'static str),
    described: KeySpec,
    signed: KeySpec,
) -> Error {
    let (plugin, key_id) = (plugin.clone(), key.key_id().to_string());
    Error::KeyChanged { plugin, key_id, described_by, signed_by, described, signed }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PublicKeyData as _};

    use super::*;

    fn public_key(algorithm: &'static rcgen::SignatureAlgorithm) -> PublicKey {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        PublicKey::from_spki_der(&pair.subject_public_key_info()).unwrap()
    }

    #[test]
    fn a_signature_by_another_key_than_the_described_one_is_a_changed_key() {
        let described = public_key(&rcgen::PKCS_ECDSA_P256_SHA256);
        let key = KeyReference::new("k", Default::default()).unwrap();
        let check = |public_key: Option<&PublicKey>, signed_by: &PublicKey| {
            let description = KeyDescription {
                key_spec: KeySpec::Ec256,
                public_key: public_key.cloned(),
                chain: None,
                details: KeyDetails::default(),
            };
            let spec = signed_by.spec();
            let signature = RawSignature::from_fixed_width(spec, vec![1; spec.signature_len()]).unwrap();
            let made = DigestSignature {
                signature,
                public_key: signed_by.clone(),
                key_version: None,
                vault_request_id: None,
            };
            by_described_key(&"x".parse().unwrap(), &key, &description, made)
        };
        assert!(check(Some(&described), &described).is_ok());
        // Contract 1.0 does not tell the public key; the chain decides then.
        assert!(check(None, &described).is_ok());
        for (other, words) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, "another EC-256 key"),
            (&rcgen::PKCS_ECDSA_P384_SHA384, "an EC-384 key"),
        ] {
            let error = check(Some(&described), &public_key(other)).unwrap_err();
            assert!(matches!(error, Error::KeyChanged { .. }), "{error}");
            let said = error.to_string();
            assert!(said.starts_with("the key changed between DescribeKey and SignDigest:"), "{said}");
            assert!(said.contains("was an EC-256 key") && said.contains(words), "{said}");
        }
    }
}
