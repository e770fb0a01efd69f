//! One KMS key: its public key read once, digests signed by it, and the proof that no other key answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_kms::operation::RequestId as _;
use aws_sdk_kms::operation::get_public_key::{GetPublicKeyError, GetPublicKeyOutput};
use aws_sdk_kms::operation::sign::SignOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyUsageType, MessageType, SigningAlgorithmSpec};
use prokura_plugin::{
    CERTIFICATE_ADVICE, CertificateChain, Deadline, Digest, Error, KeyDetails, KeyId, KeyRequest, KeySpec,
    KeyState, PublicKey, RawSignature, Scope, SigningAlgorithm, SigningKey,
};

use crate::certificate::{Source, fetch};
use crate::config::KeyConfig;
use crate::config::key_name::KeyName;
use crate::error::Doing;
use crate::limits::CERTIFICATE_SECONDS;
use crate::vault::attempts::Attempts;
use crate::vault::{Session, Vault};

/// Opens the key that a request names.
///
/// # Errors
/// As [`prokura_plugin::OpenKey::open_key`].
pub(crate) fn open(vault: &Arc<Vault>, request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
    let KeyConfig { name, place, certificate, grant_tokens } = KeyConfig::of(request)?;
    let session = vault.session(&place)?;
    let found = Found::look_up(vault, &session, name.as_str(), &grant_tokens, request.deadline())?;
    Ok(Box::new(KmsKey {
        vault: Arc::clone(vault),
        session,
        name,
        found,
        grant_tokens,
        certificate,
        chain: Mutex::new(None),
    }))
}

/// What KMS says of a key that can sign for Notary.
pub(crate) struct Found {
    /// The ARN of the key itself, whatever name it was asked for by.
    pub(crate) arn: String,
    /// Its public half.
    pub(crate) public_key: PublicKey,
}

impl Found {
    /// Asks KMS for the public key and checks that the private one can sign.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if there is no such key or it cannot sign; else what KMS says.
    pub(crate) fn look_up(
        vault: &Vault,
        session: &Session,
        name: &str,
        grant_tokens: &[String],
        deadline: Deadline,
    ) -> Result<Self, Error> {
        vault.runtime()?.block_on(Self::ask(session, name, grant_tokens, deadline))
    }

    /// As [`Found::look_up`], on the runtime.
    pub(crate) async fn ask(
        session: &Session,
        name: &str,
        grant_tokens: &[String],
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let attempts = Attempts::<GetPublicKeyError>::none();
        let request = session.kms().get_public_key().key_id(name);
        let request = request.set_grant_tokens(some(grant_tokens));
        let call = request.customize().interceptor(attempts.clone()).send();
        let what = format!("read the public key of {name}");
        let doing = Doing { what, action: "kms:GetPublicKey", resource: name };
        Self::checked(session.call(&doing, deadline, &attempts, call).await?, name)
    }

    fn checked(answer: GetPublicKeyOutput, name: &str) -> Result<Self, Error> {
        let GetPublicKeyOutput { key_id, public_key, key_spec, key_usage, .. } = answer;
        let arn = key_id.ok_or_else(|| malformed("GetPublicKey", "no KeyId"))?;
        if key_usage != Some(KeyUsageType::SignVerify) {
            let found = key_usage.map_or("none".to_owned(), |u| u.as_str().to_owned());
            return Err(unfit(&arn, name, &format!("its KeyUsage is {found}, expected SIGN_VERIFY")));
        }
        let spec = key_spec.map_or("none".to_owned(), |s| s.as_str().to_owned());
        let der = public_key.ok_or_else(|| malformed("GetPublicKey", "no PublicKey"))?;
        let public_key = PublicKey::from_spki_der(der.as_ref())
            .map_err(|e| unfit(&arn, name, &format!("its KeySpec is {spec}: {e}")))?;
        Ok(Self { arn, public_key })
    }
}

struct KmsKey {
    vault: Arc<Vault>,
    session: Arc<Session>,
    name: KeyName,
    found: Found,
    grant_tokens: Vec<String>,
    certificate: Option<Source>,
    chain: Mutex<Option<(Instant, CertificateChain)>>,
}

impl SigningKey for KmsKey {
    fn public_key(&self) -> &PublicKey {
        &self.found.public_key
    }

    /// What the configured source holds, fetched anew every few minutes.
    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        let Some(source) = &self.certificate else { return Ok(CertificateChain::default()) };
        let mut kept = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let young = Duration::from_secs(CERTIFICATE_SECONDS);
        if let Some((_, chain)) = kept.as_ref().filter(|(at, _)| at.elapsed() < young) {
            return Ok(chain.clone());
        }
        let chain = fetch(&self.vault, &self.session, source)?;
        if chain.clone().complete(self.public_key(), Vec::new()).is_err() {
            return Err(foreign(&self.found.arn, source, &chain));
        }
        *kept = Some((Instant::now(), chain.clone()));
        Ok(chain)
    }

    /// Signs by the name the user gave, so that IAM conditions on aliases hold, and refuses what another key than the one
    /// described has signed.
    fn sign_digest(&self, digest: &Digest, deadline: Deadline) -> Result<RawSignature, Error> {
        let spec = self.found.public_key.spec();
        let algorithm = signing_algorithm(spec);
        let attempts = Attempts::none();
        let request = self.session.kms().sign().key_id(self.name.as_str());
        let request = request.message(Blob::new(digest.bytes())).message_type(MessageType::Digest);
        let request = request.signing_algorithm(algorithm.clone());
        let request = request.set_grant_tokens(some(&self.grant_tokens));
        let call = request.customize().interceptor(attempts.clone()).send();
        let what = format!("sign with {}", self.name.as_str());
        let doing = Doing { what, action: "kms:Sign", resource: &self.found.arn };
        let answer = self.vault.call(&self.session, &doing, deadline, &attempts, call)?;
        let request_id = answer.request_id().map(str::to_owned);
        let signature = self.checked(answer, spec, &algorithm);
        match request_id {
            Some(id) => signature.map(|s| s.with_request_id(id.as_str())).map_err(|e| e.request_id(id)),
            None => signature,
        }
    }

    fn details(&self) -> KeyDetails {
        let arn = &self.found.arn;
        let source = self.session.credential_source();
        let details = KeyDetails {
            version: Some(arn.clone()),
            // KMS hands out the public key of enabled keys only.
            state: Some(KeyState::Enabled),
            exportable: Some(false),
            label: self.name.alias().map(str::to_owned),
            exact_key_id: KeyId::new(arn.as_str()).ok(),
            ..KeyDetails::default()
        };
        let advice = "KMS keeps no certificates: plugin config certificate names where the key's is (a file, an S3 object, \
                      or the ARN in ACM, a private CA or Secrets Manager)";
        let details =
            if self.certificate.is_none() { details.with(CERTIFICATE_ADVICE, advice) } else { details };
        details
            .with("arn", arn)
            .with("region", self.session.region())
            .with("credentials", source.map_or("none yet", crate::config::CredentialSource::as_str))
    }
}

impl KmsKey {
    fn checked(
        &self,
        answer: SignOutput,
        spec: KeySpec,
        asked: &SigningAlgorithmSpec,
    ) -> Result<RawSignature, Error> {
        let SignOutput { key_id, signature, signing_algorithm, .. } = answer;
        let signed_by = key_id.ok_or_else(|| malformed("Sign", "no KeyId"))?;
        if signed_by != self.found.arn {
            return Err(self.other_key(&signed_by));
        }
        if signing_algorithm.as_ref() != Some(asked) {
            let found = signing_algorithm.map_or("none".to_owned(), |a| crate::error::shown(a.as_str()));
            return Err(malformed(
                "Sign",
                &format!("SigningAlgorithm {found}, asked for {}", asked.as_str()),
            ));
        }
        let bytes = signature.ok_or_else(|| malformed("Sign", "no Signature"))?;
        let signature = match spec.is_rsa() {
            true => RawSignature::from_fixed_width(spec, bytes.into_inner()),
            false => RawSignature::from_ecdsa_der(spec, bytes.as_ref()),
        };
        Ok(signature?.signed_by_version(signed_by))
    }

    fn other_key(&self, signed_by: &str) -> Error {
        let (name, described, signed_by) =
            (self.name.as_str(), &self.found.arn, crate::error::shown(signed_by));
        match self.name.alias() {
            Some(_) => Error::validation(format!(
                "{name} was moved: it named key {described} when it was described and names {signed_by} now; that \
                 signature is dropped. Sign again to use the new key, with its certificate, or name a key by its ARN"
            )),
            None => malformed("Sign", &format!("KeyId {signed_by}, asked for {described}")),
        }
        .with_scope(Scope::Key)
    }
}

/// KMS's name for the algorithm that belongs to a key.
fn signing_algorithm(spec: KeySpec) -> SigningAlgorithmSpec {
    match spec.signing_algorithm() {
        SigningAlgorithm::RsassaPssSha256 => SigningAlgorithmSpec::RsassaPssSha256,
        SigningAlgorithm::RsassaPssSha384 => SigningAlgorithmSpec::RsassaPssSha384,
        SigningAlgorithm::RsassaPssSha512 => SigningAlgorithmSpec::RsassaPssSha512,
        SigningAlgorithm::EcdsaSha256 => SigningAlgorithmSpec::EcdsaSha256,
        SigningAlgorithm::EcdsaSha384 => SigningAlgorithmSpec::EcdsaSha384,
        SigningAlgorithm::EcdsaSha512 => SigningAlgorithmSpec::EcdsaSha512,
    }
}

fn some(tokens: &[String]) -> Option<Vec<String>> {
    (!tokens.is_empty()).then(|| tokens.to_vec())
}

fn unfit(arn: &str, name: &str, why: &str) -> Error {
    let asked = if name == arn { String::new() } else { format!(" ({name})") };
    Error::validation(format!(
        "key {arn}{asked} cannot sign for Notary: {why}. Usage and spec of a key cannot be changed; use one made with \
         --key-usage SIGN_VERIFY and --key-spec RSA_2048, RSA_3072, RSA_4096, ECC_NIST_P256, ECC_NIST_P384 or \
         ECC_NIST_P521"
    ))
    .with_scope(Scope::Key)
}

/// Plugin config certificate leads to certificates of other keys.
fn foreign(arn: &str, source: &Source, chain: &CertificateChain) -> Error {
    let subject = crate::error::shown(&chain.first_subject().unwrap_or_default());
    Error::validation(format!(
        "no certificate belongs to the key {arn}: plugin config \"certificate\" names {source}, whose first certificate is \
         that of {subject:?} and holds another public key; set --plugin-config certificate to where the certificate is that \
         was issued for this key, or sign with the key that {source} is for"
    ))
    .with_scope(Scope::Key)
}

fn malformed(operation: &str, found: &str) -> Error {
    Error::internal(format!(
        "the answer of KMS to {operation} holds {found}; whoever runs this endpoint, or what stands before it, must look"
    ))
    .with_scope(Scope::Vault)
}
