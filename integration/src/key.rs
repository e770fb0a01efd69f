//! Keys for tests, of every spec, each with its chain: in files, or in a PKCS#11 token.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use prokura_plugin::KeySpec;

use crate::pki::{Authority, generate_key};

/// Six keys in files as softkey wants them: `<key id>.key` and `<key id>.crt`, the key id being [`id`].
pub struct KeyFiles {
    /// Plugin config `dir`.
    pub directory: PathBuf,
    /// Root of all chains, PEM.
    pub root: String,
}

/// The key id (in files) or label (in tokens) of the test key of a spec, such as `ec-256`.
pub fn id(spec: KeySpec) -> String {
    spec.as_str().to_lowercase()
}

impl KeyFiles {
    /// Makes the keys below `directory`.
    ///
    /// # Errors
    /// If a key or file cannot be made.
    pub fn create(directory: &Path) -> Result<Self> {
        let authority = Authority::new("softkey test root")?;
        for spec in KeySpec::ALL {
            let key = generate_key(spec)?;
            let leaf = authority.issue_to(&key, &format!("softkey {spec}"), |_| ())?;
            let path = directory.join(id(spec));
            std::fs::write(path.with_extension("crt"), format!("{leaf}{}", authority.certificate()))?;
            let private = path.with_extension("key");
            std::fs::write(&private, key.serialize_pem())?;
            std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600))?;
        }
        Ok(Self { directory: directory.to_owned(), root: authority.certificate().to_owned() })
    }

    /// The private key of a spec, PEM file.
    pub fn key(&self, spec: KeySpec) -> PathBuf {
        self.directory.join(id(spec)).with_extension("key")
    }

    /// The chain of a spec, PEM file.
    pub fn chain(&self, spec: KeySpec) -> PathBuf {
        self.directory.join(id(spec)).with_extension("crt")
    }
}
