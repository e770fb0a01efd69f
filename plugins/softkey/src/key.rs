//! Opens a key and signs digests with it.

use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RsaEncoding};
use aws_lc_rs::{digest, encoding::AsDer, encoding::PublicKeyX509Der, signature};
use prokura_plugin::{
    CertificateChain, Deadline, Digest, Error, HashAlgorithm, KeyRequest, KeySpec, PublicKey, RawSignature,
    SigningKey,
};
use zeroize::Zeroizing;

use crate::vault::KeyFiles;

/// Reads the key that a request names.
pub(crate) fn open_key(request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
    let files = KeyFiles::of(request)?;
    let pem = files.read_key()?;
    let refuse = |why: String| Error::validation(format!("key file {}: {why}", files.key_path().display()));
    let der = private_key_der(&pem).map_err(refuse)?;
    let (private, public) = parse(&der).map_err(refuse)?;
    Ok(Box::new(SoftKey { private, public, files }))
}

struct SoftKey {
    private: Private,
    public: PublicKey,
    files: KeyFiles,
}

enum Private {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl SigningKey for SoftKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        let pem = self.files.read_certificates()?;
        CertificateChain::from_pem(&pem).map_err(|e| {
            Error::validation(format!("certificates of key file {}: {e}", self.files.key_path().display()))
        })
    }

    fn sign_digest(&self, digest: &Digest, _deadline: Deadline) -> Result<RawSignature, Error> {
        let spec = self.public.spec();
        let failed = |_| Error::internal(format!("AWS-LC did not sign with this {spec} key"));
        let digest = digest::Digest::import_less_safe(digest.bytes(), algorithm(digest)).map_err(failed)?;
        let bytes = match &self.private {
            Private::Ec(key) => key.sign_digest(&digest).map_err(failed)?.as_ref().to_vec(),
            Private::Rsa(key) => {
                let mut bytes = vec![0; key.public_modulus_len()];
                key.sign_digest(padding(spec), &digest, &mut bytes).map_err(failed)?;
                bytes
            }
        };
        Ok(RawSignature::from_fixed_width(spec, bytes)?)
    }
}

fn algorithm(digest: &Digest) -> &'static digest::Algorithm {
    match digest.algorithm() {
        HashAlgorithm::Sha256 => &digest::SHA256,
        HashAlgorithm::Sha384 => &digest::SHA384,
        HashAlgorithm::Sha512 => &digest::SHA512,
    }
}

/// RSASSA-PSS; AWS-LC makes the salt as long as the hash.
fn padding(spec: KeySpec) -> &'static dyn RsaEncoding {
    match spec.hash_algorithm() {
        HashAlgorithm::Sha256 => &signature::RSA_PSS_SHA256,
        HashAlgorithm::Sha384 => &signature::RSA_PSS_SHA384,
        HashAlgorithm::Sha512 => &signature::RSA_PSS_SHA512,
    }
}

/// Finds the private key among the PEM blocks; `openssl ecparam` writes an `EC PARAMETERS` block before it.
fn private_key_der(pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    const EXPECTED: &str = "expected a PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY";
    let text = std::str::from_utf8(pem).map_err(|_| format!("not text, {EXPECTED}"))?;
    let mut blocks = text.split("-----BEGIN ").skip(1);
    let block = blocks
        .find(|b| b.split_once("-----").is_some_and(|(label, _)| label.ends_with("PRIVATE KEY")))
        .ok_or_else(|| format!("no private key found, {EXPECTED}"))?;
    let is_encrypted = block.starts_with("ENCRYPTED ") || block.contains("Proc-Type: 4,ENCRYPTED");
    if is_encrypted {
        return Err(
            "the key is encrypted, this plugin reads keys without a passphrase; for a protected key \
                    use a plugin for a real vault"
                .to_owned(),
        );
    }
    let end = block.find("-----END ").and_then(|e| Some(e + block.get(e..)?.find('\n')?));
    let block = end.and_then(|e| block.get(..e)).unwrap_or(block);
    let block = Zeroizing::new(["-----BEGIN ", block].concat());
    match der::pem::decode_vec(block.as_bytes()) {
        Ok((_, der)) => Ok(Zeroizing::new(der)),
        Err(error) => Err(format!("{error}, {EXPECTED}")),
    }
}

/// Tells the kind of key by trying: the three PEM labels and what is inside disagree often enough.
fn parse(der: &[u8]) -> Result<(Private, PublicKey), String> {
    const CURVES: [(&EcdsaSigningAlgorithm, KeySpec); 3] = [
        (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, KeySpec::Ec256),
        (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, KeySpec::Ec384),
        (&signature::ECDSA_P521_SHA512_FIXED_SIGNING, KeySpec::Ec521),
    ];
    for (algorithm, spec) in CURVES {
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(algorithm, der) {
            let public =
                PublicKey::from_ec_point(spec, pair.public_key().as_ref()).map_err(|e| e.to_string())?;
            return Ok((Private::Ec(pair), public));
        }
    }
    let pair = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).map_err(|_| {
        "no usable private key, expected RSA 2048, 3072 or 4096 or EC P-256, P-384 or P-521".to_owned()
    })?;
    let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|e| e.to_string())?;
    let public = PublicKey::from_spki_der(spki.as_ref()).map_err(|e| e.to_string())?;
    Ok((Private::Rsa(pair), public))
}
