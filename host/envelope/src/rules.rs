//! Rules for signed attributes that hold in both formats: what must be there, what must be critical.
//!
//! Source: Notary Project signature specification, "Signed Attributes"; RFC 7515 section 4.1.11; RFC 9052 section 3.1.

use jiff::Timestamp;

use crate::attribute::{AttributeKey, AttributeValue, ExtendedAttribute, SigningScheme};
use crate::error::Error;
use crate::header::{AUTHENTIC_SIGNING_TIME, EXPIRY, SIGNING_SCHEME, SIGNING_TIME};
use crate::limits::EXTENDED_ATTRIBUTES_MAX;

/// Signed attributes as found in a header, before any rule.
pub(crate) struct Found {
    /// Text of the signing scheme.
    pub(crate) scheme: String,
    pub(crate) signing_time: Option<Timestamp>,
    pub(crate) authentic_signing_time: Option<Timestamp>,
    pub(crate) expiry: Option<Timestamp>,
    /// The critical list in its order.
    pub(crate) critical: Vec<AttributeKey>,
    /// Everything the formats do not define.
    pub(crate) others: Vec<(AttributeKey, AttributeValue)>,
    /// What the critical list may name beside [`Found::others`] and what the specification demands.
    pub(crate) may_be_critical: Vec<AttributeKey>,
}

/// Signed attributes that keep the rules.
pub(crate) struct Checked {
    pub(crate) scheme: SigningScheme,
    pub(crate) extended: Vec<ExtendedAttribute>,
}

pub(crate) fn check(found: Found) -> Result<Checked, Error> {
    let scheme = SigningScheme::from_wire(&found.scheme).ok_or_else(|| {
        let known = "expected notary.x509 or notary.x509.signingAuthority";
        broken(SIGNING_SCHEME, format!("{:?} is not supported, {known}", crate::quoted(&found.scheme)))
    })?;
    check_times(scheme, &found)?;
    for (name, len) in [("crit", found.critical.len()), ("header", found.others.len())] {
        if len > EXTENDED_ATTRIBUTES_MAX {
            return Err(broken(
                name,
                format!("has {len} entries, at most {EXTENDED_ATTRIBUTES_MAX} are read"),
            ));
        }
    }
    check_critical(scheme, &found)?;
    let critical = found.critical;
    let extended = found.others.into_iter().map(|(key, value)| {
        let critical = critical.contains(&key);
        ExtendedAttribute { key, critical, value }
    });
    let mut extended: Vec<_> = extended.collect();
    extended.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Checked { scheme, extended })
}

pub(crate) fn broken(name: &str, problem: impl Into<String>) -> Error {
    Error::Attribute { name: crate::quoted(name), problem: problem.into() }
}

/// Attributes of a scheme that must be in the critical list, in the order in which they are written.
pub(crate) fn mandatory_critical(scheme: SigningScheme, has_expiry: bool) -> Vec<&'static str> {
    let authentic = (scheme == SigningScheme::X509SigningAuthority).then_some(AUTHENTIC_SIGNING_TIME);
    let expiry = has_expiry.then_some(EXPIRY);
    [Some(SIGNING_SCHEME), authentic, expiry].into_iter().flatten().collect()
}

fn check_times(scheme: SigningScheme, found: &Found) -> Result<(), Error> {
    let (required, forbidden) = match scheme {
        SigningScheme::X509 => {
            ((SIGNING_TIME, found.signing_time), (AUTHENTIC_SIGNING_TIME, found.authentic_signing_time))
        }
        SigningScheme::X509SigningAuthority => {
            ((AUTHENTIC_SIGNING_TIME, found.authentic_signing_time), (SIGNING_TIME, found.signing_time))
        }
    };
    if required.1.is_none() {
        return Err(broken(required.0, format!("is missing, the signing scheme {scheme} requires it")));
    }
    if forbidden.1.is_some() {
        return Err(broken(forbidden.0, format!("must not be present under the signing scheme {scheme}")));
    }
    Ok(())
}

fn check_critical(scheme: SigningScheme, found: &Found) -> Result<(), Error> {
    if found.critical.is_empty() {
        return Err(broken("crit", "is missing or empty; it must list at least the signing scheme"));
    }
    let mandatory = mandatory_critical(scheme, found.expiry.is_some());
    for (at, key) in found.critical.iter().enumerate() {
        let known = key.as_text().is_some_and(|text| mandatory.contains(&text))
            || found.may_be_critical.contains(key)
            || found.others.iter().any(|(other, _)| other == key);
        if !known {
            let problem = "is listed as critical but not present, or must not be listed";
            return Err(broken(&key.to_string(), problem));
        }
        if found.critical.iter().take(at).any(|earlier| earlier == key) {
            return Err(broken(&key.to_string(), "is listed as critical twice"));
        }
    }
    for name in mandatory {
        if !found.critical.iter().any(|key| key.as_text() == Some(name)) {
            return Err(broken(name, "is not listed as critical"));
        }
    }
    Ok(())
}
