//! What must hold of an answer that is none of an error: the key id comes back, algorithm and chain belong to the key,
//! the signature verifies.

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use prokura_envelope::certificate::{Certificate, check_code_signing_chain};
use prokura_plugin::message::{GenerateSignatureRequest, Metadata};
use prokura_plugin::{CertificateChain, KeyId, KeySpec, PublicKey, RawSignature};
use prokura_proto::plugin::v1::{DescribeKeyResponse, GetMetadataResponse, SignDigestResponse};
use prokura_signer::checks;

use super::socket::Serving;
use super::{PAYLOAD, Subject, Verdict, outcome};

/// An answer over stdio.
pub(super) fn of_answer(
    command: &str,
    stdout: &[u8],
    subject: &Subject,
    request: &[u8],
    spec: KeySpec,
) -> Result<()> {
    let key_id = KeyId::new(&subject.key_id)?;
    match command {
        "get-plugin-metadata" => {
            checks::metadata(stdout, &subject.name()?.parse()?)?;
        }
        "describe-key" => {
            let found = checks::describe_key(stdout, &key_id)?;
            ensure!(found == spec, "keySpec is {found}, it was {spec} before");
        }
        "generate-signature" => {
            let answer = checks::generate_signature(stdout, &key_id, spec)?;
            let request: GenerateSignatureRequest =
                prokura_plugin::json::read_object(request).map_err(anyhow::Error::msg)?;
            verifies(&answer.chain, &request.payload.0, &answer.signature)?;
        }
        other => anyhow::bail!("the kit knows no command {other:?} that succeeds"),
    }
    Ok(())
}

/// An answer of `GetMetadata`.
pub(super) fn of_metadata(answer: GetMetadataResponse, name: &str) -> Result<()> {
    let metadata = Metadata {
        name: answer.name,
        description: answer.description,
        version: answer.version,
        url: answer.url,
        supported_contract_versions: answer.supported_contract_versions,
        capabilities: answer.capabilities,
    };
    checks::metadata(&serde_json::to_vec(&metadata)?, &name.parse()?)?;
    Ok(())
}

/// An answer of `DescribeKey`.
pub(super) fn of_description(answer: &DescribeKeyResponse, subject: &Subject, spec: KeySpec) -> Result<()> {
    ensure!(answer.key_id == subject.key_id, "key_id is {:?}, expected {:?}", answer.key_id, subject.key_id);
    ensure!(answer.key_spec == spec.as_str(), "key_spec is {:?}, expected {spec}", answer.key_spec);
    let key = PublicKey::from_spki_der(&answer.public_key)?;
    ensure!(key.spec() == spec, "public_key is an {} key, key_spec says {spec}", key.spec());
    if let Some(leaf) = answer.certificate_chain.first() {
        ensure!(Certificate::from_der(leaf)?.public_key()? == key, "the leaf does not hold public_key");
    }
    Ok(())
}

/// An answer of `SignDigest` over the digest of the kit's payload.
pub(super) fn of_signature(
    answer: &SignDigestResponse,
    described: &DescribeKeyResponse,
    subject: &Subject,
    spec: KeySpec,
) -> Result<()> {
    ensure!(answer.key_id == subject.key_id, "key_id is {:?}, expected {:?}", answer.key_id, subject.key_id);
    let (found, expected) = (&answer.signing_algorithm, spec.signing_algorithm());
    ensure!(found == expected.as_str(), "signing_algorithm is {found:?}, expected {expected}");
    let signature = RawSignature::from_fixed_width(spec, answer.signature.clone())?;
    ensure!(answer.public_key == described.public_key, "another key signed than DescribeKey tells");
    let key = PublicKey::from_spki_der(&answer.public_key)?;
    verify(&key, PAYLOAD, &signature).context("under public_key")?;
    verifies(&CertificateChain::from_der(described.certificate_chain.clone())?, PAYLOAD, &signature)
}

/// The chain is complete and in order, may sign code, and its leaf verifies the signature.
fn verifies(chain: &CertificateChain, payload: &[u8], signature: &RawSignature) -> Result<()> {
    let chain: Vec<Certificate> =
        chain.certificates().iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?;
    let leaf = chain.first().context("there is no certificate, expected leaf first and root last")?;
    check_code_signing_chain(&chain, None)?;
    verify(&leaf.public_key()?, payload, signature).context("under the leaf certificate")
}

fn verify(key: &PublicKey, payload: &[u8], signature: &RawSignature) -> Result<()> {
    let algorithm: &'static dyn VerificationAlgorithm = match key.spec() {
        KeySpec::Rsa2048 => &RSA_PSS_2048_8192_SHA256,
        KeySpec::Rsa3072 => &RSA_PSS_2048_8192_SHA384,
        KeySpec::Rsa4096 => &RSA_PSS_2048_8192_SHA512,
        KeySpec::Ec256 => &ECDSA_P256_SHA256_FIXED,
        KeySpec::Ec384 => &ECDSA_P384_SHA384_FIXED,
        KeySpec::Ec521 => &ECDSA_P521_SHA512_FIXED,
    };
    let verified = UnparsedPublicKey::new(algorithm, key.key_bits()).verify(payload, signature.bytes());
    verified.map_err(|_| anyhow::anyhow!("the signature does not verify"))
}

/// What no single call shows: the socket is its owner's alone, the plugin says that it is well, and it ends with 0
/// when its stdin is closed.
pub(super) fn of_process(serving: Serving) -> Vec<Verdict> {
    let mode = serving.socket_mode().and_then(|mode| {
        ensure!(mode == 0o600, "the socket has mode {mode:04o}, expected 0600");
        Ok(())
    });
    let health = serving.health();
    let stopped = serving.stop().and_then(|code| {
        ensure!(code == Some(0), "it ended with {code:?}, expected 0");
        Ok(())
    });
    let verdict = |rule: &str, comment: &str, result: Result<()>| Verdict {
        rule: rule.to_owned(),
        vector: format!("kit-{rule}").to_lowercase(),
        comment: comment.to_owned(),
        side: "grpc",
        outcome: outcome(result),
    };
    vec![
        verdict("GRPC-8", "the socket has mode 0600", mode),
        verdict("GRPC-10", "it ends with 0 when its stdin is closed", stopped),
        verdict("GRPC-14", "the health service answers SERVING", health),
    ]
}
