//! Notary verification: trust store, trust policy, and the algorithm that decides whether a signature is trusted.
//!
//! No network, no clock, no environment: times and directories are arguments. Files are touched by [`store`] and by
//! loading and importing a [`policy`] only.
//!
//! Not yet verified here, and refused with that reason wherever a policy asks for it: timestamp countersignatures,
//! OCSP and CRL, verification plugins. Where the Notary Project specification and `notation` differ:
//!
//! | what | here |
//! |---|---|
//! | unknown critical attributes | refused, as the specification says |
//! | level `skip` for scope `*` or the global blob policy | refused, as the specification says |
//! | JSON members twice, misspelt in case only, or text behind the document | refused; `notation` takes them |
//! | a directory or symlink inside a named trust store | an error, as in `notation`; the specification ignores it |
//! | any file name in a trust store | read, as in `notation` |
//! | leaf subject with multi-valued RDNs | matches no identity but `*`; `notation` splits them |
//! | revocation of certificates that name no OCSP or CRL | passes, as in `notation` |
//! | trust stores named `.` or `..` | refused; the rule for names alone lets them pass |
//! | a timestamp where the statement names a `tsa` store, revocation where a certificate names OCSP or CRL | a failure with that reason: fatal under `enforce`, shown under `log` |

mod attempts;
mod files;
pub mod identity;
pub mod limits;
mod outcome;
pub mod policy;
mod reason;
pub mod store;
mod verification;

pub use attempts::{AllRefused, Attempts, Refused, RefusedBecause, VerifiedSignature, verify_all};
pub use outcome::{Check, CheckResult, Outcome, Verdict};
pub use policy::{Action, BlobPolicy, CheckType, Level, OciPolicy, PolicyError, Statement};
pub use reason::Reason;
pub use store::{StoreType, TrustStore, TrustStoreError};
pub use verification::{Target, VerifyInput, verify_signature};
