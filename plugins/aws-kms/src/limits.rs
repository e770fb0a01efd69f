//! Every limit of this plugin, with its reason. Limits of the protocol are those of the SDK.

/// Longest a call to AWS takes with all its retries where the host sets no deadline, in seconds (contract 1.0 over
/// stdio has none).
pub(crate) const CALL_SECONDS_MAX: u64 = 60;
/// Longest one attempt takes before it is cut and tried again, in seconds. KMS answers within a fraction of one.
pub(crate) const ATTEMPT_SECONDS_MAX: u64 = 10;
/// Longest a connection takes to be made, in seconds: beyond this the network is the trouble.
pub(crate) const CONNECT_SECONDS_MAX: u64 = 3;
/// How long before the host's deadline a call is given up, in milliseconds, so that the reason still reaches a host that is
/// busy; but at most a quarter of what is left.
pub(crate) const ANSWER_MILLISECONDS: u64 = 500;
/// Most attempts of one call: with the pauses below six seconds on average. Whoever has more time asks again.
pub(crate) const ATTEMPTS_MAX: u32 = 8;
/// Longest first pause after a failed attempt, in milliseconds; it doubles each time and is drawn at random below that.
pub(crate) const PAUSE_MILLISECONDS: u64 = 100;
/// Longest pause between attempts, in seconds: quotas of KMS are per second.
pub(crate) const PAUSE_SECONDS_MAX: u64 = 5;
/// Longest all sources of credentials together take, in seconds. Signing in with SSO or a role is two requests.
pub(crate) const CREDENTIALS_SECONDS_MAX: u64 = 15;
/// Longest the instance metadata service is waited for where nobody asked for it, in seconds: outside EC2 there is none,
/// and a silent firewall must not hold up every signature.
pub(crate) const METADATA_SECONDS_MAX: u64 = 1;
/// Threads that run calls to AWS; they wait for the network, not for the processor.
pub(crate) const THREADS: usize = 2;
/// Most sessions one process keeps: each place (region, endpoint, profile, source of credentials) is one.
pub(crate) const SESSIONS_MAX: usize = 64;
/// Most grant tokens in a request (KMS allows ten).
pub(crate) const GRANT_TOKENS_MAX: usize = 10;
/// Most aliases read when keys are listed. The quota of KMS is 50 per key; accounts have thousands at most.
pub(crate) const ALIASES_MAX: usize = 100_000;
/// Most keys looked at when keys are listed: the quota of KMS is 100,000 per account and region.
pub(crate) const KEYS_MAX: usize = 100_000;
/// Keys looked at a time when keys are listed; KMS allows 2,000 such requests a second per account and region.
pub(crate) const LOOKED_AT_ONCE: usize = 8;
/// Largest certificate file, object or secret, in bytes: sixteen certificates in PEM with text around them.
pub(crate) const CERTIFICATE_BYTES_MAX: usize = 1024 * 1024;
/// How long fetched certificates are used before they are fetched again, in seconds. A renewal is seen after that.
pub(crate) const CERTIFICATE_SECONDS: u64 = 300;
/// How long a key just made may be unknown to KMS, in seconds: KMS is consistent only after a while.
pub(crate) const NEW_KEY_SECONDS_MAX: u64 = 30;
/// How often it is asked for meanwhile, in milliseconds.
pub(crate) const NEW_KEY_POLL_MILLISECONDS: u64 = 500;
/// How long a host is asked to rest after a call that ran out of time, in seconds: longer than what was left for the answer.
pub(crate) const REST_SECONDS: u64 = 1;
/// Longest text from AWS that is repeated in an error message, in characters.
pub(crate) const SHOWN_CHARS_MAX: usize = 400;
