//! What a vault says of a key besides its public half: version, state, policies, origin.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::certificate::CertificateChain;
use crate::key::KeySpec;
use crate::public_key::PublicKey;
use crate::request::KeyId;

/// A text that is none of those an enumeration of the protocol knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownText(&'static str);

impl fmt::Display for UnknownText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {}", self.0)
    }
}

impl std::error::Error for UnknownText {}

macro_rules! texts {
    ($(#[$about:meta])* $name:ident, $all:literal, $($(#[$meaning:meta])* $variant:ident = $text:literal,)+) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$meaning])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$(Self::$variant,)+];

            /// The wire form.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownText;

            fn from_str(text: &str) -> Result<Self, UnknownText> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text).ok_or(UnknownText($all))
            }
        }
    };
}

texts! {
    /// Whether a key can be used.
    KeyState, "ENABLED, DISABLED, PENDING_DELETION, UNAVAILABLE",
    /// It can sign.
    Enabled = "ENABLED",
    /// Somebody switched it off, or its time has not come or is over.
    Disabled = "DISABLED",
    /// It is on its way out and may be brought back.
    PendingDeletion = "PENDING_DELETION",
    /// The vault cannot reach it now.
    Unavailable = "UNAVAILABLE",
}

texts! {
    /// Whether a signature takes a PIN.
    PinPolicy, "NEVER, ONCE, ALWAYS",
    /// No PIN.
    Never = "NEVER",
    /// Once per session.
    Once = "ONCE",
    /// For each signature (`CKA_ALWAYS_AUTHENTICATE`, PIV slot 9c).
    Always = "ALWAYS",
}

texts! {
    /// Whether a signature takes a touch.
    TouchPolicy, "NEVER, CACHED, ALWAYS",
    /// No touch.
    Never = "NEVER",
    /// A touch counts for some seconds.
    Cached = "CACHED",
    /// For each signature.
    Always = "ALWAYS",
}

/// The attribute ([`KeyDetails::attributes`]) that tells a person how this vault comes to a certificate for the key, in
/// one sentence without a full stop. A host repeats it where it finds no certificate (SPEC section 5.2).
pub const CERTIFICATE_ADVICE: &str = "certificate-advice";

/// What else a vault says of a key. What it does not say is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyDetails {
    /// The vault's own name of the exact version, which later calls may pin.
    pub version: Option<String>,
    /// Whether it can be used.
    pub state: Option<KeyState>,
    /// Whether a signature takes a PIN.
    pub pin_policy: Option<PinPolicy>,
    /// Whether a signature takes a touch.
    pub touch_policy: Option<TouchPolicy>,
    /// Whether the private key can leave the vault.
    pub exportable: Option<bool>,
    /// A name for people.
    pub label: Option<String>,
    /// The key id that names exactly this key and version, if it is another than the one asked for.
    pub exact_key_id: Option<KeyId>,
    /// The vendor's own facts, such as `slot` or `arn`. Hold no secret.
    pub attributes: BTreeMap<String, String>,
    /// How the device says the key was made: X.509 certificates in DER, leaf first.
    pub attestation: Vec<Vec<u8>>,
}

impl KeyDetails {
    /// Adds one of the vendor's own facts.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Whether the same digest may be signed again without asking a person: neither PIN nor touch per signature.
    pub fn may_repeat(&self) -> bool {
        let touched = matches!(self.touch_policy, Some(TouchPolicy::Always | TouchPolicy::Cached));
        self.pin_policy != Some(PinPolicy::Always) && !touched
    }
}

/// A key as the vault lists it or has just made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDescription {
    /// Names exactly this key in later calls.
    pub key_id: KeyId,
    /// Its public half.
    pub public_key: PublicHalf,
    /// The certificates the vault holds for it; may be empty.
    pub certificates: CertificateChain,
    /// What else is known.
    pub details: KeyDetails,
}

/// The public half of a key that is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicHalf {
    /// The key itself.
    Known(PublicKey),
    /// Of this spec; the vault hands it out only while the key can be used, and now it cannot: the details name its state
    /// (SPEC LIST-5).
    Withheld(KeySpec),
}

impl PublicHalf {
    /// The key itself, unless it is withheld.
    pub const fn known(&self) -> Option<&PublicKey> {
        match self {
            Self::Known(key) => Some(key),
            Self::Withheld(_) => None,
        }
    }

    /// What kind of key.
    pub const fn spec(&self) -> KeySpec {
        match self {
            Self::Known(key) => key.spec(),
            Self::Withheld(spec) => *spec,
        }
    }
}

impl From<PublicKey> for PublicHalf {
    fn from(key: PublicKey) -> Self {
        Self::Known(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_written_and_nothing_else() {
        for state in KeyState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        assert_eq!(
            "always".parse::<PinPolicy>().unwrap_err().to_string(),
            "expected one of NEVER, ONCE, ALWAYS"
        );
    }

    #[test]
    fn what_takes_a_person_is_not_repeated() {
        let with =
            |pin_policy, touch_policy| KeyDetails { pin_policy, touch_policy, ..KeyDetails::default() };
        assert!(with(None, None).may_repeat());
        assert!(with(Some(PinPolicy::Once), Some(TouchPolicy::Never)).may_repeat());
        assert!(!with(Some(PinPolicy::Always), None).may_repeat());
        assert!(!with(None, Some(TouchPolicy::Cached)).may_repeat());
    }
}
