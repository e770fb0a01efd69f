//! Names of places that hold certificates: an ARN, `s3://BUCKET/KEY`, or a file.

use std::fmt;
use std::path::PathBuf;

use prokura_plugin::Error;

/// Where the certificate of a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A PEM file.
    File(PathBuf),
    /// A certificate in ACM.
    Acm { arn: String, region: String },
    /// A certificate issued by a private CA.
    PrivateCa { authority: String, arn: String, region: String },
    /// A secret whose value is PEM.
    Secret { arn: String, region: String },
    /// An object in S3 that is PEM.
    Object { bucket: String, key: String, version: Option<String>, region: Option<String> },
}

impl Source {
    /// Reads plugin config `certificate`.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` saying which forms there are.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let found = match text.split_once(':') {
            Some(("arn", _)) => from_arn(text),
            Some(("s3", rest)) => rest.strip_prefix("//").and_then(object),
            Some(("file", path)) if path.starts_with('/') => Some(Self::File(path.into())),
            _ if text.starts_with('/') => Some(Self::File(text.into())),
            _ => None,
        };
        found.ok_or_else(|| {
            Error::validation(format!(
                "plugin config \"certificate\" is {text:?}, expected the ARN of a certificate in ACM \
                 (arn:aws:acm:…:certificate/…) or issued by a private CA \
                 (arn:aws:acm-pca:…:certificate-authority/…/certificate/…), of a secret (arn:aws:secretsmanager:…), \
                 s3://BUCKET/KEY, or an absolute file name"
            ))
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Acm { arn, .. } | Self::PrivateCa { arn, .. } | Self::Secret { arn, .. } => {
                f.write_str(arn)
            }
            Self::Object { bucket, key, .. } => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

fn from_arn(arn: &str) -> Option<Source> {
    let mut parts = arn.splitn(6, ':');
    let (_, _, service) = (parts.next()?, parts.next()?, parts.next()?);
    let region = parts.next().filter(|r| !r.is_empty())?.to_owned();
    let (_, resource) = (parts.next()?, parts.next()?);
    let arn = arn.to_owned();
    match service {
        "acm" if resource.starts_with("certificate/") => Some(Source::Acm { arn, region }),
        "acm-pca" => {
            let (authority, _) = arn.split_once("/certificate/")?;
            let authority = authority.to_owned();
            resource.starts_with("certificate-authority/").then_some(Source::PrivateCa {
                authority,
                arn,
                region,
            })
        }
        "secretsmanager" if resource.starts_with("secret:") => Some(Source::Secret { arn, region }),
        _ => None,
    }
}

/// `BUCKET/KEY[?region=REGION&version=ID]`.
fn object(text: &str) -> Option<Source> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let (bucket, key) = path.split_once('/')?;
    let (mut version, mut region) = (None, None);
    for entry in query.split('&').filter(|e| !e.is_empty()) {
        match entry.split_once('=')? {
            ("region", value) => region = Some(value.to_owned()),
            ("version", value) => version = Some(value.to_owned()),
            _ => return None,
        }
    }
    let is_named = !bucket.is_empty() && !key.is_empty();
    is_named.then(|| Source::Object { bucket: bucket.to_owned(), key: key.to_owned(), version, region })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_has_its_form() {
        let authority = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/1a2b";
        let issued = format!("{authority}/certificate/77");
        let private = Source::PrivateCa {
            authority: authority.to_owned(),
            arn: issued.clone(),
            region: "eu-west-1".to_owned(),
        };
        assert_eq!(Source::parse(&issued).unwrap(), private);
        let acm = "arn:aws:acm:us-east-1:111122223333:certificate/1a2b";
        assert!(matches!(Source::parse(acm).unwrap(), Source::Acm { region, .. } if region == "us-east-1"));
        let secret = "arn:aws:secretsmanager:us-east-1:111122223333:secret:chain-AbCdEf";
        assert!(matches!(Source::parse(secret).unwrap(), Source::Secret { .. }));
        let object = Source::parse("s3://bucket/a/b.pem?region=eu-west-1&version=3").unwrap();
        let expected = Source::Object {
            bucket: "bucket".to_owned(),
            key: "a/b.pem".to_owned(),
            version: Some("3".to_owned()),
            region: Some("eu-west-1".to_owned()),
        };
        assert_eq!(object, expected);
        for file in ["/etc/chain.pem", "file:/etc/chain.pem"] {
            assert_eq!(Source::parse(file).unwrap(), Source::File("/etc/chain.pem".into()));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "chain.pem",
            "arn:aws:iam::111122223333:server-certificate/x",
            "arn:aws:acm::111122223333:certificate/x",
            "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/1a2b",
            "s3://bucket",
            "s3:///key",
            "s3://bucket/key?acl=x",
            "https://example/chain.pem",
        ] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }
}
