//! What the broker accepts at most, and why.

use std::time::Duration;

/// A peer's id. A SPIFFE ID has at most 2048 bytes (SPIFFE ID, section 2); nothing longer names anybody.
pub const PEER_ID_BYTES_MAX: usize = 2048;

/// Claims of one peer. Tokens of GitHub Actions and GitLab have about 30.
pub const PEER_CLAIMS_MAX: usize = 128;

/// One claim's value. Kubernetes nests whole objects; the largest seen are below 2 KiB.
pub const PEER_CLAIM_BYTES_MAX: usize = 8 * 1024;

// Identities (identity.rs).

/// Characters of foreign text quoted in a refusal.
pub const IDENTITY_QUOTED_CHARS_MAX: usize = 200;
/// Subject alternative names of one client certificate. Machines have a handful.
pub const CERTIFICATE_NAMES_MAX: usize = 32;
/// Certificates a client may send. Real chains have up to four.
pub const CLIENT_CHAIN_MAX: usize = 8;
/// Bytes of them together: eight certificates of 4 KiB, which is what RSA-4096 with many names takes.
pub const CLIENT_CHAIN_BYTES_MAX: usize = 32 * 1024;
/// Client CAs in the configuration.
pub const CLIENT_CAS_MAX: usize = 256;
/// Pinned client keys in the configuration: lists kept by hand are shorter.
pub const PINNED_KEYS_MAX: usize = 1024;
/// Certificates in one PEM file of the configuration.
pub const SERVER_CHAIN_MAX: usize = 256;
/// One PEM file of the configuration: 256 certificates of 4 KiB.
pub const PEM_FILE_BYTES_MAX: usize = 1024 * 1024;
/// TLS sessions kept for resumption; one has about 4 KiB with the client's chain, so 16 MiB at most.
pub const TLS_SESSIONS_MAX: usize = 4096;
/// Bytes read of `/etc/passwd` and `/etc/group`: 10,000 accounts.
pub const ACCOUNT_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Groups of one account that become claims; names have at most 32 bytes, so they fit one claim.
pub const ACCOUNT_GROUPS_MAX: usize = 128;

// Connections (listen.rs).

/// Open connections of one listener: at 70 KiB each with TLS, 300 MiB at most, and far below systemd's 524,288 files.
pub const LISTENER_CONNECTIONS_MAX: usize = 4096;
/// Open connections of one origin: a busy build host, or a NAT with some of them.
pub const ORIGIN_CONNECTIONS_MAX: usize = 1024;
/// New connections of one origin at once: a pipeline that fans out.
pub const ORIGIN_BURST: u32 = 256;
/// New connections of one origin in a second after that. A handshake costs about 2 ms of CPU, so one origin takes at
/// most a tenth of one core.
pub const ORIGIN_RATE: f64 = 50.0;
/// Origins whose rate is remembered, 100 bytes each.
pub const ORIGINS_MAX: usize = 65_536;
/// Handshakes under way: 100 ms each at 10,000 a second.
pub const HANDSHAKES_MAX: usize = 1024;
/// How long a handshake may take: two round trips, even over a satellite, and a busy machine on either side.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long the HTTP/2 preface may take after it; clients send it at once.
pub const PREFACE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may read nothing of what it asked for.
pub const WRITE_STALL_DEADLINE: Duration = Duration::from_secs(30);
/// Connections that wait for the gRPC server to take them.
pub const CONNECTIONS_QUEUED: usize = 64;
/// Pause when no connection can be accepted at all.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Open calls of one connection: 256 signatures in flight, and some questions beside them.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 512;
/// Headers of one call: a token of 16 KiB fits.
pub const HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
/// Calls that a client reset before they were looked at (CVE-2023-44487).
pub const RESETS_PENDING_MAX: usize = 20;
/// Calls that the server reset because of a client's errors (CVE-2025-8671).
pub const RESETS_BY_ERROR_MAX: usize = 256;
/// Bytes that a client may send ahead on one call; the largest request fits.
pub const WINDOW_BYTES: u32 = 512 * 1024;
/// And on all calls of a connection.
pub const WINDOW_CONNECTION_BYTES: u32 = 4 * 1024 * 1024;
/// How often a silent connection is asked whether the other side is there.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to answer.
pub const PING_DEADLINE: Duration = Duration::from_secs(20);

// OIDC tokens (identity/token.rs).

/// A bearer token. GitHub's have 2 KiB, Kubernetes' 1.5 KiB; more than 8 KiB does not pass most proxies.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Nesting of JSON in tokens and key sets. Kubernetes needs three levels.
pub const TOKEN_JSON_DEPTH_MAX: usize = 16;
/// JSON values in one token or key set: 64 keys of 16 members fit.
pub const TOKEN_JSON_VALUES_MAX: usize = 4096;
/// A key id in a token's header; a SHA-512 thumbprint in hex has 128.
pub const KID_BYTES_MAX: usize = 256;
/// The longest lifetime an operator may allow: a job of a day. A longer token is a password.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// How far clocks may differ.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// Issuers in the configuration.
pub const ISSUERS_MAX: usize = 64;
/// Audiences of one issuer, and of one token.
pub const AUDIENCES_MAX: usize = 16;
/// Claims that an issuer's tokens must have.
pub const REQUIRED_CLAIMS_MAX: usize = 32;
/// URL of an issuer or of its keys.
pub const ISSUER_URL_BYTES_MAX: usize = 1024;
/// Discovery document. Real ones have 1 to 8 KiB.
pub const DISCOVERY_BYTES_MAX: usize = 64 * 1024;
/// JWK set: 64 keys of RSA-4096 with certificates.
pub const JWKS_BYTES_MAX: usize = 512 * 1024;
/// Keys in it. Issuers have two to ten.
pub const JWKS_KEYS_MAX: usize = 64;
/// How long connecting to an issuer may take.
pub const ISSUER_CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// How long fetching its keys may take, both documents together; a build waits for it.
pub const ISSUER_DEADLINE: Duration = Duration::from_secs(10);
/// How long keys are fresh if the issuer does not say.
pub const KEYS_FRESH: Duration = Duration::from_secs(3600);
/// At least, whatever it says: it is not asked for every token.
pub const KEYS_FRESH_MIN: Duration = Duration::from_secs(60);
/// At most: a key that was withdrawn is not used for longer.
pub const KEYS_FRESH_MAX: Duration = Duration::from_secs(6 * 3600);
/// How long a request waits for the refresh of stale keys before it goes on with the old ones.
pub const KEYS_STALE_WAIT: Duration = Duration::from_secs(2);
/// How long keys serve while their issuer does not answer: a night's outage, not a holiday.
pub const KEYS_OLD_MAX: Duration = Duration::from_secs(24 * 3600);
/// Between two fetches, whatever unknown key ids come.
pub const KEYS_PAUSE: Duration = Duration::from_secs(30);
/// Between two fetches after one that failed.
pub const KEYS_RETRY_PAUSE: Duration = Duration::from_secs(5);

// What is to be signed (content.rs).

/// Bytes to be signed. Payloads are below 10 KiB with all their annotations; JWS adds a third, the header 1 KiB.
pub const CONTENT_BYTES_MAX: usize = 256 * 1024;

/// Annotations of one artifact. Each becomes a tag that every decision carries; builds set a dozen.
pub const ANNOTATIONS_MAX: usize = 256;

/// How old a signing time may be, in seconds: an envelope is prepared, then waits for its turn, at worst through an
/// outage of the vault.
pub const SIGNING_TIME_PAST_MAX_S: i64 = 60 * 60;

/// How far a signing time may be ahead, in seconds: clocks of build machines differ, but not by more.
pub const SIGNING_TIME_AHEAD_MAX_S: i64 = 5 * 60;
// config

/// The config file. 10,000 keys of 100 bytes have 1 MB; a plugin config may have some more.
pub const CONFIG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One text in the config: paths have at most 4096 bytes, key ids are limited by the plugin protocol.
pub const CONFIG_TEXT_BYTES_MAX: usize = 16 * 1024;

/// One list in the config.
pub const CONFIG_LIST_MAX: usize = 1024;

/// Keys of one broker. Each is described at the start; memory is about 10 KiB for each.
pub const KEYS_MAX: usize = 10_000;

/// A key's name, as the protocol says.
pub const KEY_NAME_BYTES_MAX: usize = 128;

/// Open connections: each has a task, buffers and a descriptor, of which systemd gives 524,288 at most.
pub const CONNECTIONS_MAX: u64 = 100_000;

/// Open connections unless the operator says otherwise.
pub const CONNECTIONS_DEFAULT: u64 = 4096;

/// Requests to sign that are under way: each holds up to two messages of some 100 KiB.
pub const IN_FLIGHT_MAX: u64 = 65_536;

/// Requests to sign under way unless the operator says otherwise.
pub const IN_FLIGHT_DEFAULT: u64 = 1024;

/// How long one request may take: an hour, for vaults behind a quota.
pub const SIGN_DEADLINE_MAX_S: u64 = 3600;

/// How long one request may take if neither caller nor operator says.
pub const SIGN_DEADLINE_DEFAULT_S: u64 = 60;

/// How long the end may be delayed by requests under way.
pub const DRAIN_MAX_S: u64 = 3600;

/// The default is below systemd's TimeoutStopSec= of 90 s, after which it kills.
pub const DRAIN_DEFAULT_S: u64 = 60;

/// Keys that serve under one name. Each is looked at for each request.
pub const TARGETS_MAX: usize = 8;

/// Vaults that are scheduled, and classes of keys in each.
pub const VAULTS_MAX: usize = 10_000;
/// See [`VAULTS_MAX`]. Each is looked at whenever a call of the vault ends.
pub const CLASSES_MAX: usize = 16;

/// Requests that wait for one class of keys of one vault: at 1,000 a second, what ten seconds serve.
pub const WAITING_DEFAULT: usize = 10_000;
/// The same of one peer. Its line is kept sorted: at most half of it moves, some 30 KiB.
pub const WAITING_PER_PEER_DEFAULT: usize = 1000;

/// For how long a vault that throttles without saying how long is left alone.
pub const THROTTLED_PAUSE: Duration = Duration::from_millis(250);
/// What a vault may ask for at most: longer is a mistake, or nothing to wait for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// For how long a vault that fails is left alone; doubles each time ...
pub const BREAKER_REST: Duration = Duration::from_millis(500);
/// ... up to this, so that a vault that is back is found soon.
pub const BREAKER_REST_MAX: Duration = Duration::from_secs(4);
/// For how long a key that failed is passed over if another can serve.
pub const KEY_REST: Duration = Duration::from_secs(30);

/// Attempts for one request. More than failures in a row close a vault, so that a request outlives its outage.
pub const ATTEMPTS_MAX: u32 = 8;
/// Half the bound of the pause before the first retry.
pub const RETRY_BASE: Duration = Duration::from_millis(100);
/// The longest bound.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

// What is remembered (state.rs).

/// An idempotency key, as the protocol says.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// An answer kept for its idempotency key: signature, chain, receipt. Chains are below 20 KiB, entries below 64 KiB.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// How long an answer may be kept, in seconds. The protocol promises a day; also what remains after the clock jumped
/// back.
pub const ANSWER_TTL_MAX_S: u64 = 2 * 24 * 60 * 60;

/// How long a claim may wait for its answer, in seconds: as long as a request may wait through an outage of the vault.
pub const CLAIM_LEASE_MAX_S: u64 = 60 * 60;

/// How long a named lease may run, in seconds: as long as the log may stand still when its sequencer dies.
pub const LEASE_TTL_MAX_S: u64 = 60;

/// Connections of one replica. PostgreSQL allows 100 to all its clients unless told otherwise.
pub const STATE_CONNECTIONS_MAX: u32 = 64;

/// How long a statement of the state may take, and how long one waits for a connection, in seconds. A restart of
/// PostgreSQL takes 3; a request whose state takes longer is better refused.
pub const STATE_WAIT_MAX_S: u64 = 10;

/// Operations on SQLite that share one flush, and how many may wait for it.
pub const STATE_BATCH_MAX: usize = 128;

/// Operations that may wait for SQLite: as many as requests may be under way.
pub const STATE_WAITING_MAX: usize = 4096;

/// Rows that one step of pruning removes: a few milliseconds' work.
pub const PRUNED_ROWS_MAX: i64 = 1000;

/// Entries appended to, or read from, the shared journal in one step, and how many bytes they have together.
pub const JOURNAL_STEP_ENTRIES_MAX: usize = 1024;

/// Bytes appended to the shared journal in one step.
pub const JOURNAL_STEP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How far the clocks of replicas may differ, in milliseconds, before a budget takes it for a clock that jumped.
pub const CLOCK_SKEW_MAX_MS: i64 = 5 * 1000;

// Policies and what they are asked (policy/).

/// Files of policies. One team, one file; nobody reads more than this.
pub const POLICY_FILES_MAX: usize = 256;

/// One file of policies, in bytes: about 5000 policies.
pub const POLICY_FILE_BYTES_MAX: usize = 1024 * 1024;

/// All files of policies together, in bytes.
pub const POLICY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Policies of all files: as many as an operator with a policy for each of thousands of repositories has.
pub const POLICIES_MAX: usize = 4096;

/// Depth of brackets and `if` in a policy. People write five; Cedar's parser takes up to 60 KiB of stack for each, and
/// threads have 2 MiB.
pub const POLICY_DEPTH_MAX: usize = 24;

/// Operators in one policy (`&&`, `||`, arithmetic, dots). People write thirty; the parser recurses on chains of them.
pub const POLICY_OPERATORS_MAX: usize = 1024;

/// The name of a policy, in bytes: it stands in errors, logs and metrics.
pub const POLICY_NAME_BYTES_MAX: usize = 128;

/// Problems of one load that are told; the rest is counted.
pub const POLICY_PROBLEMS_MAX: usize = 50;

/// Policies that are named as having come near, in a denial.
pub const NEAREST_MAX: usize = 5;

/// The reference a caller claims, in bytes; as the protocol says.
pub const CLAIMED_REFERENCE_BYTES_MAX: usize = 1024;

/// Further claims of one request; as the protocol says.
pub const CLAIMED_MAX: usize = 32;

/// The name of such a claim, in bytes.
pub const CLAIMED_NAME_BYTES_MAX: usize = 64;

/// The value of such a claim, in bytes.
pub const CLAIMED_VALUE_BYTES_MAX: usize = 1024;

// --- audit ---

/// A log entry. C2SP tlog-tiles gives its length two bytes; half of that keeps a full bundle below 8 MiB.
pub const AUDIT_ENTRY_BYTES_MAX: usize = 32 * 1024;

/// The decoded artifact in a record. A descriptor with a handful of annotations has below 2 KiB.
pub const AUDIT_ARTIFACT_BYTES_MAX: usize = 8 * 1024;

/// Names, versions, request ids and references of a record; the longest, a claimed reference, has at most 1024.
pub const AUDIT_TEXT_BYTES_MAX: usize = 2048;

/// Claims of a peer that are recorded; more than policies look at.
pub const AUDIT_CLAIMS_MAX: usize = 32;

/// Policies named in a record. More than a few never permit one request.
pub const AUDIT_POLICIES_MAX: usize = 64;

/// An error's text in a record; longer ones are cut, for the record of a failure must never fail.
pub const AUDIT_ERROR_BYTES_MAX: usize = 2048;

/// The log's name. It stands in every checkpoint.
pub const AUDIT_ORIGIN_BYTES_MAX: usize = 256;

/// A checkpoint that is read: at least 16 signatures must be accepted, of up to 5 kB (C2SP signed-note).
pub const AUDIT_CHECKPOINT_BYTES_MAX: usize = 128 * 1024;

/// Entries of one commit. The tree's edge proves the last 256 from memory.
pub const AUDIT_COMMIT_ENTRIES_MAX: usize = 256;

/// Bytes of one commit, and so the memory it takes.
pub const AUDIT_COMMIT_BYTES_MAX: usize = 1024 * 1024;

/// Entries waiting for a commit: four commits, beyond which callers wait their turn.
pub const AUDIT_QUEUE_MAX: usize = 1024;

/// A segment of the journal. Written ahead as zeros, so that a commit changes no metadata of the file system.
pub const AUDIT_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Entries recorded and not yet in tiles; beyond it commits wait for the tiles.
pub const AUDIT_UNPUBLISHED_MAX: u64 = 64 * 1024;

/// Problems that a verification names before it gives up: the log is lost by then.
pub const AUDIT_PROBLEMS_MAX: usize = 1000;
/// One message from a caller: to-be-signed bytes, claims and a frame around them.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Items of one SignStream that are under way; further ones are not read meanwhile.
pub const STREAM_WINDOW: usize = 64;

/// How long one SignStream may last: a day's batch. Each item has the time of one request.
pub const STREAM_MAX: Duration = Duration::from_secs(24 * 3600);

/// Answers of one call that wait for a slow reader.
pub const STREAM_BUFFER: usize = 16;

// daemon

/// Between two looks at keys that cannot be used yet, and at those that were described long ago.
pub const WARM_INTERVAL: Duration = Duration::from_secs(30);

/// Sockets taken from systemd.
pub const INHERITED_SOCKETS_MAX: u32 = 16;

/// Claims that are recorded unless the operator names others: those by which CI systems tell what ran where.
pub const RECORDED_CLAIMS: &[&str] = &[
    "sub",
    "repository",
    "ref",
    "sha",
    "workflow_ref",
    "job_workflow_ref",
    "run_id",
    "environment",
    "actor",
    "event_name",
    "project_path",
    "pipeline_source",
    "pipeline_id",
    "job_id",
    "ci_config_ref_uri",
    "user_login",
    "kubernetes.io",
    "serial",
    "uid",
    "pid",
    "user",
];

// vaults

/// How long a plugin has for one call. Below the longest deadline of a request: a vault that hangs so long is given up.
pub const PLUGIN_CALL_DEADLINE: Duration = Duration::from_secs(60);

/// Keys described at once when many are cold: vaults have quotas for that, too.
pub const DESCRIPTIONS_AT_ONCE: usize = 8;

/// A description is asked for again after this time, so that a renewed certificate is seen without a restart.
pub const KEY_REFRESH_S: u64 = 3600;

// service

/// Answers kept for callers who ask again; one has about 8 KiB with chain and receipt, so 128 MiB at most.
pub const ANSWERS_MAX: usize = 16_384;

/// How long they are kept: a day, as the protocol says. In seconds.
pub const ANSWERS_S: i64 = 24 * 3600;
