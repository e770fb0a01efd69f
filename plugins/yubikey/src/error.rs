//! What a card's or pcscd's refusal means: one table from status words and PC/SC codes to the contract's terms.

use prokura_plugin::{Error, ErrorCode, Scope};

/// Why something did not work.
pub(crate) enum Failure {
    /// The card could not be reached.
    Pcsc {
        /// What was attempted, in the form "read slot 9c".
        doing: String,
        /// What PC/SC returned.
        error: pcsc::Error,
    },
    /// The card refused.
    Status {
        /// What was attempted.
        doing: String,
        /// SW1 and SW2 (ISO 7816-4 section 5.1.3).
        status: u16,
    },
    /// The card answered what no PIV application may.
    Malformed {
        /// What was attempted.
        doing: String,
        /// What came.
        found: String,
    },
    /// All calls went well; what they found is no good.
    Final(Error),
}

/// One line of the table: code, scope, whether a repetition may help without anybody acting, and what to do.
struct Row(ErrorCode, Scope, bool, &'static str);

impl Failure {
    /// Whether the connection to the card is gone and a new one may do.
    pub(crate) const fn is_lost_connection(&self) -> bool {
        match self {
            Self::Pcsc { error, .. } => !matches!(error, pcsc::Error::SharingViolation),
            // Whoever answers so is out of step; a new connection starts from the reset.
            Self::Malformed { .. } => true,
            Self::Status { .. } | Self::Final(_) => false,
        }
    }

    /// Whether another application than PIV seems to be selected, as other programs leave it behind.
    pub(crate) const fn is_other_application(&self) -> bool {
        matches!(self, Self::Status { status: 0x6D00 | 0x6E00 | 0x6A81, .. })
    }

    /// The status word, if the card refused.
    pub(crate) const fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The failure as the contract has it; `device` is what it is about, in the form "YubiKey 12345678".
    pub(crate) fn into_error(self, device: &str) -> Error {
        match self {
            Self::Final(error) => error,
            Self::Malformed { doing, found } => {
                Error::internal(format!(
                    "cannot {doing}: {device} answered with {found}; unplug it and plug it in again, and if that does \
                     not help replace it"
                ))
                .with_scope(Scope::Session)
                .retryable(false)
            }
            Self::Status { doing, status } => {
                let Row(code, scope, retryable, what) = status_row(status);
                Error::new(code, format!("cannot {doing}: {device} answered {status:04X}: {what}"))
                    .with_scope(scope)
                    .retryable(retryable)
                    .vault_code(format!("{status:04X}"))
            }
            Self::Pcsc { doing, error } => {
                let (name, Row(code, scope, retryable, what)) = pcsc_row(error);
                Error::new(code, format!("cannot {doing}: {device}: {name}: {what}"))
                    .with_scope(scope)
                    .retryable(retryable)
                    .vault_code(name)
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// Status words: ISO 7816-4 section 5.1.3, NIST SP 800-73-4 part 2, and those of Yubico's extensions.
const fn status_row(status: u16) -> Row {
    use ErrorCode as C;
    match status {
        0x6982 => Row(
            C::AccessDenied,
            Scope::Request,
            false,
            "the PIN was not verified, or nobody touched the device in time",
        ),
        0x6983 => Row(C::AccessDenied, Scope::Vault, false, "the PIN is blocked; unblock it with the PUK"),
        0x6985 => Row(
            C::AccessDenied,
            Scope::Key,
            false,
            "conditions of use are not met: nobody touched the device, or the key may not do this",
        ),
        0x6700 => Row(C::Error, Scope::Key, false, "the length is wrong for this key"),
        0x6A80 => Row(
            C::ValidationError,
            Scope::Key,
            false,
            "the data do not fit: the slot holds another kind of key than was described; describe it again",
        ),
        0x6A81 => Row(C::ValidationError, Scope::Key, false, "this firmware does not have this function"),
        0x6A82 => Row(C::ValidationError, Scope::Key, false, "there is no such object or application"),
        0x6A84 => Row(
            C::ValidationError,
            Scope::Vault,
            false,
            "the device is full; delete certificates or other data objects that are not needed",
        ),
        0x6A86 | 0x6B00 => {
            Row(C::ValidationError, Scope::Key, false, "this firmware does not have this slot or kind of key")
        }
        0x6A88 => {
            Row(C::ValidationError, Scope::Key, false, "the slot is empty; create or import a key first")
        }
        0x6D00 | 0x6E00 => Row(
            C::Error,
            Scope::Session,
            true,
            "it does not know the command; another program may have selected another application, or the firmware is \
             too old",
        ),
        0x6581 => Row(C::Error, Scope::Vault, false, "its memory failed; replace it"),
        0x6F00..=0x6FFF => Row(C::Error, Scope::Session, true, "it failed; unplug it and plug it in again"),
        _ => Row(
            C::Error,
            Scope::Request,
            false,
            "an answer this plugin does not know; the device's documentation may",
        ),
    }
}

/// PC/SC codes (pcsclite.h).
const fn pcsc_row(error: pcsc::Error) -> (&'static str, Row) {
    use ErrorCode as C;
    use pcsc::Error as P;
    match error {
        P::NoService => (
            "SCARD_E_NO_SERVICE",
            Row(
                C::Error,
                Scope::Vault,
                // Nobody refused: it may be starting. Hosts tell the two apart by this.
                true,
                "pcscd is not running; start it (systemctl enable --now pcscd.socket)",
            ),
        ),
        P::ServiceStopped => ("SCARD_E_SERVICE_STOPPED", STOPPED),
        P::Shutdown => ("SCARD_P_SHUTDOWN", STOPPED),
        P::CommError => ("SCARD_F_COMM_ERROR", STOPPED),
        P::InternalError => ("SCARD_F_INTERNAL_ERROR", STOPPED),
        P::InvalidHandle => ("SCARD_E_INVALID_HANDLE", STOPPED),
        P::NoReadersAvailable => ("SCARD_E_NO_READERS_AVAILABLE", REMOVED),
        P::UnknownReader => ("SCARD_E_UNKNOWN_READER", REMOVED),
        P::ReaderUnavailable => ("SCARD_E_READER_UNAVAILABLE", REMOVED),
        P::NoSmartcard => ("SCARD_E_NO_SMARTCARD", REMOVED),
        P::RemovedCard => ("SCARD_W_REMOVED_CARD", REMOVED),
        P::NotTransacted => ("SCARD_E_NOT_TRANSACTED", REMOVED),
        P::UnpoweredCard => ("SCARD_W_UNPOWERED_CARD", REMOVED),
        P::UnresponsiveCard => ("SCARD_W_UNRESPONSIVE_CARD", REMOVED),
        P::ResetCard => (
            "SCARD_W_RESET_CARD",
            Row(C::Error, Scope::Session, true, "another program reset the device meanwhile"),
        ),
        P::SharingViolation => ("SCARD_E_SHARING_VIOLATION", Row(C::Timeout, Scope::Vault, true, HOLDERS)),
        P::SecurityViolation | P::NoAccess => (
            "SCARD_W_SECURITY_VIOLATION",
            Row(
                C::AccessDenied,
                Scope::Vault,
                false,
                "pcscd refuses this user; a polkit rule must allow org.debian.pcsc-lite.access_pcsc and \
                 org.debian.pcsc-lite.access_card",
            ),
        ),
        P::ProtoMismatch => (
            "SCARD_E_PROTO_MISMATCH",
            Row(
                C::Error,
                Scope::Vault,
                false,
                "another program uses the device with another protocol; end it",
            ),
        ),
        P::Timeout | P::WaitedTooLong => (
            "SCARD_E_TIMEOUT",
            Row(
                C::Timeout,
                Scope::Vault,
                true,
                "the device did not answer: another program may be in the middle of using it, or it hangs; unplug it \
                 and plug it in again",
            ),
        ),
        P::NoMemory | P::ServerTooBusy => {
            ("SCARD_E_NO_MEMORY", Row(C::Throttled, Scope::Vault, true, "pcscd serves too many programs"))
        }
        _ => (
            "PC/SC",
            Row(C::Error, Scope::Session, true, "the reader or pcscd failed; pcscd's log may say why"),
        ),
    }
}

const STOPPED: Row = Row(ErrorCode::Error, Scope::Session, true, "pcscd ended or was restarted meanwhile");
const REMOVED: Row = Row(ErrorCode::Error, Scope::Session, true, "it was unplugged; plug it in again");
/// Who usually keeps a YubiKey to itself.
pub(crate) const HOLDERS: &str = "another program keeps the device to itself: often gpg's scdaemon (gpgconf --kill \
    scdaemon, or disable-ccid and pcsc-shared in scdaemon.conf), Yubico Authenticator, or a virtual machine";

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> Error {
        Failure::Status { doing: "sign with slot 9c".to_owned(), status }.into_error("YubiKey 7")
    }

    fn pcsc(error: pcsc::Error) -> Error {
        Failure::Pcsc { doing: "sign with slot 9c".to_owned(), error }.into_error("YubiKey 7")
    }

    #[test]
    fn status_words_become_codes_and_say_who_must_act() {
        use ErrorCode::{AccessDenied, Error as Other, ValidationError};
        for (word, code, says) in [
            (0x6982, AccessDenied, "touched"),
            (0x6983, AccessDenied, "PUK"),
            (0x6A80, ValidationError, "another kind of key"),
            (0x6A88, ValidationError, "slot is empty"),
            (0x6A84, ValidationError, "full"),
            (0x6D00, Other, "firmware"),
            (0x6F00, Other, "plug it in again"),
            (0x1234, Other, "1234"),
        ] {
            let error = status(word);
            assert_eq!(error.code, code, "{word:04X}");
            assert!(error.message.starts_with("cannot sign with slot 9c: YubiKey 7 answered"), "{error}");
            assert!(error.message.contains(says), "{error}");
        }
    }

    #[test]
    fn pcsc_codes_become_codes_and_say_who_must_act() {
        use ErrorCode::{AccessDenied, Error as Other, Timeout};
        for (error, code, says) in [
            (pcsc::Error::NoService, Other, "systemctl enable --now pcscd.socket"),
            (pcsc::Error::RemovedCard, Other, "plug it in again"),
            (pcsc::Error::NoSmartcard, Other, "SCARD_E_NO_SMARTCARD"),
            (pcsc::Error::SharingViolation, Timeout, "scdaemon"),
            (pcsc::Error::SecurityViolation, AccessDenied, "org.debian.pcsc-lite.access_pcsc"),
            (pcsc::Error::BadSeek, Other, "pcscd's log"),
        ] {
            let error = pcsc(error);
            assert_eq!(error.code, code, "{error}");
            assert_eq!(error.may_retry(), code != AccessDenied, "nobody refused: {error}");
            assert!(error.message.contains(says), "{error}");
        }
    }

    #[test]
    fn a_new_connection_is_made_for_what_a_new_connection_mends() {
        let lost = |error| Failure::Pcsc { doing: String::new(), error }.is_lost_connection();
        for error in [pcsc::Error::RemovedCard, pcsc::Error::NoService, pcsc::Error::NotTransacted] {
            assert!(lost(error), "{error:?}");
        }
        assert!(!lost(pcsc::Error::SharingViolation));
        assert!(!Failure::Status { doing: String::new(), status: 0x6982 }.is_lost_connection());
    }
}
