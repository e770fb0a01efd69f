//! Where the PIN comes from: a file, the environment or a systemd credential; never argv, never the key id.

mod file;

use std::ffi::OsString;
use std::path::PathBuf;

use prokura_plugin::Error;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::limits::PIN_BYTES_MAX;

/// Environment variable read when no source is named.
pub const DEFAULT_VARIABLE: &str = "PROKURA_PLUGIN_PKCS11_PIN";
/// systemd credential read when no source is named and [`DEFAULT_VARIABLE`] is unset.
pub const DEFAULT_CREDENTIAL: &str = "notation-pkcs11.pin";
/// Directory of systemd credentials, as the service manager passes it (systemd.exec(5)).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Looks up an environment variable.
type Variable = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// What the binary lends to the plugin: its environment and its stderr.
pub struct Surroundings {
    variable: Box<Variable>,
    warn: Box<dyn Fn(&str) + Send + Sync>,
}

/// The named source of a PIN.
pub enum PinSource {
    /// A file, its first line being the PIN.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A file in systemd's credentials directory.
    Credential(String),
    /// Plain text in the plugin config: works, with a warning, see [`PinSource::warn`].
    Configured(SecretString),
    /// Nothing named: [`DEFAULT_VARIABLE`], then [`DEFAULT_CREDENTIAL`], then no PIN.
    Default,
}

/// A PIN and where it was found. No Debug, no Clone; zeroized when dropped.
pub struct Pin {
    secret: SecretString,
    origin: String,
}

/// Why there is no PIN to use. No message repeats what was read.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// `pin-source` names a program.
    #[error(
        "pin-source names a program to run, which is refused; expected file:/PATH, env:NAME or credential:NAME"
    )]
    Program,
    /// `pin-source` is none of the known forms. It is not repeated: it may be the PIN itself.
    #[error("pin-source is not understood; expected file:/PATH, /PATH, env:NAME or credential:NAME")]
    Form,
    /// The file cannot be read.
    #[error("PIN {origin}: {reason}")]
    Unreadable {
        /// Where the PIN should be.
        origin: String,
        /// The operating system's reason, or ours.
        reason: String,
    },
    /// Other users may read or write the file.
    #[error(
        "PIN {origin} has mode {mode:03o}: other users may reach it. Its owner must take those rights away (chmod o= FILE)"
    )]
    OpenToOthers {
        /// Where the PIN is.
        origin: String,
        /// Permission bits found.
        mode: u32,
    },
    /// The variable or credential does not exist.
    #[error("PIN {origin} is not set")]
    Absent {
        /// Where the PIN should be.
        origin: String,
    },
    /// Empty, longer than any PIN, or not UTF-8.
    #[error("PIN {origin} is {found}, expected 1 to {PIN_BYTES_MAX} bytes of UTF-8")]
    NotAPin {
        /// Where the PIN should be.
        origin: String,
        /// What is wrong.
        found: &'static str,
    },
}

impl From<PinError> for Error {
    fn from(error: PinError) -> Self {
        match error {
            PinError::Program | PinError::Form => Self::validation(error.to_string()),
            _ => Self::access_denied(error.to_string()),
        }
    }
}

impl Surroundings {
    /// `variable` looks up an environment variable; `warn` shows one line to the operator.
    pub fn new(
        variable: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
        warn: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self { variable: Box::new(variable), warn: Box::new(warn) }
    }

    /// Shows one line to the operator.
    pub fn warn(&self, line: &str) {
        (self.warn)(line);
    }
}

impl PinSource {
    /// Parses `pin-source`: `file:/PATH` or `/PATH` (RFC 7512 section 2.4), `env:NAME`, `credential:NAME`.
    ///
    /// # Errors
    /// [`PinError::Program`] and [`PinError::Form`].
    pub fn parse(text: &str) -> Result<Self, PinError> {
        if text.trim_start().starts_with('|') {
            return Err(PinError::Program);
        }
        if let Some(name) = text.strip_prefix("env:") {
            return variable_name(name).map(|n| Self::Environment(n.to_owned())).ok_or(PinError::Form);
        }
        if let Some(name) = text.strip_prefix("credential:") {
            return plain_name(name).map(|n| Self::Credential(n.to_owned())).ok_or(PinError::Form);
        }
        let path = text.strip_prefix("file:").unwrap_or(text);
        let path = path.strip_prefix("//").filter(|p| p.starts_with('/')).unwrap_or(path);
        if !path.starts_with('/') || path.starts_with("//") || path.contains('\0') {
            return Err(PinError::Form);
        }
        Ok(Self::File(PathBuf::from(path)))
    }

    /// Warns of a PIN in the plugin config: it works, and it is shown to anyone who lists the keys.
    pub fn warn(&self, surroundings: &Surroundings) {
        if matches!(self, Self::Configured(_)) {
            surroundings.warn(
                "the PIN stands in plain text in the plugin config, where other programs and logs may show it; move \
                 it to a file that only its owner may read and set pin-source=file:/PATH instead of pin",
            );
        }
    }

    /// Reads the PIN. `None` only from [`PinSource::Default`].
    ///
    /// # Errors
    /// [`PinError`], see there.
    pub fn read(&self, surroundings: &Surroundings) -> Result<Option<Pin>, PinError> {
        let pin = match self {
            Self::File(path) => file::read(path, format!("file {}", path.display()))?,
            Self::Environment(name) => from_variable(name, surroundings)?,
            Self::Credential(name) => from_credential(name, surroundings)?,
            Self::Configured(secret) => {
                Pin::new(secret.expose_secret().as_bytes(), "from plugin config \"pin\"".to_owned())?
            }
            Self::Default => return from_default(surroundings),
        };
        Ok(Some(pin))
    }
}

impl Pin {
    /// The PIN, for the login alone.
    pub const fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// Where it was found, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether both are the same PIN, wherever they were found.
    pub fn is_same(&self, other: &Self) -> bool {
        self.secret.expose_secret() == other.secret.expose_secret()
    }

    /// Its length in bytes, which tokens limit.
    pub fn len(&self) -> usize {
        self.secret.expose_secret().len()
    }

    /// Never: an empty PIN is refused where it is read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn new(bytes: &[u8], origin: String) -> Result<Self, PinError> {
        let found = match std::str::from_utf8(bytes) {
            Ok("") => "empty",
            Ok(text) if text.len() <= PIN_BYTES_MAX => return Ok(Self { secret: secret(text), origin }),
            Ok(_) => "too long",
            Err(_) => "not text",
        };
        Err(PinError::NotAPin { origin, found })
    }
}

/// Takes a secret text over without leaving a second copy: the capacity is exact, so boxing does not move it.
pub fn secret(text: &str) -> SecretString {
    let mut exact = String::with_capacity(text.len());
    exact.push_str(text);
    SecretString::from(exact)
}

fn from_default(surroundings: &Surroundings) -> Result<Option<Pin>, PinError> {
    for source in [
        PinSource::Environment(DEFAULT_VARIABLE.to_owned()),
        PinSource::Credential(DEFAULT_CREDENTIAL.to_owned()),
    ] {
        match source.read(surroundings) {
            Err(PinError::Absent { .. }) => {}
            other => return other,
        }
    }
    Ok(None)
}

fn from_variable(name: &str, surroundings: &Surroundings) -> Result<Pin, PinError> {
    let origin = format!("from environment variable {name}");
    let Some(value) = (surroundings.variable)(name) else { return Err(PinError::Absent { origin }) };
    let value = Zeroizing::new(value.into_encoded_bytes());
    Pin::new(&value, origin)
}

fn from_credential(name: &str, surroundings: &Surroundings) -> Result<Pin, PinError> {
    let origin = format!("from systemd credential {name}");
    let directory = (surroundings.variable)(CREDENTIALS_DIRECTORY).map(PathBuf::from);
    let Some(directory) = directory.filter(|d| d.is_absolute()) else {
        return Err(PinError::Absent { origin });
    };
    let path = directory.join(name);
    if !path.exists() {
        return Err(PinError::Absent { origin });
    }
    file::read(&path, origin)
}

fn variable_name(name: &str) -> Option<&str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (name.bytes().all(allowed) && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()))
        .then_some(name)
}

/// A file name that does not lead out of its directory.
fn plain_name(name: &str) -> Option<&str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (name.bytes().all(allowed) && !name.is_empty() && !name.starts_with('.')).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};

    use std::path::Path;

    use super::*;

    fn nothing() -> Surroundings {
        Surroundings::new(|_| None, |_| {})
    }

    fn with(name: &'static str, value: impl Into<OsString>) -> Surroundings {
        let value = value.into();
        Surroundings::new(move |n| (n == name).then(|| value.clone()), |_| {})
    }

    fn text(pin: &Pin) -> &str {
        pin.secret().expose_secret()
    }

    fn error(result: Result<Option<Pin>, PinError>) -> PinError {
        match result {
            Ok(_) => panic!("a PIN was found"),
            Err(error) => error,
        }
    }

    #[test]
    fn sources_are_read_by_their_form() {
        for (form, path) in [("/a/b", "/a/b"), ("file:/a/b", "/a/b"), ("file:///a b", "/a b")] {
            let source = PinSource::parse(form).ok().unwrap();
            assert!(matches!(source, PinSource::File(p) if p == Path::new(path)), "{form}");
        }
        assert!(matches!(PinSource::parse("env:A_1"), Ok(PinSource::Environment(n)) if n == "A_1"));
        assert!(matches!(PinSource::parse("credential:a.pin"), Ok(PinSource::Credential(n)) if n == "a.pin"));
    }

    #[test]
    fn hostile_sources_are_refused_without_repeating_them() {
        for program in ["|/bin/echo 1234", " |cat"] {
            assert!(matches!(PinSource::parse(program), Err(PinError::Program)), "{program}");
        }
        for form in [
            "",
            "1234",
            "file:",
            "file:pin",
            "file://host/pin",
            "//host/pin",
            "env:",
            "env:A=B",
            "env:1A",
            "credential:",
            "credential:../pin",
            "credential:a/b",
            "credential:.pin",
            "http://x/1234",
            "/a\0b",
        ] {
            let error = PinSource::parse(form).err().unwrap();
            assert!(matches!(error, PinError::Form), "{form:?}: {error}");
            assert!(!error.to_string().contains("1234"));
        }
    }

    #[test]
    fn variables_and_credentials_are_found_and_their_absence_named() {
        let pin = PinSource::Environment("P".into()).read(&with("P", "1234")).unwrap().unwrap();
        assert_eq!((text(&pin), pin.origin()), ("1234", "from environment variable P"));
        let found = error(PinSource::Environment("P".into()).read(&nothing()));
        assert!(found.to_string().contains("variable P is not set"), "{found}");

        let directory = tempfile::tempdir().unwrap();
        let surroundings = with(CREDENTIALS_DIRECTORY, directory.path());
        let absent = error(PinSource::Credential("p".into()).read(&surroundings));
        assert!(matches!(absent, PinError::Absent { .. }), "{absent}");
        std::fs::write(directory.path().join("p"), "5678\n").unwrap();
        std::fs::set_permissions(directory.path().join("p"), std::fs::Permissions::from_mode(0o400)).unwrap();
        let pin = PinSource::Credential("p".into()).read(&surroundings).unwrap().unwrap();
        assert_eq!(text(&pin), "5678");
    }

    #[test]
    fn without_a_source_the_defaults_are_tried_and_none_is_no_error() {
        let pin = PinSource::Default.read(&with(DEFAULT_VARIABLE, "1234")).unwrap().unwrap();
        assert_eq!(text(&pin), "1234");
        assert!(PinSource::Default.read(&nothing()).unwrap().is_none());
        let found = error(PinSource::Default.read(&with(DEFAULT_VARIABLE, "")));
        assert!(
            matches!(found, PinError::NotAPin { .. }),
            "an empty default is a mistake, not an absence: {found}"
        );
    }

    #[test]
    fn a_pin_in_the_config_works_with_a_warning_that_does_not_show_it() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let surroundings =
            Surroundings::new(|_| None, move |line| sink.lock().unwrap().push(line.to_owned()));
        let source = PinSource::Configured(secret("9753"));
        let pin = source.read(&surroundings).unwrap().unwrap();
        assert_eq!(text(&pin), "9753");
        source.warn(&surroundings);
        PinSource::Default.warn(&surroundings);
        let lines = lines.lock().unwrap();
        assert!(
            lines.len() == 1 && lines[0].contains("pin-source") && !lines[0].contains("9753"),
            "{lines:?}"
        );
    }
}
