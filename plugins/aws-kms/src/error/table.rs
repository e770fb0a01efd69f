//! The one table: AWS's error codes in terms of the contract's six, with who must act and how.
//!
//! Sources: "Common errors" and the errors of each operation in the API references of KMS, ACM, Private CA, Secrets
//! Manager and S3.

use prokura_plugin::{ErrorCode, Scope};

/// One kind of refusal.
pub(super) struct Row {
    /// AWS's codes.
    pub(super) codes: &'static [&'static str],
    pub(super) code: ErrorCode,
    pub(super) scope: Scope,
    /// Whether the same request may succeed without anybody acting.
    pub(super) retryable: bool,
    /// Who must act and how; `{action}`, `{resource}` and `{region}` are filled in.
    pub(super) advice: &'static str,
}

const ACCESS_DENIED: &str = "whoever administers IAM must allow {action} on {resource} for this identity, in its policy, \
    in the key policy or resource policy, or by a grant";

pub(super) const TABLE: &[Row] = &[
    Row {
        codes: &["AccessDeniedException", "AccessDenied", "NotAuthorizedException"],
        code: ErrorCode::AccessDenied,
        scope: Scope::Key,
        retryable: false,
        advice: ACCESS_DENIED,
    },
    Row {
        codes: &["ExpiredTokenException", "ExpiredToken", "TokenRefreshRequired", "RequestExpired"],
        code: ErrorCode::AccessDenied,
        scope: Scope::Session,
        retryable: false,
        advice: "the credentials have expired; whoever started this must fetch new ones (aws sso login, or a new token)",
    },
    Row {
        codes: &[
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "InvalidAccessKeyId",
            "InvalidToken",
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "OptInRequired",
        ],
        code: ErrorCode::AccessDenied,
        scope: Scope::Session,
        retryable: false,
        advice: "AWS does not accept the credentials; whoever configured them must check access key, secret key, session \
            token and the clock of this machine",
    },
    Row {
        codes: &["NotFoundException"],
        code: ErrorCode::ValidationError,
        scope: Scope::Key,
        retryable: false,
        advice: "there is no such key or alias in region {region} of that account; check key id and region (aws kms \
            list-aliases --region {region})",
    },
    Row {
        codes: &["DisabledException"],
        code: ErrorCode::ValidationError,
        scope: Scope::Key,
        retryable: false,
        advice: "the key is disabled; its administrator can enable it: aws kms enable-key --region {region} --key-id \
            {resource}",
    },
    Row {
        codes: &["KMSInvalidStateException"],
        code: ErrorCode::ValidationError,
        scope: Scope::Key,
        retryable: false,
        advice: "the state of the key does not let it sign; if it is pending deletion its administrator can bring it back: \
            aws kms cancel-key-deletion --region {region} --key-id {resource}, then aws kms enable-key",
    },
    Row {
        codes: &["InvalidKeyUsageException", "UnsupportedOperationException"],
        code: ErrorCode::ValidationError,
        scope: Scope::Key,
        retryable: false,
        advice: "the key cannot sign for Notary and its usage cannot be changed; use one made with --key-usage SIGN_VERIFY \
            and --key-spec RSA_2048, RSA_3072, RSA_4096, ECC_NIST_P256, ECC_NIST_P384 or ECC_NIST_P521",
    },
    Row {
        codes: &["InvalidGrantTokenException"],
        code: ErrorCode::ValidationError,
        scope: Scope::Key,
        retryable: false,
        advice: "correct plugin config \"grant_tokens\", or remove it once the grant is some minutes old",
    },
    Row {
        codes: &["AlreadyExistsException"],
        code: ErrorCode::ValidationError,
        scope: Scope::Request,
        retryable: false,
        advice: "choose another name",
    },
    Row {
        codes: &[
            "ThrottlingException",
            "Throttling",
            "TooManyRequestsException",
            "SlowDown",
            "RequestLimitExceeded",
        ],
        code: ErrorCode::Throttled,
        scope: Scope::Vault,
        retryable: true,
        advice: "the account's request quota in region {region} is used up; a retry may help, or a higher quota (Service \
            Quotas, AWS Key Management Service)",
    },
    Row {
        codes: &["LimitExceededException"],
        code: ErrorCode::Error,
        scope: Scope::Vault,
        retryable: false,
        advice: "a resource quota of the account is used up; its administrator must raise it",
    },
    Row {
        codes: &["DependencyTimeoutException"],
        code: ErrorCode::Timeout,
        scope: Scope::Vault,
        retryable: true,
        advice: "AWS could not finish in time; a retry may help",
    },
    Row {
        codes: &[
            "KMSInternalException",
            "KeyUnavailableException",
            "InternalFailure",
            "InternalError",
            "InternalServiceError",
            "ServiceUnavailable",
        ],
        code: ErrorCode::Error,
        scope: Scope::Vault,
        retryable: true,
        advice: "AWS failed; a retry may help, and https://health.aws.amazon.com tells of larger trouble",
    },
    Row {
        codes: &["ResourceNotFoundException", "NoSuchKey", "NoSuchBucket"],
        code: ErrorCode::ValidationError,
        scope: Scope::Key,
        retryable: false,
        advice: "plugin config \"certificate\" names something that is not there; check the name and its region",
    },
    Row {
        codes: &["PermanentRedirect", "AuthorizationHeaderMalformed"],
        code: ErrorCode::ValidationError,
        scope: Scope::Key,
        retryable: false,
        advice: "the bucket is in another region; add ?region=REGION to plugin config \"certificate\"",
    },
    Row {
        codes: &["RequestInProgressException"],
        code: ErrorCode::Error,
        scope: Scope::Key,
        retryable: true,
        advice: "the certificate is not issued yet; try again once it is",
    },
    Row {
        codes: &["DecryptionFailure"],
        code: ErrorCode::AccessDenied,
        scope: Scope::Key,
        retryable: false,
        advice: "the secret is encrypted with a key that this identity may not use; allow kms:Decrypt on that key",
    },
];

/// What to make of a code that is not in the table: 5xx is AWS's own trouble, all else the caller's.
pub(super) const UNKNOWN: Row = Row {
    codes: &[],
    code: ErrorCode::Error,
    scope: Scope::Request,
    retryable: false,
    advice: "AWS's documentation of {action} explains this code",
};
pub(super) const UNKNOWN_SERVER: Row =
    Row { scope: Scope::Vault, retryable: true, advice: "a retry may help", ..UNKNOWN };

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_code_stands_in_the_table_twice() {
        let codes: Vec<&str> = TABLE.iter().flat_map(|row| row.codes).copied().collect();
        let unique: BTreeSet<&str> = codes.iter().copied().collect();
        assert_eq!(codes.len(), unique.len());
    }

    #[test]
    fn only_what_passes_by_itself_is_retried() {
        let retried: Vec<&str> =
            TABLE.iter().filter(|row| row.retryable).flat_map(|row| row.codes).copied().collect();
        assert!(retried.contains(&"ThrottlingException") && retried.contains(&"KMSInternalException"));
        for final_code in
            ["AccessDeniedException", "DisabledException", "NotFoundException", "ExpiredTokenException"]
        {
            assert!(!retried.contains(&final_code), "{final_code}");
        }
    }
}
