//! Every limit of this plugin, with its reason. Limits of the protocol are those of the SDK.

use std::time::Duration;

/// How long a call without a deadline may take in all. A YubiKey waits 15 seconds for a touch, a person longer for
/// the PIN; a build that hangs longer than this has lost its person.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(120);
/// How long a device that was seen before in this process may be away (replugged, pcscd restarted) before it counts
/// as gone. USB enumeration and pcscd's polling take about a second, a restart of pcscd a few, on a busy machine 20.
pub(crate) const RETURN_WAIT: Duration = Duration::from_secs(25);
/// How long pcscd is given to notice that a card is gone after a command to it failed. It polls its readers every 0.4 s
/// and until then takes the card for present; some drivers do not survive being asked for it (vsmartcard's vpcd 3.3).
pub(crate) const SETTLE: Duration = Duration::from_millis(800);
/// How long pcscd is waited for by a process that has seen no device yet. Started by its socket it is there at once, and
/// hosts ask again.
pub(crate) const SERVICE_WAIT: Duration = Duration::from_secs(1);
/// How long another program may hold a device exclusively before the request is given up. gpg's scdaemon lets go
/// between its own operations, which take seconds.
pub(crate) const EXCLUSIVE_WAIT: Duration = Duration::from_secs(10);
/// First and longest pause between two attempts to reach a device.
pub(crate) const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));
/// How long the readers are given to answer when devices are looked for. Selecting the PIV application takes
/// milliseconds; a reader in use by another program answers when that has finished.
pub(crate) const SURVEY_WAIT: Duration = Duration::from_secs(5);
/// What is left of a deadline for the answer to travel back.
pub(crate) const ANSWER_MARGIN: Duration = Duration::from_millis(250);
/// A device that has not answered within this time waits for a touch: the slowest signature without one (RSA-4096)
/// begins to answer later than this only on firmware that reports its touch policy.
pub(crate) const SILENCE_MEANS_TOUCH: Duration = Duration::from_millis(400);

/// Most readers that are looked at: pcscd itself knows no more than 16 by default.
pub(crate) const READERS_MAX: usize = 32;
/// Most devices an error message lists.
pub(crate) const LISTED_MAX: usize = 10;
/// Longest text of a device (reader name, certificate subject) in a message, in characters.
pub(crate) const SHOWN_CHARS_MAX: usize = 80;

/// Largest answer of a card, in bytes: PIV data objects on a YubiKey end at 3,052 bytes.
pub(crate) const ANSWER_BYTES_MAX: usize = 4096;
/// Most parts an answer comes in; parts have 256 bytes, hostile cards send empty ones for ever.
pub(crate) const ANSWER_PARTS_MAX: usize = 32;
/// Largest certificate that fits into a slot, in bytes (a data object less its wrapping).
pub(crate) const SLOT_CERTIFICATE_BYTES_MAX: usize = 3040;
/// PINs have 6 to 8 bytes (NIST SP 800-73-4 part 2 section 2.4.3).
pub(crate) const PIN_BYTES: std::ops::RangeInclusive<usize> = 6..=8;
/// Longest text of a management key: 32 bytes in hexadecimal.
pub(crate) const MANAGEMENT_KEY_CHARS_MAX: usize = 64;
