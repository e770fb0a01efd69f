//! Certificates of a key. KMS keeps none: a file, ACM, Private CA, Secrets Manager or S3 does, as config says.

mod source;

use std::io::Read as _;
use std::path::Path;

use prokura_plugin::{CertificateChain, Deadline, Error, Scope};

use crate::error::Doing;
use crate::limits::CERTIFICATE_BYTES_MAX;
use crate::vault::attempts::Attempts;
use crate::vault::{Session, Vault};

pub(crate) use source::Source;

/// Reads the certificates a source holds, in its order.
///
/// # Errors
/// `VALIDATION_ERROR` if there are none or they are no certificates; else what AWS says, naming the permission.
pub(crate) fn fetch(vault: &Vault, session: &Session, source: &Source) -> Result<CertificateChain, Error> {
    let pem = match source {
        Source::File(path) => file(path)?,
        Source::Acm { arn, region } => acm(vault, session, arn, region)?,
        Source::PrivateCa { authority, arn, region } => private_ca(vault, session, authority, arn, region)?,
        Source::Secret { arn, region } => secret(vault, session, arn, region)?,
        Source::Object { bucket, key, version, region } => {
            object(vault, session, bucket, key, version.as_deref(), region.as_deref())?
        }
    };
    let refuse = |why: String| {
        Error::validation(format!("plugin config \"certificate\" ({source}): {why}")).with_scope(Scope::Key)
    };
    let chain = CertificateChain::from_pem(&pem).map_err(|e| refuse(e.to_string()))?;
    if chain.certificates().is_empty() {
        return Err(refuse("holds no certificate in PEM".to_owned()));
    }
    Ok(chain)
}

fn file(path: &Path) -> Result<Vec<u8>, Error> {
    let refuse = |why: String| Error::validation(format!("certificate file {}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| refuse(e.to_string()))?;
    if !file.metadata().map_err(|e| refuse(e.to_string()))?.is_file() {
        return Err(refuse("is no regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    let limit = CERTIFICATE_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|e| refuse(e.to_string()))?;
    bounded(bytes, || path.display().to_string())
}

fn acm(vault: &Vault, session: &Session, arn: &str, region: &str) -> Result<Vec<u8>, Error> {
    let client = aws_sdk_acm::Client::new(&session.sdk(Some(region)));
    let attempts = Attempts::none();
    let call = client.get_certificate().certificate_arn(arn).customize().interceptor(attempts.clone()).send();
    let doing = doing("acm:GetCertificate", arn);
    let answer = vault.call(session, &doing, Deadline::NONE, &attempts, call)?;
    Ok(joined(answer.certificate, answer.certificate_chain))
}

fn private_ca(
    vault: &Vault,
    session: &Session,
    authority: &str,
    arn: &str,
    region: &str,
) -> Result<Vec<u8>, Error> {
    let client = aws_sdk_acmpca::Client::new(&session.sdk(Some(region)));
    let attempts = Attempts::none();
    let request = client.get_certificate().certificate_authority_arn(authority).certificate_arn(arn);
    let call = request.customize().interceptor(attempts.clone()).send();
    let doing = doing("acm-pca:GetCertificate", authority);
    let answer = vault.call(session, &doing, Deadline::NONE, &attempts, call)?;
    Ok(joined(answer.certificate, answer.certificate_chain))
}

fn secret(vault: &Vault, session: &Session, arn: &str, region: &str) -> Result<Vec<u8>, Error> {
    let client = aws_sdk_secretsmanager::Client::new(&session.sdk(Some(region)));
    let attempts = Attempts::none();
    let call = client.get_secret_value().secret_id(arn).customize().interceptor(attempts.clone()).send();
    let doing = doing("secretsmanager:GetSecretValue", arn);
    let answer = vault.call(session, &doing, Deadline::NONE, &attempts, call)?;
    let text = answer.secret_string.map(String::into_bytes);
    let bytes = text.or_else(|| answer.secret_binary.map(aws_sdk_kms::primitives::Blob::into_inner));
    bounded(bytes.unwrap_or_default(), || arn.to_owned())
}

fn object(
    vault: &Vault,
    session: &Session,
    bucket: &str,
    key: &str,
    version: Option<&str>,
    region: Option<&str>,
) -> Result<Vec<u8>, Error> {
    let client = aws_sdk_s3::Client::new(&session.sdk(region));
    let attempts = Attempts::none();
    let request = client.get_object().bucket(bucket).key(key).set_version_id(version.map(str::to_owned));
    let call = request.customize().interceptor(attempts.clone()).send();
    let arn = format!("arn:aws:s3:::{bucket}/{key}");
    let action = if version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
    let doing = doing(action, &arn);
    let mut body = vault.call(session, &doing, Deadline::NONE, &attempts, call)?.body;
    let read = async {
        let mut bytes = Vec::new();
        while let Some(part) = body.next().await {
            bytes.extend_from_slice(&part.map_err(|e| broken(&arn, &e))?);
            if bytes.len() > CERTIFICATE_BYTES_MAX {
                break;
            }
        }
        Ok::<_, Error>(bytes)
    };
    bounded(vault.runtime()?.block_on(read)?, || arn.clone())
}

fn broken(arn: &str, error: &dyn std::error::Error) -> Error {
    Error::internal(format!("cannot read {arn} to its end: {error}; a retry may help"))
        .with_scope(Scope::Vault)
        .retryable(true)
}

fn doing<'a>(action: &'static str, arn: &'a str) -> Doing<'a> {
    Doing { what: format!("read the certificate {arn}"), action, resource: arn }
}

fn joined(certificate: Option<String>, chain: Option<String>) -> Vec<u8> {
    let parts = [certificate, chain];
    parts.into_iter().flatten().flat_map(|pem| [pem, "\n".to_owned()]).collect::<String>().into_bytes()
}

fn bounded(bytes: Vec<u8>, name: impl FnOnce() -> String) -> Result<Vec<u8>, Error> {
    if bytes.len() <= CERTIFICATE_BYTES_MAX {
        return Ok(bytes);
    }
    let name = name();
    Err(Error::validation(format!(
        "{name} has more than {CERTIFICATE_BYTES_MAX} bytes, expected certificates in PEM"
    )))
}
