//! The named source of a PIN, parsed strictly and read when it is needed.

use std::ffi::OsString;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{Pin, PinError, file, pinentry, terminal};
use crate::request::Deadline;

/// Directory of systemd credentials, as the service manager passes it (systemd.exec(5)).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Looks up an environment variable.
type Variable = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// Where a plugin looks when no source is named.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Environment variable, read first.
    pub variable: &'static str,
    /// systemd credential, read if the variable is unset.
    pub credential: &'static str,
}

/// What the binary lends to the plugin: its environment and its stderr.
pub struct Surroundings {
    defaults: Defaults,
    variable: Box<Variable>,
    warn: Box<dyn Fn(&str) + Send + Sync>,
}

/// The named source of a PIN.
pub enum PinSource {
    /// A file, its first line being the PIN; readable by nobody but its owner and group.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A file in systemd's credentials directory.
    Credential(String),
    /// A program of the pinentry family, on the display or terminal of whoever started the host.
    Pinentry,
    /// The controlling terminal, without echo.
    Terminal,
    /// Whoever the host can ask. Reading it here finds nothing; the plugin asks with what its request offers.
    Person,
    /// Plain text in the plugin config: works, with a warning, see [`PinSource::warn`].
    Configured(Pin),
    /// Nothing named: the [`Defaults`], then no PIN.
    Default,
}

impl Surroundings {
    /// `variable` looks up an environment variable; `warn` shows one line to the operator.
    pub fn new(
        defaults: Defaults,
        variable: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
        warn: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self { defaults, variable: Box::new(variable), warn: Box::new(warn) }
    }

    /// Shows one line to the operator.
    pub fn warn(&self, line: &str) {
        (self.warn)(line);
    }

    /// An environment variable, as the binary sees it.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        (self.variable)(name)
    }
}

impl PinSource {
    /// Parses a source: `file:/PATH` or `/PATH` (RFC 7512 section 2.4), `env:NAME`, `credential:NAME`, `pinentry`,
    /// `terminal`, `ask`.
    ///
    /// # Errors
    /// [`PinError::Program`] and [`PinError::Form`].
    pub fn parse(text: &str) -> Result<Self, PinError> {
        if text.trim_start().starts_with('|') {
            return Err(PinError::Program);
        }
        match text {
            "pinentry" => return Ok(Self::Pinentry),
            "terminal" => return Ok(Self::Terminal),
            "ask" => return Ok(Self::Person),
            _ => {}
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

    /// A PIN that stands in the plugin config itself.
    ///
    /// # Errors
    /// [`PinError::NotAPin`].
    pub fn configured(text: &str) -> Result<Self, PinError> {
        Pin::new(text.as_bytes(), "from plugin config \"pin\"").map(Self::Configured)
    }

    /// Whether a person is asked each time it is read. Such a source is not read to see whether its PIN is still the
    /// same.
    pub const fn is_interactive(&self) -> bool {
        matches!(self, Self::Pinentry | Self::Terminal | Self::Person)
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

    /// Reads the PIN; `question` is what a person is shown, one line. `None` only from [`PinSource::Default`] and
    /// [`PinSource::Person`]. Blocks while a person types, until `deadline` or for two minutes at most.
    ///
    /// # Errors
    /// [`PinError`], see there.
    pub fn read(
        &self,
        surroundings: &Surroundings,
        question: &str,
        deadline: Deadline,
    ) -> Result<Option<Pin>, PinError> {
        let pin = match self {
            Self::File(path) => file::read(path, format!("file {}", path.display()))?,
            Self::Environment(name) => from_variable(name, surroundings)?,
            Self::Credential(name) => from_credential(name, surroundings)?,
            Self::Pinentry => pinentry::ask(surroundings, question, deadline)?,
            Self::Terminal => terminal::ask(question, deadline)?,
            Self::Configured(pin) => Pin::new(pin.expose().as_bytes(), pin.origin())?,
            Self::Default => return from_default(surroundings),
            Self::Person => return Ok(None),
        };
        Ok(Some(pin))
    }
}

fn from_default(surroundings: &Surroundings) -> Result<Option<Pin>, PinError> {
    let Defaults { variable, credential } = surroundings.defaults;
    for found in [from_variable(variable, surroundings), from_credential(credential, surroundings)] {
        match found {
            Err(PinError::Absent { .. }) => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}

/// What a person does who has set the variable and finds it missing here.
const VARIABLE_ADVICE: &str =
    "prokura hands on to plugins variables that start with PROKURA_PLUGIN_, and few others";
const CREDENTIAL_ADVICE: &str =
    "the unit of the service needs LoadCredential= or LoadCredentialEncrypted= for it";

fn from_variable(name: &str, surroundings: &Surroundings) -> Result<Pin, PinError> {
    let origin = format!("from environment variable {name}");
    let Some(value) = surroundings.variable(name) else {
        return Err(PinError::Absent { origin, advice: VARIABLE_ADVICE });
    };
    let value = Zeroizing::new(value.into_encoded_bytes());
    Pin::new(&value, origin)
}

fn from_credential(name: &str, surroundings: &Surroundings) -> Result<Pin, PinError> {
    let origin = format!("from systemd credential {name}");
    let directory = surroundings.variable(CREDENTIALS_DIRECTORY).map(PathBuf::from);
    let Some(directory) = directory.filter(|d| d.is_absolute()) else {
        return Err(PinError::Absent { origin, advice: CREDENTIAL_ADVICE });
    };
    let path = directory.join(name);
    if !path.exists() {
        return Err(PinError::Absent { origin, advice: CREDENTIAL_ADVICE });
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
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use super::*;

    const DEFAULTS: Defaults =
        Defaults { variable: "PROKURA_PLUGIN_DEMO_PIN", credential: "notation-demo.pin" };

    fn nothing() -> Surroundings {
        Surroundings::new(DEFAULTS, |_| None, |_| {})
    }

    fn with(name: &'static str, value: impl Into<OsString>) -> Surroundings {
        let value = value.into();
        Surroundings::new(DEFAULTS, move |n| (n == name).then(|| value.clone()), |_| {})
    }

    fn read(source: &PinSource, surroundings: &Surroundings) -> Result<Option<String>, PinError> {
        let pin = source.read(surroundings, "PIN", Deadline::NONE)?;
        Ok(pin.map(|pin| format!("{} {}", pin.expose(), pin.origin())))
    }

    #[test]
    fn sources_are_read_by_their_form() {
        for (form, path) in [("/a/b", "/a/b"), ("file:/a/b", "/a/b"), ("file:///a b", "/a b")] {
            let source = PinSource::parse(form).ok().unwrap();
            assert!(matches!(source, PinSource::File(p) if p == Path::new(path)), "{form}");
        }
        assert!(matches!(PinSource::parse("env:A_1"), Ok(PinSource::Environment(n)) if n == "A_1"));
        assert!(matches!(PinSource::parse("credential:a.pin"), Ok(PinSource::Credential(n)) if n == "a.pin"));
        for (form, interactive) in [("ask", true), ("pinentry", true), ("terminal", true), ("env:A", false)] {
            assert_eq!(PinSource::parse(form).ok().unwrap().is_interactive(), interactive, "{form}");
        }
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
            "pinentry:/tmp/program",
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
        let source = PinSource::Environment("P".into());
        let found = read(&source, &with("P", "1234")).unwrap();
        assert_eq!(found.as_deref(), Some("1234 from environment variable P"));
        let found = read(&source, &nothing()).unwrap_err();
        assert!(found.to_string().contains("variable P is not set"), "{found}");

        let directory = std::env::temp_dir().join(format!("prokura-credentials-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let surroundings = with(CREDENTIALS_DIRECTORY, directory.as_path());
        let source = PinSource::Credential("p".into());
        let absent = read(&source, &surroundings).unwrap_err();
        assert!(matches!(absent, PinError::Absent { .. }), "{absent}");
        std::fs::write(directory.join("p"), "5678\n").unwrap();
        std::fs::set_permissions(directory.join("p"), std::fs::Permissions::from_mode(0o400)).unwrap();
        let found = read(&source, &surroundings).unwrap();
        assert_eq!(found.as_deref(), Some("5678 from systemd credential p"));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn without_a_source_the_defaults_are_tried_and_none_is_no_error() {
        let found = read(&PinSource::Default, &with(DEFAULTS.variable, "1234")).unwrap();
        assert!(found.unwrap().starts_with("1234 "));
        assert_eq!(read(&PinSource::Default, &nothing()), Ok(None));
        let found = read(&PinSource::Default, &with(DEFAULTS.variable, "")).unwrap_err();
        let is_mistake = matches!(found, PinError::NotAPin { .. });
        assert!(is_mistake, "an empty default is a mistake, not an absence: {found}");
    }

    #[test]
    fn a_pin_in_the_config_works_with_a_warning_that_does_not_show_it() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let surroundings =
            Surroundings::new(DEFAULTS, |_| None, move |line| sink.lock().unwrap().push(line.to_owned()));
        let source = PinSource::configured("9753").ok().unwrap();
        assert!(read(&source, &surroundings).unwrap().unwrap().starts_with("9753 "));
        source.warn(&surroundings);
        PinSource::Default.warn(&surroundings);
        let lines = lines.lock().unwrap();
        let well = lines.len() == 1 && lines[0].contains("pin-source") && !lines[0].contains("9753");
        assert!(well, "{lines:?}");
    }
}
