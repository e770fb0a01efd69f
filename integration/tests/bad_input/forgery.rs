//! Signatures nobody would make, signed all the same with a trusted key, put into an image layout.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use prokura_integration::world::World;
use prokura_plugin::{CertificateChain, KeySpec};
use serde_json::Value;

use super::cbor;

pub(crate) const JWS: &str = "application/jose+json";
pub(crate) const COSE: &str = "application/cose";
pub(crate) const CONTENT_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";
const SCHEME: &str = "io.cncf.notary.signingScheme";
const TIME: &str = "io.cncf.notary.signingTime";
/// 2025-01-01T00:00:00Z
const SIGNED_AT: i64 = 1_735_689_600;

/// A trusted key in the wrong hands, and a layout to put its work into.
pub(crate) struct Forger {
    pub(crate) layout: PathBuf,
    key: EcdsaKeyPair,
    chain: Vec<Vec<u8>>,
    /// The manifest of a good signature, which stands in the index no longer.
    manifest: Value,
}

impl Forger {
    /// Signs the image with softkey, keeps the manifest and forgets the signature.
    pub(crate) fn new(world: &World, name: &str) -> Result<Self> {
        let layout = world.image()?.copy(&world.home.path().join(format!("forged-{name}")))?;
        let key = world.softkey_arguments(KeySpec::Ec256);
        let sign = ["sign".to_owned(), "--oci-layout".to_owned()].into_iter().chain(key);
        world.home.prokura(sign.chain([format!("{}:v1", layout.display())]))?.ok()?;
        let mut index = read(&layout.join("index.json"))?;
        let entries = index["manifests"].as_array_mut().context("an index lists manifests")?;
        let signature = entries.pop().context("a signature")?;
        std::fs::write(layout.join("index.json"), index.to_string())?;
        let manifest = read(&blob(&layout, signature["digest"].as_str().unwrap_or_default()))?;
        let pair = rcgen::KeyPair::from_pem(&std::fs::read_to_string(world.keys.key(KeySpec::Ec256))?)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der())?;
        let chain = CertificateChain::from_pem(&std::fs::read(world.keys.chain(KeySpec::Ec256))?)?;
        Ok(Self { layout, key, chain: chain.certificates().to_vec(), manifest })
    }

    /// The payload of an honest signature, as JSON.
    pub(crate) fn payload(&self) -> String {
        let subject = &self.manifest["subject"];
        let target = serde_json::json!({
            "mediaType": subject["mediaType"], "digest": subject["digest"], "size": subject["size"],
        });
        serde_json::json!({ "targetArtifact": target }).to_string()
    }

    /// The protected header of an honest JWS with further members in front, as JSON.
    pub(crate) fn header(algorithm: &str, critical: &[&str], further: &str) -> String {
        let mut all = vec![SCHEME];
        all.extend(critical);
        let all = serde_json::json!(all);
        format!(
            r#"{{{further}"alg":"{algorithm}","crit":{all},"cty":"{CONTENT_TYPE}","{SCHEME}":"notary.x509","{TIME}":"2025-01-01T00:00:00Z"}}"#
        )
    }

    /// A JWS whose signature verifies, whatever header and payload say; `further` members come first.
    pub(crate) fn jws(&self, header: &str, payload: &str, further: &str) -> Result<Vec<u8>> {
        let (protected, payload) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(format!("{protected}.{payload}").as_bytes())?);
        let chain: Vec<String> = self.chain.iter().map(|c| STANDARD.encode(c)).collect();
        let unprotected = serde_json::json!({ "x5c": chain });
        Ok(format!(
            r#"{{{further}"payload":"{payload}","protected":"{protected}","header":{unprotected},"signature":"{signature}"}}"#
        )
        .into_bytes())
    }

    /// The entries of the protected header of an honest COSE_Sign1.
    pub(crate) fn labels(algorithm: i64) -> Vec<(Vec<u8>, Vec<u8>)> {
        vec![
            (cbor::int(1), cbor::int(algorithm)),
            (cbor::int(2), cbor::array(&[cbor::text(SCHEME)])),
            (cbor::int(3), cbor::text(CONTENT_TYPE)),
            (cbor::text(TIME), cbor::time(SIGNED_AT)),
            (cbor::text(SCHEME), cbor::text("notary.x509")),
        ]
    }

    /// A COSE_Sign1 whose signature verifies, whatever header and payload say.
    pub(crate) fn cose(
        &self,
        protected: &[u8],
        payload: &str,
        further: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<Vec<u8>> {
        let signature = self.sign(&cbor::to_be_signed(protected, payload.as_bytes()))?;
        let chain: Vec<Vec<u8>> = self.chain.iter().map(|c| cbor::bytes(c)).collect();
        let unprotected = [&[(cbor::int(33), cbor::array(&chain))], further].concat();
        Ok(cbor::sign1(protected, cbor::map(&unprotected), payload.as_bytes(), &signature))
    }

    /// Stores an envelope as a signature of the image; returns the digest of its manifest.
    pub(crate) fn store(&self, media_type: &str, envelope: &[u8]) -> Result<String> {
        let mut manifest = self.manifest.clone();
        let (digest, size) = self.write(envelope)?;
        manifest["layers"][0] = serde_json::json!({"mediaType": media_type, "digest": digest, "size": size});
        let (digest, size) = self.write(manifest.to_string().as_bytes())?;
        let mut index = read(&self.layout.join("index.json"))?;
        let entry = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.cncf.notary.signature",
            "digest": digest, "size": size,
        });
        index["manifests"].as_array_mut().context("an index lists manifests")?.push(entry);
        std::fs::write(self.layout.join("index.json"), index.to_string())?;
        Ok(digest)
    }

    fn write(&self, content: &[u8]) -> Result<(String, usize)> {
        let digest = prokura_registry::Digest::sha256(content).to_string();
        std::fs::write(blob(&self.layout, &digest), content)?;
        Ok((digest, content.len()))
    }

    fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>> {
        Ok(self.key.sign(&SystemRandom::new(), to_be_signed)?.as_ref().to_vec())
    }
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}
