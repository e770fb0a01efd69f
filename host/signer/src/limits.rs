//! Every limit of the plugin host, with its reason. Sizes of messages are in [`prokura_plugin::limits`].

use std::time::Duration;

/// How long one signature may take, retries included, unless the caller says otherwise. A vault behind a slow network
/// answers in seconds; a person who must touch a device needs up to half a minute.
pub const SIGN_DEADLINE: Duration = Duration::from_secs(60);
/// How long `get-plugin-metadata` may take: it asks no vault, but a runtime such as .NET needs seconds when cold.
pub const METADATA_DEADLINE: Duration = Duration::from_secs(10);
/// How long a plugin that serves gRPC may take to write its ready line; at most half of the deadline of a signature, so
/// that time is left for stdio.
pub const READY_DEADLINE: Duration = Duration::from_secs(10);
/// Longest ready line, in bytes, with its newline.
pub const READY_LINE_BYTES_MAX: usize = 256;
/// How long output is still read after the plugin's process ended while a descendant keeps its pipes open.
pub const PIPE_GRACE: Duration = Duration::from_millis(250);
/// How long a serving plugin may drain its calls after its stdin was closed (SPEC, "Stopping").
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long a killed process group is waited for. Only a process stuck in the kernel takes longer.
pub const REAP_GRACE: Duration = Duration::from_secs(2);
/// Bytes of a serving plugin's stderr that are kept for an error message.
pub const STDERR_TAIL_BYTES_MAX: usize = 8 * 1024;
/// Characters of unexpected output quoted in an error message.
pub const EXCERPT_CHARS_MAX: usize = 80;
/// How often a call that the vault throttled or timed out is repeated.
pub const RETRIES_MAX: u32 = 3;
/// Pause before the first retry; it doubles with each, and half of it is random.
pub const RETRY_PAUSE: Duration = Duration::from_millis(400);
/// How often an executable that is being written at this moment (`ETXTBSY`) is tried, [`BUSY_PAUSE`] apart.
pub const BUSY_TRIES_MAX: u32 = 10;
/// See [`BUSY_TRIES_MAX`].
pub const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// Pause before a process that ended before it was of use is replaced; it doubles with each in a row, and half of it is
/// random.
pub const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// After how many such processes in a row the plugin is given up: with the pauses between them, what is over in a second
/// has passed.
pub const CRASHES_MAX: u32 = 5;
/// For how long; then one more is started. What an operator mends is noticed soon, and a plugin that crashes on every
/// request costs two starts a minute.
pub const GIVEN_UP_REST: Duration = Duration::from_secs(30);
/// A process that lived so long and then ended was of use, even if it signed nothing.
pub const USEFUL_LIFE: Duration = Duration::from_secs(10);
/// How many calls with one key, one after the other, may run into their deadline before the process is replaced. One may
/// be a vault's bad moment, or a person who did not touch the device.
pub const HANGING_CALLS_OF_KEY_MAX: u32 = 2;
/// How many calls may do so in the life of a process, whatever the key: each keeps one of the 64 threads there.
pub const HANGING_CALLS_MAX: u32 = 8;
/// How long a process may take to say anything after a call ran into its deadline: it asks nobody for that.
pub const HEALTH_DEADLINE: Duration = Duration::from_secs(2);
/// How long a plugin may take to open the call for its questions: it asks nobody for that.
pub const INTERACT_DEADLINE: Duration = Duration::from_secs(2);
/// How long a question to a person stands; then it counts as declined. Longer than anybody looks for a card.
pub const QUESTION_DEADLINE: Duration = Duration::from_secs(300);
/// Pause between two texts of a plugin, so that it does not fill a terminal: twenty a second can still be read over.
pub const QUESTION_PAUSE: Duration = Duration::from_millis(50);
/// Most signatures asked for in one call of a batch: as many as a plugin made with the SDK has open at once.
pub const BATCH_MAX: usize = 256;
/// Descriptors looked at in a child where the kernel cannot mark all at once (before Linux 5.11): the usual limit of
/// open files, which whoever starts a host seldom raises, and a millisecond of system calls.
pub const INHERITED_DESCRIPTORS_MAX: i32 = 1024;
/// How often a private directory is made anew because another host took it for a stale one at that very moment.
pub const PLACE_TRIES_MAX: u32 = 3;
/// Most entries of the directory for temporary files looked at for directories of killed hosts: reading so many takes
/// some milliseconds.
pub const TEMPORARY_ENTRIES_MAX: usize = 10_000;
/// Most directories of killed hosts removed at once; the next start takes the next.
pub const STALE_PLACES_MAX: usize = 64;
/// Most processes looked at for those a plugin left behind: as many as Linux has unless told otherwise, on the larger
/// machines.
pub const PROCESSES_LOOKED_AT_MAX: usize = 65_536;
/// Most processes killed in one round; each takes a descriptor for that long.
pub const STRAGGLERS_MAX: usize = 64;
/// How often it is looked for processes that were started while others were killed.
pub const STRAGGLER_ROUNDS_MAX: usize = 8;
/// How long the killed ones of one round are waited for. Only a process stuck in the kernel takes longer.
pub const STRAGGLER_GRACE: Duration = Duration::from_millis(250);
/// Most plugins listed; nobody has more, and each is started once to tell its version.
pub const PLUGINS_LISTED_MAX: usize = 512;
/// Largest executable whose SHA-256 is computed, in bytes. Self-contained .NET plugins have about 100 MiB.
pub const EXECUTABLE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Longest socket path, in bytes: `sun_path` has 108 on Linux and 104 elsewhere, with its final NUL.
pub const SOCKET_PATH_BYTES_MAX: usize = 100;
/// Most annotations a plugin may add to the signature manifest, so that a manifest stays far below 4 MiB.
pub const ANNOTATIONS_MAX: usize = 64;
/// Longest name or value of such an annotation, in bytes.
pub const ANNOTATION_BYTES_MAX: usize = 4096;
/// Most entries of `errorMetadata` that are kept.
pub const ERROR_METADATA_MAX: usize = 16;
/// Most capabilities and contract versions of a plugin that are kept. There are five of the one, one of the other.
pub const METADATA_ENTRIES_MAX: usize = 64;
/// How far the signing time in a plugin's envelope may be from the host's clock: the drift of two machines that
/// keep time by themselves, plus the time the vault took. A signature dated further ahead would outlive its expiry.
pub const SIGNING_TIME_SKEW: Duration = Duration::from_secs(15 * 60);
/// How far the expiry in a plugin's envelope may be from what was asked for: rounding to whole seconds at both ends.
pub const EXPIRY_SKEW_SECONDS: i64 = 2;
/// Most issuers fetched from the network for one chain: chains have two to four certificates.
pub const ISSUERS_FETCHED_MAX: usize = 4;
/// How long all fetches for one chain may take together. One certificate is a matter of milliseconds; of four issuers
/// with four URLs each, every one may hang.
pub const ISSUERS_DEADLINE: Duration = Duration::from_secs(20);
