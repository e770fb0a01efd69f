//! Who signed: the chain holds a certificate of a trust store, and the leaf is a trusted identity.
//!
//! Both parts are always judged, so that a wrong identity does not hide a broken trust store.

use prokura_envelope::SigningScheme;
use prokura_envelope::certificate::Certificate;

use super::Evidence;
use crate::identity::{DistinguishedName, TrustedIdentity};
use crate::policy::StoreReference;
use crate::reason::Reason;
use crate::store::StoreType;

impl Evidence<'_> {
    pub(super) fn judge_authenticity(&self) -> Vec<Reason> {
        let mut reasons = self.judge_trust();
        reasons.extend(self.judge_identity().err());
        reasons
    }

    /// Any certificate of the chain equal, byte for byte, to any trusted one will do: the chain itself is verified.
    fn judge_trust(&self) -> Vec<Reason> {
        let store_type = match self.content.scheme {
            SigningScheme::X509 => StoreType::Ca,
            SigningScheme::X509SigningAuthority => StoreType::SigningAuthority,
        };
        let stores = self.stores(store_type);
        if stores.is_empty() {
            return vec![Reason::NoTrustStore {
                statement: self.input.statement.name().to_owned(),
                store_type: store_type.as_str(),
                scheme: self.content.scheme.as_str(),
            }];
        }
        let (mut trusted, mut reasons) = (false, Vec::new());
        for store in &stores {
            match self.input.store.certificates(store_type, &store.name) {
                Ok(certificates) => trusted |= certificates.iter().any(|c| self.content.chain.contains(c)),
                Err(error) => reasons.push(Reason::TrustStore(error.to_string())),
            }
        }
        if !trusted && reasons.is_empty() {
            let root = self.content.chain.last().map(Certificate::subject).unwrap_or_default();
            let stores = stores.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            reasons.push(Reason::Untrusted { root, stores });
        }
        reasons
    }

    fn judge_identity(&self) -> Result<(), Reason> {
        let statement = self.input.statement;
        let identities = statement.trusted_identities();
        if identities.contains(&TrustedIdentity::Anyone) {
            return Ok(());
        }
        let mut names = identities.iter().filter_map(TrustedIdentity::subject).peekable();
        if names.peek().is_none() {
            return Err(Reason::NoX509Identities { statement: statement.name().to_owned() });
        }
        let leaf = self.content.chain.first().ok_or_else(|| Reason::SubjectUnusable("no leaf".to_owned()))?;
        let subject = DistinguishedName::subject_of(leaf);
        let subject = subject.map_err(|e| Reason::SubjectUnusable(e.to_string()))?;
        if names.any(|name| name.is_subset_of(&subject)) {
            return Ok(());
        }
        Err(Reason::IdentityNotTrusted {
            subject: leaf.subject(),
            identities: identities
                .iter()
                .map(|i| format!("{:?}", i.to_string()))
                .collect::<Vec<_>>()
                .join(" "),
            statement: statement.name().to_owned(),
        })
    }

    /// The statement's stores of one type, each once.
    pub(super) fn stores(&self, store_type: StoreType) -> Vec<&StoreReference> {
        let mut stores: Vec<&StoreReference> = Vec::new();
        for store in self.input.statement.trust_stores().iter().filter(|s| s.store_type == store_type) {
            if !stores.contains(&store) {
                stores.push(store);
            }
        }
        stores
    }
}
