//! What Key Vault says of a key: by the key itself, or by its certificate.

use azure_core::time::OffsetDateTime;
use azure_security_keyvault_certificates::models::Certificate;
use azure_security_keyvault_keys::models::{CurveName, JsonWebKey, Key, KeyClientGetKeyOptions, KeyType};
use prokura_plugin::{Deadline, Error, KeyDetails, KeyId, KeySpec, KeyState, PublicKey, Scope};

use crate::certificate;
use crate::config::key_name::{Collection, KeyName};
use crate::error::{Operation, Refusal, shown};
use crate::vault::Connection;

/// What Key Vault says of one version of a key.
pub(crate) struct Described {
    pub(crate) version: Option<String>,
    pub(crate) public_key: PublicKey,
    pub(crate) details: KeyDetails,
    /// The certificate, where the description is the certificate's.
    pub(super) leaf: Option<Vec<u8>>,
}

/// Reads the key. Who may not read keys but certificates, as users of notation-azure-kv, gets it from the certificate.
pub(super) fn by_key(
    connection: &Connection,
    name: &KeyName,
    now: u64,
    deadline: Deadline,
    may_ask_certificate: bool,
) -> Result<Described, Error> {
    let read = read_key(connection, name, deadline)?;
    match read {
        Ok(key) => describe_key(connection, name, &key, now),
        Err(refusal) => {
            let refused = connection.refused(Operation::GetKey, name, refusal);
            let forbidden =
                refused.code == prokura_plugin::ErrorCode::AccessDenied && refused.scope == Some(Scope::Key);
            if !(forbidden && may_ask_certificate) {
                return Err(refused);
            }
            let certificate = KeyName { collection: Collection::Certificates, ..name.clone() };
            by_certificate(connection, &certificate, now, deadline).map_err(|_| refused)
        }
    }
}

/// Asks for a key, in the version that `name` says or the newest.
pub(crate) fn read_key(
    connection: &Connection,
    name: &KeyName,
    deadline: Deadline,
) -> Result<Result<Key, Refusal>, Error> {
    connection.try_call(deadline, async || {
        let options = KeyClientGetKeyOptions { key_version: name.version.clone(), ..Default::default() };
        connection.keys.get_key(&name.name, Some(options)).await?.into_model()
    })
}

/// What a key says of itself, if it can sign for Notary.
pub(crate) fn describe_key(
    connection: &Connection,
    name: &KeyName,
    key: &Key,
    now: u64,
) -> Result<Described, Error> {
    let refuse = |why: String| Error::validation(format!("key {name}: {why}")).with_scope(Scope::Key);
    let broken = |why: &str| Error::internal(format!("key {name}: Key Vault answered with {why}"));
    let jwk = key.key.as_ref().ok_or_else(|| broken("no key"))?;
    let version = jwk.kid.as_deref().and_then(version_of).ok_or_else(|| broken("a key without a version"))?;
    if name.version.as_deref().is_some_and(|asked| asked != version) {
        return Err(broken("another version than the one asked for"));
    }
    let operations = jwk.key_ops.as_deref().unwrap_or_default();
    if !operations.iter().any(|operation| operation == "sign") {
        let found = shown(&operations.join(", "));
        return Err(refuse(format!(
            "it may not sign, its key_ops are [{found}]; allow it with az keyvault key set-attributes --id {name} --ops sign \
             verify, or use another key"
        )));
    }
    let public_key = public_key(jwk).map_err(&refuse)?;
    let attributes = key.attributes.clone().unwrap_or_default();
    let kind = jwk.kty.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut details = details(connection, name, version, attributes.exportable, &kind);
    details.state = Some(state(attributes.enabled, attributes.not_before, attributes.expires, now));
    let times = [("notBefore", attributes.not_before), ("expires", attributes.expires)];
    details.attributes.extend(
        times.into_iter().filter_map(|(n, at)| Some((n.to_owned(), at?.unix_timestamp().to_string()))),
    );
    details
        .attributes
        .extend(attributes.hsm_platform.map(|platform| ("hsmPlatform".to_owned(), shown(&platform))));
    Ok(Described { version: Some(version.to_owned()), public_key, details, leaf: None })
}

/// What a certificate says of its key: enough to sign, with `certificates/get` and `keys/sign` alone.
pub(super) fn by_certificate(
    connection: &Connection,
    name: &KeyName,
    now: u64,
    deadline: Deadline,
) -> Result<Described, Error> {
    let found = certificate::read(connection, name, deadline)?;
    let refusal = match found {
        Ok(certificate) if certificate.cer.is_some() => {
            return describe_certificate(connection, name, certificate, now);
        }
        Ok(_) => None,
        Err(refusal) if refusal.is_not_found() && name.version.is_none() => Some(refusal),
        Err(refusal) => return Err(connection.refused(Operation::GetCertificate, name, refusal)),
    };
    // A certificate that is being issued is not there yet, but its key is.
    match (certificate::pending_key(connection, name, deadline)?, refusal) {
        (Some(public_key), _) => {
            let mut details = details(connection, name, "", None, "");
            (details.version, details.exact_key_id) = (None, None);
            details.state = Some(KeyState::Unavailable);
            Ok(Described { version: None, public_key, details, leaf: None })
        }
        (None, Some(refusal)) => Err(connection.refused(Operation::GetCertificate, name, refusal)),
        (None, None) => {
            Err(Error::internal(format!("certificate {name}: Key Vault answered with no certificate")))
        }
    }
}

fn describe_certificate(
    connection: &Connection,
    name: &KeyName,
    certificate: Certificate,
    now: u64,
) -> Result<Described, Error> {
    let broken = |why: &str| Error::internal(format!("certificate {name}: Key Vault answered with {why}"));
    let version = certificate.kid.as_deref().and_then(version_of).map(str::to_owned);
    let version = version.ok_or_else(|| broken("a certificate whose key has no version"))?;
    // For a version that does not exist, Key Vault has been seen to answer with the newest.
    if name.version.as_deref().is_some_and(|asked| asked != version) {
        return Err(Error::validation(format!(
            "certificate {name}: there is no such version, the newest is {version}"
        )));
    }
    let properties = certificate.policy.and_then(|policy| policy.key_properties);
    let exportable = properties.as_ref().and_then(|p| p.exportable);
    let kind = properties.and_then(|p| p.key_type).map(|kind| kind.to_string()).unwrap_or_default();
    let mut details = details(connection, name, &version, exportable, &kind);
    let attributes = certificate.attributes.unwrap_or_default();
    details.state = Some(state(attributes.enabled, attributes.not_before, attributes.expires, now));
    let leaf = certificate.cer.unwrap_or_default();
    let public_key = certificate::public_key(&leaf)
        .map_err(|why| Error::validation(format!("certificate {name}: {why}")))?;
    Ok(Described { version: Some(version), public_key, details, leaf: Some(leaf) })
}

fn details(
    connection: &Connection,
    name: &KeyName,
    version: &str,
    exportable: Option<bool>,
    kind: &str,
) -> KeyDetails {
    let details = KeyDetails {
        version: Some(version.to_owned()),
        exportable,
        label: Some(name.name.clone()),
        exact_key_id: KeyId::new(name.with_version(version).to_string()).ok(),
        ..KeyDetails::default()
    };
    let details =
        details.with("vault", connection.host.to_string()).with("credential", shown(&connection.source));
    if kind.is_empty() { details } else { details.with("kty", shown(kind)) }
}

/// Outside its time a key is as good as disabled.
fn state(
    enabled: Option<bool>,
    from: Option<OffsetDateTime>,
    until: Option<OffsetDateTime>,
    now: u64,
) -> KeyState {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let early = from.is_some_and(|from| from.unix_timestamp() > now);
    let late = until.is_some_and(|until| until.unix_timestamp() <= now);
    if enabled == Some(false) || early || late { KeyState::Disabled } else { KeyState::Enabled }
}

/// `https://VAULT/COLLECTION/NAME/VERSION`: the last part.
pub(super) fn version_of(identifier: &str) -> Option<&str> {
    identifier.split('/').nth(5).filter(|version| !version.is_empty())
}

/// The public half of a JSON web key (RFC 7517, RFC 7518 section 6).
fn public_key(jwk: &JsonWebKey) -> Result<PublicKey, String> {
    let number = |name: &str, bytes: &Option<Vec<u8>>| {
        bytes.clone().ok_or_else(|| format!("its public key has no {name}"))
    };
    match &jwk.kty {
        Some(KeyType::Rsa | KeyType::RsaHsm) => {
            PublicKey::from_rsa(&number("n", &jwk.n)?, &number("e", &jwk.e)?).map_err(|e| e.to_string())
        }
        Some(KeyType::Ec | KeyType::EcHsm) => {
            let (spec, width) = curve(jwk.crv.as_ref())?;
            let mut point = vec![4];
            for coordinate in [number("x", &jwk.x)?, number("y", &jwk.y)?] {
                let missing =
                    width.checked_sub(coordinate.len()).ok_or("its point is larger than its curve")?;
                point.extend(std::iter::repeat_n(0, missing));
                point.extend(coordinate);
            }
            PublicKey::from_ec_point(spec, &point).map_err(|e| e.to_string())
        }
        other => {
            let found = other.as_ref().map_or_else(|| "nothing".to_owned(), |kind| shown(kind.as_ref()));
            Err(format!("its kty is {found}; Notary signs with RSA, RSA-HSM, EC and EC-HSM keys"))
        }
    }
}

fn curve(name: Option<&CurveName>) -> Result<(KeySpec, usize), String> {
    match name {
        Some(CurveName::P256) => Ok((KeySpec::Ec256, 32)),
        Some(CurveName::P384) => Ok((KeySpec::Ec384, 48)),
        Some(CurveName::P521) => Ok((KeySpec::Ec521, 66)),
        other => {
            let found = other.map_or_else(|| "nothing".to_owned(), |curve| shown(curve.as_ref()));
            Err(format!("its curve is {found}; Notary signs with P-256, P-384 and P-521"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_that_lost_their_zeros_get_them_back() {
        let jwk = JsonWebKey {
            kty: Some(KeyType::EcHsm),
            crv: Some(CurveName::P521),
            x: Some(vec![1; 65]),
            y: Some(vec![2; 66]),
            ..JsonWebKey::default()
        };
        let key = public_key(&jwk).unwrap();
        assert_eq!((key.spec(), &key.key_bits()[..3]), (KeySpec::Ec521, &[4, 0, 1][..]));
        let too_wide = JsonWebKey { x: Some(vec![1; 67]), ..jwk };
        assert!(public_key(&too_wide).unwrap_err().contains("larger than its curve"));
    }

    #[test]
    fn keys_of_other_kinds_are_refused_by_name() {
        let key = |kty, crv| {
            public_key(&JsonWebKey {
                kty,
                crv,
                x: Some(vec![1; 32]),
                y: Some(vec![1; 32]),
                ..Default::default()
            })
        };
        assert!(key(Some(KeyType::Oct), None).unwrap_err().contains("kty is oct"));
        assert!(key(Some(KeyType::Ec), Some(CurveName::P256K)).unwrap_err().contains("curve is P-256K"));
        assert!(key(Some(KeyType::Rsa), None).unwrap_err().contains("no n"));
    }

    #[test]
    fn outside_its_time_a_key_is_disabled() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).ok();
        assert_eq!(state(Some(true), at(10), at(20), 10), KeyState::Enabled);
        assert_eq!(state(Some(true), at(10), at(20), 9), KeyState::Disabled);
        assert_eq!(state(Some(true), at(10), at(20), 20), KeyState::Disabled);
        assert_eq!(state(Some(false), None, None, 10), KeyState::Disabled);
        assert_eq!(state(None, None, None, 10), KeyState::Enabled);
    }
}
