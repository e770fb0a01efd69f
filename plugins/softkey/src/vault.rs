//! The vault of this plugin: files, and the rules for reading them. Nothing about Notary.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use prokura_plugin::{Error, KeyRequest};
use zeroize::Zeroizing;

use crate::error::unreadable;
use crate::limits::{CERTIFICATE_FILE_BYTES_MAX, KEY_FILE_BYTES_MAX};

/// What the plugin config may hold.
pub(crate) const CONFIG_NAMES: &[&str] = &["keyPath", "certPath", "dir"];

/// Where a key and its certificates lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyFiles {
    key: PathBuf,
    certificates: Option<PathBuf>,
    /// Whether the file name came from a key id: then symbolic links are refused and certificates may be absent.
    named_by_key_id: bool,
}

impl KeyFiles {
    /// Finds the two files a request means: `keyPath` and `certPath`, or `dir` and the key id.
    pub(crate) fn of(request: &KeyRequest) -> Result<Self, Error> {
        let key_path = request.config_optional("keyPath");
        match (key_path, request.config_optional("dir")) {
            (Some(_), Some(_)) => Err(Error::validation(
                "plugin config has both keyPath and dir, expected one of them; remove the other from the key",
            )),
            (Some(key), None) => Ok(Self {
                key: key.into(),
                certificates: request.config_optional("certPath").map(PathBuf::from),
                named_by_key_id: false,
            }),
            (None, Some(dir)) => {
                let name = request.key_id().as_file_name()?;
                let file = |suffix: &str| Path::new(dir).join(format!("{name}.{suffix}"));
                Ok(Self { key: file("key"), certificates: Some(file("crt")), named_by_key_id: true })
            }
            (None, None) => Err(Error::validation(
                "plugin config names no key: set keyPath=FILE or dir=DIRECTORY with --plugin-config",
            )),
        }
    }

    /// The key file's path, for messages.
    pub(crate) fn key_path(&self) -> &Path {
        &self.key
    }

    /// Reads the private key's PEM text.
    pub(crate) fn read_key(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let file = self.open(&self.key)?;
        let mode = file.metadata().map_err(|e| unreadable(&self.key, &e))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = self.key.display();
            return Err(Error::access_denied(format!(
                "key file {path} has mode {mode:04o}: others than its owner can use it, expected 0600; \
                 run chmod 600 {path}, and replace the key if others may have read it"
            )));
        }
        read_bounded(&file, &self.key, KEY_FILE_BYTES_MAX)
    }

    /// Reads the certificates' PEM text; empty where there are none.
    pub(crate) fn read_certificates(&self) -> Result<Vec<u8>, Error> {
        let Some(path) = &self.certificates else { return Ok(Vec::new()) };
        if self.named_by_key_id && !path.exists() {
            return Ok(Vec::new());
        }
        let file = self.open(path)?;
        read_bounded(&file, path, CERTIFICATE_FILE_BYTES_MAX).map(|mut text| std::mem::take(&mut *text))
    }

    fn open(&self, path: &Path) -> Result<File, Error> {
        let failed = |e: std::io::Error| unreadable(path, &e);
        let seen = if self.named_by_key_id { fs::symlink_metadata(path) } else { fs::metadata(path) };
        let seen = seen.map_err(failed)?;
        if !seen.is_file() {
            let found = if seen.is_symlink() { "a symbolic link" } else { "not a regular file" };
            return Err(Error::validation(format!("{} is {found}, expected a regular file", path.display())));
        }
        let file = File::open(path).map_err(failed)?;
        let opened = file.metadata().map_err(failed)?;
        if (opened.dev(), opened.ino()) != (seen.dev(), seen.ino()) {
            let path = path.display();
            return Err(Error::internal(format!("{path} was replaced while it was opened; try again")));
        }
        Ok(file)
    }
}

fn read_bounded(file: &File, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
    // One allocation of the final size: a growing buffer would leave copies of the key behind.
    let len = file.metadata().map_err(|e| unreadable(path, &e))?.len();
    let capacity = usize::try_from(len.min(limit)).unwrap_or_default() + 2;
    let mut text = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(limit + 1).read_to_end(&mut text).map_err(|e| unreadable(path, &e))?;
    if text.len() as u64 > limit {
        let path = path.display();
        return Err(Error::validation(format!("{path} is larger than {limit} bytes, expected a PEM file")));
    }
    Ok(text)
}
