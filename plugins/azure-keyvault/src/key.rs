//! One key: opened in exactly one version, described, and used to sign digests.

mod describe;

use std::sync::{Arc, OnceLock};

use azure_security_keyvault_keys::models::{KeyClientSignOptions, SignParameters, SignatureAlgorithm};
use prokura_plugin::{
    CERTIFICATE_ADVICE, CertificateChain, Deadline, Digest, Error, KeyDetails, KeyRequest, KeySpec,
    PublicKey, RawSignature, Scope, SigningKey,
};

use crate::certificate;
use crate::config::key_name::{Collection, KeyName};
use crate::config::{ChainFrom, Config};
use crate::error::{Operation, REQUEST_ID, shown};
use crate::vault::{Connection, Vault};
use describe::{Described, by_certificate, by_key, version_of};

pub(crate) use describe::{describe_key, read_key};

/// A key of which one version is pinned: what was described is what signs.
pub(crate) struct VaultKey {
    connection: Arc<Connection>,
    name: KeyName,
    /// `None` for a certificate that is being issued: its key has no version yet and cannot sign.
    version: Option<String>,
    public_key: PublicKey,
    details: KeyDetails,
    chain_from: ChainFrom,
    /// The certificates, once known: those of a version never change.
    chain: OnceLock<CertificateChain>,
}

impl VaultKey {
    /// Finds the key and pins its version.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if there is no such key or it cannot sign for Notary, `ACCESS_DENIED` naming the permission.
    pub(crate) fn open(vault: &Vault, request: &KeyRequest) -> Result<Self, Error> {
        let config = Config::of(request.vault(), vault.surroundings())?;
        let name = config.key_name(request.key_id().as_str())?;
        let chain_from = config.chain_from(&name.host)?;
        let connection = vault.connect(&name.host, &config)?;
        let deadline = request.deadline();
        let now = vault.surroundings().now().as_secs();
        let described = match name.collection {
            Collection::Certificates => by_certificate(&connection, &name, now, deadline)?,
            Collection::Keys => {
                let may_ask_certificate = chain_from == ChainFrom::Certificate;
                by_key(&connection, &name, now, deadline, may_ask_certificate)?
            }
        };
        let Described { version, public_key, details, leaf } = described;
        let chain = OnceLock::new();
        if let Some(leaf) = leaf.filter(|_| chain_from == ChainFrom::Certificate) {
            let _ = chain.set(certificate::checked(vec![leaf])?);
        }
        let details = details.with(CERTIFICATE_ADVICE, chain_from.advice());
        Ok(Self { connection, name, version, public_key, details, chain_from, chain })
    }

    /// The key with its version, which every further request names.
    fn pinned(&self) -> Result<(KeyName, &str), Error> {
        let version = self.version.as_deref().ok_or_else(|| {
            Error::validation(format!(
                "the certificate of {} is still being issued: have its request signed (az keyvault certificate pending show), \
                 then install the certificate with prokura cert install",
                self.name
            ))
        })?;
        Ok((self.name.with_version(version), version))
    }
}

impl SigningKey for VaultKey {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        if let Some(chain) = self.chain.get() {
            return Ok(chain.clone());
        }
        let chain = match (self.chain_from, &self.version) {
            (ChainFrom::Bundle, _) | (_, None) => CertificateChain::default(),
            (from, Some(_)) => {
                let (name, version) = self.pinned()?;
                certificate::chain(&self.connection, &name, version, from)?
            }
        };
        // An absent certificate may come: only one that is there is kept.
        if !chain.certificates().is_empty() {
            let _ = self.chain.set(chain.clone());
        }
        Ok(chain)
    }

    fn sign_digest(&self, digest: &Digest, deadline: Deadline) -> Result<RawSignature, Error> {
        let (name, version) = self.pinned()?;
        let spec = self.public_key.spec();
        let parameters =
            || SignParameters { algorithm: Some(algorithm(spec)), value: Some(digest.bytes().to_vec()) };
        let (id, answer) = self.connection.call(Operation::Sign, &name, deadline, async || {
            let options =
                KeyClientSignOptions { key_version: Some(version.to_owned()), ..Default::default() };
            let response =
                self.connection.keys.sign(&name.name, parameters().try_into()?, Some(options)).await?;
            let id = response.headers().get_optional_string(&REQUEST_ID);
            Ok((id, response.into_model()?))
        })?;
        let by = answer.kid.as_deref().and_then(version_of);
        if by != Some(version) {
            let by = shown(answer.kid.as_deref().unwrap_or("an unnamed key"));
            return Err(Error::internal(format!(
                "{name} was asked to sign, but the answer says that {by} signed; the vault, or what stands before it, is broken"
            ))
            .with_scope(Scope::Request));
        }
        let bytes = answer.result.unwrap_or_default();
        let signature = if spec.is_rsa() {
            RawSignature::from_rsa(spec, &bytes)?
        } else {
            RawSignature::from_fixed_width(spec, bytes)?
        };
        let signature = signature.signed_by_version(version);
        Ok(match id {
            Some(id) => signature.with_request_id(shown(&id)),
            None => signature,
        })
    }

    fn details(&self) -> KeyDetails {
        self.details.clone()
    }
}

/// The one algorithm of a key spec, as Key Vault names it (RFC 7518 section 3.1). The salt of PS* is as long as the hash.
const fn algorithm(spec: KeySpec) -> SignatureAlgorithm {
    match spec {
        KeySpec::Rsa2048 => SignatureAlgorithm::Ps256,
        KeySpec::Rsa3072 => SignatureAlgorithm::Ps384,
        KeySpec::Rsa4096 => SignatureAlgorithm::Ps512,
        KeySpec::Ec256 => SignatureAlgorithm::Es256,
        KeySpec::Ec384 => SignatureAlgorithm::Es384,
        KeySpec::Ec521 => SignatureAlgorithm::Es512,
    }
}
