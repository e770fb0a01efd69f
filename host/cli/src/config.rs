//! `config.json`: registries reached by plain HTTP and the preferred envelope format. The credential helpers in it
//! are read by `prokura-registry`.

use serde::Deserialize;

use crate::cli::options::SignatureFormat;
use crate::directories::Directories;
use crate::exit::Failure;
use crate::limits::STATE_FILE_BYTES_MAX;
use crate::state_file;

/// The settings; all optional. Members that are not known are left alone: the file is shared with `notation`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    #[serde(deserialize_with = "null_as_default")]
    insecure_registries: Vec<String>,
    signature_format: Option<String>,
}

impl Config {
    /// Reads `config.json`; without one everything is at its default.
    ///
    /// # Errors
    /// If it is damaged, a symlink, or names an envelope format that does not exist.
    pub(crate) fn load(directories: &Directories) -> Result<Self, Failure> {
        let path = directories.config_file();
        let Some(bytes) = state_file::read(&path, STATE_FILE_BYTES_MAX)? else { return Ok(Self::default()) };
        let advice = "restore the file, or remove it to go back to the defaults";
        let config: Self = state_file::parse_json(&path, &bytes, advice)?;
        config.signature_format()?;
        Ok(config)
    }

    /// Whether `registry` is listed for plain HTTP; `HOST[:PORT]`, compared without regard to case.
    pub(crate) fn is_insecure(&self, registry: &str) -> bool {
        self.insecure_registries.iter().any(|listed| listed.eq_ignore_ascii_case(registry))
    }

    /// The preferred envelope format.
    ///
    /// # Errors
    /// If it is neither `jws` nor `cose`.
    pub(crate) fn signature_format(&self) -> Result<Option<SignatureFormat>, Failure> {
        match self.signature_format.as_deref() {
            None | Some("") => Ok(None),
            Some("jws") => Ok(Some(SignatureFormat::Jws)),
            Some("cose") => Ok(Some(SignatureFormat::Cose)),
            Some(other) => Err(Failure::usage(format!(
                "signature format {other:?} in config.json not supported, expected \"jws\" or \"cose\""
            ))),
        }
    }
}

/// Go writes `null` for what is absent.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Environment;

    fn load(text: &str) -> Result<Config, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let environment = Environment::new([("NOTATION_CONFIG".into(), dir.path().as_os_str().to_owned())]);
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        Config::load(&Directories::find(&environment).unwrap())
    }

    #[test]
    fn all_members_are_optional_and_null_is_absence() {
        let config = load(
            r#"{"insecureRegistries":["R.example:5000"],"credsStore":"pass","credHelpers":null,
               "signatureFormat":"cose","future":1}"#,
        )
        .unwrap();
        assert!(config.is_insecure("r.EXAMPLE:5000") && !config.is_insecure("r.example"));
        assert_eq!(config.signature_format().unwrap(), Some(SignatureFormat::Cose));
        assert!(load(r#"{"insecureRegistries":null}"#).unwrap().signature_format().unwrap().is_none());
    }

    #[test]
    fn a_half_or_wrong_file_is_refused() {
        let cut = load(r#"{"insecureRegistries":["#).unwrap_err().to_string();
        assert!(cut.contains("config.json is cut short") && cut.contains("restore the file"), "{cut}");
        let format = load(r#"{"signatureFormat":"pgp"}"#).unwrap_err().to_string();
        assert!(format.contains("\"pgp\" in config.json not supported"), "{format}");
        assert!(
            load(r#"{"signatureFormat":"jws","signatureFormat":"cose"}"#)
                .unwrap_err()
                .to_string()
                .contains("given twice")
        );
    }
}
