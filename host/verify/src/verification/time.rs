//! When it was signed: expiry of the signature, and validity of the certificates at a time somebody vouches for.

use prokura_envelope::SigningScheme;

use super::Evidence;
use crate::limits::SIGNING_TIME_AHEAD_SECONDS_MAX;
use crate::policy::VerifyTimestamp;
use crate::reason::Reason;
use crate::store::StoreType;

impl Evidence<'_> {
    pub(super) fn judge_expiry(&self) -> Vec<Reason> {
        let expired = self.content.expiry.filter(|expiry| self.input.now >= *expiry);
        expired.map(|at| Reason::Expired { at }).into_iter().collect()
    }

    pub(super) fn judge_authentic_timestamp(&self) -> Vec<Reason> {
        match self.content.scheme {
            SigningScheme::X509SigningAuthority => self.judge_authentic_signing_time().into_iter().collect(),
            SigningScheme::X509 if self.needs_timestamp() => self.refuse_timestamp(),
            SigningScheme::X509 => self.judge_validity_now().into_iter().collect(),
        }
    }

    /// Under the signing authority scheme the signed time is authentic.
    fn judge_authentic_signing_time(&self) -> Option<Reason> {
        let Some(at) = self.content.authentic_signing_time else {
            return Some(Reason::NoAuthenticSigningTime);
        };
        let now = self.input.now;
        if at.as_second().saturating_sub(now.as_second()) > SIGNING_TIME_AHEAD_SECONDS_MAX {
            return Some(Reason::SignedInFuture { at, now });
        }
        let outside = self.content.chain.iter().find(|c| at < c.not_before() || at > c.not_after());
        outside.map(|c| Reason::NotValidWhenSigned { subject: c.subject(), at })
    }

    /// A timestamp matters only if the statement names a `tsa` store, and under `afterCertExpiry` only if a
    /// certificate has expired meanwhile.
    fn needs_timestamp(&self) -> bool {
        let expired = || self.content.chain.iter().any(|c| self.input.now > c.not_after());
        match self.input.statement.verify_timestamp() {
            _ if !self.input.statement.names_tsa_store() => false,
            VerifyTimestamp::Always => true,
            VerifyTimestamp::AfterCertExpiry => expired(),
        }
    }

    /// Both reasons are given: who adds the missing timestamp must not find out afterwards that it is of no use here.
    fn refuse_timestamp(&self) -> Vec<Reason> {
        let stores = self.stores(StoreType::Tsa);
        let not_verified = Reason::TimestampsNotVerified {
            statement: self.input.statement.name().to_owned(),
            stores: stores.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let missing = self.content.timestamp_token.is_none().then_some(Reason::NoTimestamp);
        missing.into_iter().chain([not_verified]).collect()
    }

    /// Without a timestamp nobody vouches for an earlier time: every certificate must be valid now.
    fn judge_validity_now(&self) -> Option<Reason> {
        let now = self.input.now;
        self.content.chain.iter().find_map(|c| {
            if now < c.not_before() {
                Some(Reason::NotYetValid { subject: c.subject(), from: c.not_before() })
            } else if now > c.not_after() {
                Some(Reason::CertificateExpired { subject: c.subject(), at: c.not_after() })
            } else {
                None
            }
        })
    }
}
