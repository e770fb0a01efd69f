//! What a token says of itself (`CK_TOKEN_INFO`), as far as this plugin needs it, and never more strictly than needed.

use cryptoki::slot::{self, Limit};
use cryptoki_sys::{
    CK_EFFECTIVELY_INFINITE, CK_TOKEN_INFO, CK_ULONG, CK_UNAVAILABLE_INFORMATION, CKF_LOGIN_REQUIRED,
    CKF_PROTECTED_AUTHENTICATION_PATH, CKF_TOKEN_INITIALIZED, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY,
    CKF_USER_PIN_LOCKED, CKF_WRITE_PROTECTED,
};

/// What tells one token from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Label, without its padding.
    pub label: String,
    /// Serial number, without its padding.
    pub serial: String,
    /// Manufacturer, without its padding.
    pub manufacturer: String,
    /// Model, without its padding.
    pub model: String,
}

/// What a token says of itself at one moment.
#[derive(Clone, Debug)]
pub struct TokenInfo {
    /// Which token it is.
    pub identity: Identity,
    /// Most sessions one application may have open; `None` if the token does not say or has no limit.
    pub sessions_max: Option<usize>,
    /// Shortest and longest PIN, in bytes.
    pub pin_bytes: (usize, usize),
    flags: CK_ULONG,
}

impl TokenInfo {
    /// Whether the token is initialised: it has a label and may hold objects.
    pub const fn is_initialised(&self) -> bool {
        self.flags & CKF_TOKEN_INITIALIZED != 0
    }

    /// Whether private objects are seen after a login only.
    pub const fn asks_for_login(&self) -> bool {
        self.flags & CKF_LOGIN_REQUIRED != 0
    }

    /// Whether it has a way of its own to ask for the PIN, such as a keypad.
    pub const fn has_own_keypad(&self) -> bool {
        self.flags & CKF_PROTECTED_AUTHENTICATION_PATH != 0
    }

    /// Whether nothing can be written to it.
    pub const fn is_write_protected(&self) -> bool {
        self.flags & CKF_WRITE_PROTECTED != 0
    }

    /// Whether wrong PINs have been counted.
    pub const fn is_pin_count_low(&self) -> bool {
        self.flags & CKF_USER_PIN_COUNT_LOW != 0
    }

    /// Whether the next wrong PIN locks the token.
    pub const fn is_last_try(&self) -> bool {
        self.flags & CKF_USER_PIN_FINAL_TRY != 0
    }

    /// Whether the PIN is locked.
    pub const fn is_pin_locked(&self) -> bool {
        self.flags & CKF_USER_PIN_LOCKED != 0
    }
}

impl From<&slot::TokenInfo> for TokenInfo {
    /// For a library whose token infos cannot be had as they are.
    fn from(info: &slot::TokenInfo) -> Self {
        let limit = |limit| match limit {
            Limit::Max(most) => usize::try_from(most).ok(),
            Limit::Unavailable | Limit::Infinite => None,
        };
        let flags = [
            (info.token_initialized(), CKF_TOKEN_INITIALIZED),
            (info.login_required(), CKF_LOGIN_REQUIRED),
            (info.protected_authentication_path(), CKF_PROTECTED_AUTHENTICATION_PATH),
            (info.write_protected(), CKF_WRITE_PROTECTED),
            (info.user_pin_count_low(), CKF_USER_PIN_COUNT_LOW),
            (info.user_pin_final_try(), CKF_USER_PIN_FINAL_TRY),
            (info.user_pin_locked(), CKF_USER_PIN_LOCKED),
        ];
        Self {
            identity: Identity {
                label: info.label().to_owned(),
                serial: info.serial_number().to_owned(),
                manufacturer: info.manufacturer_id().to_owned(),
                model: info.model().to_owned(),
            },
            sessions_max: limit(info.max_session_count()),
            pin_bytes: (info.min_pin_length(), info.max_pin_length()),
            flags: flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag),
        }
    }
}

impl From<&CK_TOKEN_INFO> for TokenInfo {
    fn from(info: &CK_TOKEN_INFO) -> Self {
        let number = |value: CK_ULONG| usize::try_from(value).unwrap_or(usize::MAX);
        let known = |value: CK_ULONG| (value != CK_UNAVAILABLE_INFORMATION).then(|| number(value));
        Self {
            identity: Identity {
                label: unpadded(&info.label),
                serial: unpadded(&info.serialNumber),
                manufacturer: unpadded(&info.manufacturerID),
                model: unpadded(&info.model),
            },
            sessions_max: known(info.ulMaxSessionCount)
                .filter(|_| info.ulMaxSessionCount != CK_EFFECTIVELY_INFINITE),
            pin_bytes: (number(info.ulMinPinLen), number(info.ulMaxPinLen)),
            flags: info.flags,
        }
    }
}

/// Blanks pad these strings (PKCS#11 v3.1 section 3.2); some modules pad with zero bytes as C does.
fn unpadded(bytes: &[u8]) -> String {
    let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).trim_end_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> CK_TOKEN_INFO {
        let mut info = CK_TOKEN_INFO {
            label: [b' '; 32],
            serialNumber: *b"0000000000000000",
            utcTime: *b"no clock at all!",
            ..CK_TOKEN_INFO::default()
        };
        info.label[..5].copy_from_slice(b"Build");
        info.manufacturerID[..3].copy_from_slice(b"IBM");
        info
    }

    #[test]
    fn padding_of_both_kinds_is_dropped_and_the_clock_is_not_looked_at() {
        let Identity { label, serial, manufacturer, model } = TokenInfo::from(&info()).identity;
        let all_zero = "0000000000000000";
        assert_eq!([label.as_str(), &serial, &manufacturer, &model], ["Build", all_zero, "IBM", ""]);
    }

    #[test]
    fn limits_that_are_none_are_told_from_limits() {
        for (value, expected) in
            [(CK_UNAVAILABLE_INFORMATION, None), (CK_EFFECTIVELY_INFINITE, None), (16, Some(16))]
        {
            let info = CK_TOKEN_INFO { ulMaxSessionCount: value, ..info() };
            assert_eq!(TokenInfo::from(&info).sessions_max, expected, "{value:#x}");
        }
    }

    #[test]
    fn flags_are_those_of_the_user_not_of_the_officer() {
        let of = |flags| TokenInfo::from(&CK_TOKEN_INFO { flags, ..info() });
        assert!(of(CKF_USER_PIN_FINAL_TRY).is_last_try() && !of(CKF_USER_PIN_LOCKED).is_last_try());
        assert!(!of(cryptoki_sys::CKF_SO_PIN_FINAL_TRY).is_last_try());
        assert!(of(CKF_TOKEN_INITIALIZED).is_initialised() && !of(0).asks_for_login());
    }
}
