//! Revocation, as far as it goes without a network: a certificate that names no place to ask cannot be revoked.
//!
//! A certificate that names one cannot be checked by this version, and that is a failure: enforced or shown, never
//! passed over. The root is not asked about: it is trusted or not.

use prokura_envelope::certificate::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5912::ID_AD_OCSP;
use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, CrlDistributionPoints};

use super::Evidence;
use crate::reason::Reason;

impl Evidence<'_> {
    pub(super) fn judge_revocation(&self) -> Vec<Reason> {
        let below_root = self.content.chain.split_last().map_or(&[][..], |(_, rest)| rest);
        let unchecked = |c: &Certificate| {
            let sources = sources(c)?;
            Some(Reason::RevocationUnchecked { subject: c.subject(), sources: sources.to_owned() })
        };
        below_root.iter().filter_map(unchecked).collect()
    }
}

/// What a certificate names to ask about its revocation. What cannot be read counts as named.
fn sources(certificate: &Certificate) -> Option<&'static str> {
    let Ok(parsed) = x509_cert::Certificate::from_der(certificate.der()) else {
        return Some("something that cannot be read");
    };
    let tbs = parsed.tbs_certificate();
    let ocsp = match tbs.get_extension::<AuthorityInfoAccessSyntax>() {
        Ok(access) => access.is_some_and(|(_, a)| a.0.iter().any(|d| d.access_method == ID_AD_OCSP)),
        Err(_) => true,
    };
    let crl = !matches!(tbs.get_extension::<CrlDistributionPoints>(), Ok(None));
    match (ocsp, crl) {
        (true, true) => Some("an OCSP responder and a CRL distribution point"),
        (true, false) => Some("an OCSP responder"),
        (false, true) => Some("a CRL distribution point"),
        (false, false) => None,
    }
}
