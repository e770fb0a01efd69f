//! Where a key's certificates come from: plugin config `certificates`.

use prokura_plugin::{Error, VaultRequest};

use crate::config::check_path;
use crate::limits::CERTIFICATE_SOURCES_MAX;

/// Name of the field of a KV secret, unless another is named.
const DEFAULT_FIELD: &str = "certificate_chain";

/// One place in the vault that holds certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CertificateSource {
    /// The key itself: what `set-certificate` stored with its version.
    Transit,
    /// A secret in a KV engine, version 1 or 2.
    Kv {
        /// The path as it stands in a policy: `secret/data/release` for version 2.
        path: String,
        /// The field that holds PEM.
        field: String,
    },
    /// An issuer or a certificate of a PKI engine.
    Pki {
        /// `MOUNT/issuer/NAME` or `MOUNT/cert/SERIAL`.
        path: String,
    },
}

impl CertificateSource {
    /// The sources a request names; [`CertificateSource::Transit`] alone if it names none.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming the entry.
    pub(crate) fn read(request: &VaultRequest) -> Result<Vec<Self>, Error> {
        let Some(text) = request.config_optional("certificates") else { return Ok(vec![Self::Transit]) };
        let sources = text.split(',').map(|part| Self::parse(part.trim())).collect::<Result<Vec<_>, _>>()?;
        if sources.len() > CERTIFICATE_SOURCES_MAX {
            return Err(Error::validation(format!(
                "plugin config certificates names {} sources, at most {CERTIFICATE_SOURCES_MAX} are allowed",
                sources.len()
            )));
        }
        Ok(sources)
    }

    /// The path that is read, as it stands in a policy; none for the key itself, which has been read already.
    pub(crate) fn api_path(&self) -> Option<String> {
        match self {
            Self::Transit => None,
            Self::Kv { path, .. } => Some(path.clone()),
            Self::Pki { path } if path.contains("/issuer/") => Some(format!("{path}/json")),
            Self::Pki { path } => Some(path.clone()),
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let source = match text.split_once(':') {
            None if text == "transit" => Some(Self::Transit),
            Some(("kv", rest)) => {
                let (path, field) = rest.split_once('#').unwrap_or((rest, DEFAULT_FIELD));
                Some(Self::Kv { path: path.to_owned(), field: field.to_owned() })
            }
            Some(("pki", path)) if is_pki(path) => Some(Self::Pki { path: path.to_owned() }),
            _ => None,
        };
        let source = source.ok_or_else(|| {
            Error::validation(format!(
                "plugin config certificates has {text:?}, expected transit, kv:PATH#FIELD (as in kv:secret/data/release), \
                 pki:MOUNT/issuer/NAME or pki:MOUNT/cert/SERIAL"
            ))
        })?;
        if let Self::Kv { path, .. } | Self::Pki { path } = &source {
            check_path(path)?;
        }
        Ok(source)
    }
}

fn is_pki(path: &str) -> bool {
    let mut segments = path.rsplitn(3, '/').skip(1);
    matches!(segments.next(), Some("issuer" | "cert"))
        && segments.next().is_some_and(|mount| !mount.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_policies() {
        for (text, path) in [
            ("kv:secret/data/release", "secret/data/release"),
            ("kv:teams/a/kv/data/release#pem", "teams/a/kv/data/release"),
            ("pki:pki/issuer/default", "pki/issuer/default/json"),
            ("pki:a/pki/cert/17:67:16:b0", "a/pki/cert/17:67:16:b0"),
        ] {
            assert_eq!(CertificateSource::parse(text).unwrap().api_path().unwrap(), path);
        }
        let kv = CertificateSource::parse("kv:secret/data/release#pem").unwrap();
        assert_eq!(kv, CertificateSource::Kv { path: "secret/data/release".into(), field: "pem".into() });
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for bad in [
            "",
            "Transit",
            "kv:",
            "kv:/a",
            "kv:a/../b",
            "kv:a?b",
            "pki:pki",
            "pki:issuer/x",
            "pki:/issuer/x",
            "file:a",
        ] {
            assert!(CertificateSource::parse(bad).is_err(), "{bad}");
        }
    }
}
