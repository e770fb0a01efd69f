//! Rules: what is broken, in which call, how often.
//!
//! A line is `NUMBER FUNCTION FIRST TIMES ACTION [ARGUMENT]`, such as `1 C_Sign 3 1 return CKR_DEVICE_ERROR`: in the
//! third call of C_Sign since the rule was made, once. TIMES 0 is for ever. FUNCTION `*` is any but C_Initialize and
//! C_Finalize. `C_Sign(length)` is the call of C_Sign that only asks for the length.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use cryptoki_sys::*;

/// What happens instead of, before or after the real call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `return CKR`: nothing is forwarded.
    Return(CK_RV),
    /// `return-after CKR`: forwarded, its answer is lost.
    ReturnAfter(CK_RV),
    /// `delay MS`: forwarded later.
    Delay(u64),
    /// `hang`: until the rule is gone, then forwarded.
    Hang,
    /// `abort`: the process ends with SIGABRT.
    Abort,
    /// `lose-sessions`: all sessions of the process are closed first, as a network HSM does when it restarts.
    LoseSessions,
    /// `lose-login`: the token is logged out first.
    LoseLogin,
    /// `lose-module`: the real module is finalised first; until C_Initialize it knows nothing.
    LoseModule,
    /// `remove`: there is no token as long as the rule stands; its sessions are gone for good.
    Remove,
    /// `slots N`: slots have numbers higher by N.
    Slots(CK_SLOT_ID),
    /// `limit N`: C_OpenSession refuses more sessions than N.
    Limit(usize),
    /// `flip BIT`, `truncate N`, `extend N`, `der`: how C_Sign changes the signature.
    Signature(Change),
    /// `key LABEL`: C_SignInit takes that private key.
    Key(String),
    /// `raw-point`: CKA_EC_POINT comes without the OCTET STRING around it.
    RawPoint,
    /// `attribute TYPE HEX`: C_GetAttributeValue answers this.
    Attribute(CK_ATTRIBUTE_TYPE, Vec<u8>),
    /// `hide CKM,CKM`: the token has not these mechanisms.
    Hide(Vec<CK_MECHANISM_TYPE>),
    /// `flags N`, `max-sessions N`, `serial TEXT`, `label TEXT`: what C_GetTokenInfo says.
    Info(Info),
}

/// How a signature is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Flip(usize),
    Truncate(usize),
    Extend(usize),
    Der,
}

/// What a token says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Info {
    Flags(CK_FLAGS),
    MaxSessions(CK_ULONG),
    Serial(String),
    Label(String),
}

struct Rule {
    number: u32,
    function: String,
    first: u64,
    times: u64,
    action: Action,
}

/// What the file says of this call. A rule that is no rule breaks everything, so that no test passes by a misprint.
pub(crate) fn actions(directory: &Path, function: &str) -> Result<Vec<Action>, CK_RV> {
    let text = std::fs::read_to_string(directory.join("faults")).unwrap_or_default();
    let mut actions = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let rule = parse(line).ok_or(CKR_VENDOR_DEFINED | 0xBAD)?;
        if rule.matches(function) && rule.is_due(directory) {
            rule.note(directory);
            actions.push(rule.action);
        }
    }
    Ok(actions)
}

impl Rule {
    fn matches(&self, function: &str) -> bool {
        let any = self.function == "*" && !["C_Initialize", "C_Finalize", "C_GetInfo"].contains(&function);
        any || self.function == function
    }

    /// Leaves word that it was applied: a test that nothing happened to would prove nothing.
    fn note(&self, directory: &Path) {
        let fired = directory.join(format!("fired.{}", self.number));
        if !fired.exists() {
            let _ = File::create(fired);
        }
    }

    fn is_due(&self, directory: &Path) -> bool {
        if self.first <= 1 && self.times == 0 {
            return true;
        }
        let call = count(&directory.join(format!("tally.{}", self.number))).unwrap_or(u64::MAX);
        call >= self.first && (self.times == 0 || call < self.first + self.times)
    }
}

/// Counts one up in a file that all processes share.
fn count(path: &Path) -> std::io::Result<u64> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let next = text.trim().parse().unwrap_or(0u64) + 1;
    file.rewind()?;
    write!(file, "{next}")?;
    Ok(next)
}

fn parse(line: &str) -> Option<Rule> {
    let mut words = line.splitn(6, ' ');
    let number = words.next()?.parse().ok()?;
    let function = words.next()?.to_owned();
    let (first, times) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let action = action(words.next()?, words.next().unwrap_or_default())?;
    Some(Rule { number, function, first, times, action })
}

fn action(name: &str, argument: &str) -> Option<Action> {
    Some(match name {
        "return" => Action::Return(return_value(argument)?),
        "return-after" => Action::ReturnAfter(return_value(argument)?),
        "delay" => Action::Delay(argument.parse().ok()?),
        "hang" => Action::Hang,
        "abort" => Action::Abort,
        "lose-sessions" => Action::LoseSessions,
        "lose-login" => Action::LoseLogin,
        "lose-module" => Action::LoseModule,
        "remove" => Action::Remove,
        "slots" => Action::Slots(argument.parse().ok()?),
        "limit" => Action::Limit(argument.parse().ok()?),
        "flip" => Action::Signature(Change::Flip(argument.parse().ok()?)),
        "truncate" => Action::Signature(Change::Truncate(argument.parse().ok()?)),
        "extend" => Action::Signature(Change::Extend(argument.parse().ok()?)),
        "der" => Action::Signature(Change::Der),
        "key" => Action::Key(argument.to_owned()),
        "raw-point" => Action::RawPoint,
        "attribute" => {
            let (kind, value) = argument.split_once(' ')?;
            Action::Attribute(kind.parse().ok()?, hex(value)?)
        }
        "hide" => Action::Hide(argument.split(',').map(mechanism).collect::<Option<_>>()?),
        "flags" => Action::Info(Info::Flags(argument.parse().ok()?)),
        "max-sessions" => Action::Info(Info::MaxSessions(argument.parse().ok()?)),
        "serial" => Action::Info(Info::Serial(argument.to_owned())),
        "label" => Action::Info(Info::Label(argument.to_owned())),
        _ => return None,
    })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

macro_rules! names {
    ($text:expr, $($name:ident)*) => {
        match $text {
            $(stringify!($name) => Some($name),)*
            number => number.strip_prefix("0x").and_then(|n| CK_ULONG::from_str_radix(n, 16).ok()),
        }
    };
}

fn return_value(text: &str) -> Option<CK_RV> {
    names!(text,
        CKR_OK CKR_HOST_MEMORY CKR_SLOT_ID_INVALID CKR_GENERAL_ERROR CKR_FUNCTION_FAILED CKR_ARGUMENTS_BAD
        CKR_ATTRIBUTE_SENSITIVE CKR_ATTRIBUTE_TYPE_INVALID CKR_DATA_LEN_RANGE CKR_DEVICE_ERROR CKR_DEVICE_MEMORY
        CKR_DEVICE_REMOVED CKR_FUNCTION_CANCELED CKR_FUNCTION_NOT_SUPPORTED CKR_KEY_HANDLE_INVALID CKR_KEY_SIZE_RANGE
        CKR_KEY_TYPE_INCONSISTENT CKR_KEY_FUNCTION_NOT_PERMITTED CKR_MECHANISM_INVALID CKR_MECHANISM_PARAM_INVALID
        CKR_OBJECT_HANDLE_INVALID CKR_OPERATION_ACTIVE CKR_OPERATION_NOT_INITIALIZED CKR_PIN_INCORRECT CKR_PIN_INVALID
        CKR_PIN_LEN_RANGE CKR_PIN_EXPIRED CKR_PIN_LOCKED CKR_SESSION_CLOSED CKR_SESSION_COUNT
        CKR_SESSION_HANDLE_INVALID CKR_TOKEN_NOT_PRESENT CKR_TOKEN_NOT_RECOGNIZED CKR_USER_ALREADY_LOGGED_IN
        CKR_USER_NOT_LOGGED_IN CKR_USER_PIN_NOT_INITIALIZED CKR_USER_ANOTHER_ALREADY_LOGGED_IN
        CKR_USER_TOO_MANY_TYPES CKR_BUFFER_TOO_SMALL CKR_CRYPTOKI_NOT_INITIALIZED CKR_CRYPTOKI_ALREADY_INITIALIZED
        CKR_FUNCTION_REJECTED CKR_VENDOR_DEFINED
    )
}

fn mechanism(text: &str) -> Option<CK_MECHANISM_TYPE> {
    names!(text, CKM_RSA_PKCS CKM_RSA_X_509 CKM_RSA_PKCS_PSS CKM_ECDSA CKM_EC_KEY_PAIR_GEN CKM_RSA_PKCS_KEY_PAIR_GEN)
}
