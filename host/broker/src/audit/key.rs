//! The log's Ed25519 key: made on first start, kept in a file of mode 0600, in the forms of C2SP signed-note.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::tree::sha256;
use crate::limits::AUDIT_ORIGIN_BYTES_MAX;

/// The signature type Ed25519 (C2SP signed-note, "Signature types").
const ED25519_TYPE: u8 = 1;

const PRIVATE_PREFIX: &str = "PRIVATE+KEY+";

/// A key file is about 100 bytes and the name.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// The key that signs a log's checkpoints. Its memory is wiped by AWS-LC when it is dropped.
pub struct LogKey {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

/// The public half with the log's name: what others need to verify a checkpoint. Shown as a verifier key
/// (`name+id+base64`), the form that golang.org/x/mod/sumdb/note reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The log's name cannot stand in a checkpoint.
    #[error(
        "the log's name {0:?} must have 1 to {AUDIT_ORIGIN_BYTES_MAX} bytes without spaces, control characters or '+'; \
         set it in the broker's config, such as \"broker.example.com/audit\""
    )]
    Name(String),
    /// The file cannot be read or written.
    #[error("cannot {what} the log's key {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others can read or replace the file.
    #[error(
        "the log's key {} must be a regular file of the broker's own user with mode 0600, found mode {mode:o} of uid \
         {uid}; run: chmod 600 {}; if others could read it, the log needs a new key and name",
        path.display(),
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Its owner.
        uid: u32,
    },
    /// The file holds something else.
    #[error("{} is not a key of a log: {reason}; restore it from a backup", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        reason: &'static str,
    },
    /// The key belongs to a log of another name.
    #[error(
        "the key {} is that of the log {found:?}, the config names {expected:?}; change the name back: a log keeps its \
         name",
        path.display()
    )]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The name in it.
        found: String,
        /// The name in the config.
        expected: String,
    },
    /// A verifier key that is none.
    #[error("not a verifier key: {0}; expected name+id+base64, as `prokura audit key` prints it")]
    Verifier(&'static str),
}

impl LogKey {
    /// Reads the key of the log `name`, or makes it if there is no file. Blocks.
    ///
    /// # Errors
    /// [`KeyError`]; a file that others can read is refused.
    pub fn open(path: &Path, name: &str) -> Result<Self, KeyError> {
        check_name(name)?;
        match Self::read(path) {
            Err(KeyError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Self::create(path, name)
            }
            Err(error) => Err(error),
            Ok(key) if key.verifier.name == name => Ok(key),
            Ok(key) => {
                let (found, expected) = (key.verifier.name, name.to_owned());
                Err(KeyError::OtherName { path: path.to_owned(), found, expected })
            }
        }
    }

    /// What others need to verify what it signs.
    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(super) fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.pair.sign(text).as_ref().to_vec()
    }

    fn new(path: &Path, name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let form = |reason| KeyError::Form { path: path.to_owned(), reason };
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| form("AWS-LC refuses the seed"))?;
        let public =
            pair.public_key().as_ref().try_into().map_err(|_| form("its public key is not 32 bytes"))?;
        Ok(Self { verifier: Verifier::new(name, public), pair })
    }

    fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { what: "read", path: path.to_owned(), source };
        let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).custom_flags(no_link).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let (mode, uid) = (metadata.mode() & 0o7777, metadata.uid());
        if !metadata.is_file() || mode & 0o077 != 0 || uid != rustix::process::geteuid().as_raw() {
            return Err(KeyError::Open { path: path.to_owned(), mode, uid });
        }
        let mut text = Zeroizing::new(String::with_capacity(1024));
        file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        Self::parse(path, &text)
    }

    /// The form of golang.org/x/mod/sumdb/note: `PRIVATE+KEY+name+id+base64(type, seed)`.
    fn parse(path: &Path, text: &str) -> Result<Self, KeyError> {
        let form = |reason| KeyError::Form { path: path.to_owned(), reason };
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_prefix(PRIVATE_PREFIX).ok_or(form("it does not begin with PRIVATE+KEY+"))?;
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(form("it has not the parts name+id+base64"));
        };
        let secret =
            Zeroizing::new(STANDARD.decode(secret).map_err(|_| form("its last part is not base64"))?);
        let Some((&ED25519_TYPE, seed)) = secret.split_first() else {
            return Err(form("it is not an Ed25519 key"));
        };
        let seed = <&[u8; 32]>::try_from(seed).map_err(|_| form("its seed is not 32 bytes"))?;
        let key = Self::new(path, name, seed)?;
        if hex(&key.verifier.id) == id { Ok(key) } else { Err(form("its id is not that of the key")) }
    }

    fn create(path: &Path, name: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        let no_random = || std::io::Error::other("the system gives no random bytes");
        let failed = |source| KeyError::File { what: "create", path: path.to_owned(), source };
        aws_lc_rs::rand::fill(seed.as_mut_slice()).map_err(|_| failed(no_random()))?;
        let key = Self::new(path, name, &seed)?;
        let mut secret = Zeroizing::new([ED25519_TYPE; 33]);
        secret.iter_mut().skip(1).zip(seed.iter()).for_each(|(to, from)| *to = *from);
        let secret = Zeroizing::new(STANDARD.encode(secret.as_slice()));
        let id = hex(&key.verifier.id);
        let text = Zeroizing::new(format!("{PRIVATE_PREFIX}{name}+{id}+{}\n", secret.as_str()));
        write_new(path, text.as_bytes()).map_err(failed)?;
        Ok(key)
    }
}

/// Whole or not at all, and never over another key. A temporary file has mode 0600.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

fn check_name(name: &str) -> Result<(), KeyError> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.len() > AUDIT_ORIGIN_BYTES_MAX || name.contains(odd) {
        return Err(KeyError::Name(name.to_owned()));
    }
    Ok(())
}

impl Verifier {
    fn new(name: &str, public: [u8; 32]) -> Self {
        let digest = sha256(&[name.as_bytes(), b"\n", &[ED25519_TYPE], &public]);
        let id = digest.first_chunk::<4>().copied().unwrap_or_default();
        Self { name: name.to_owned(), id, public }
    }

    /// The log's name, which is its checkpoints' origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn id(&self) -> [u8; 4] {
        self.id
    }

    pub(super) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(text, signature).is_ok()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, hex(&self.id), STANDARD.encode(key))
    }
}

impl FromStr for Verifier {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Verifier("it has not three parts"));
        };
        check_name(name)?;
        let key = STANDARD.decode(key).map_err(|_| KeyError::Verifier("its last part is not base64"))?;
        let Some((&ED25519_TYPE, public)) = key.split_first() else {
            return Err(KeyError::Verifier("it is not an Ed25519 key"));
        };
        let public = public.try_into().map_err(|_| KeyError::Verifier("its key is not 32 bytes"))?;
        let verifier = Self::new(name, public);
        if hex(&verifier.id) == id {
            Ok(verifier)
        } else {
            Err(KeyError::Verifier("its id is not that of the key"))
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.key");
        let made = LogKey::open(&path, "log.example/a").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let read = LogKey::open(&path, "log.example/a").unwrap();
        assert_eq!(read.verifier(), made.verifier());
        let shown = made.verifier().to_string();
        assert_eq!(shown.parse::<Verifier>().unwrap(), *made.verifier());
        assert!(shown.replace("example", "examplf").parse::<Verifier>().is_err());
        assert!(matches!(LogKey::open(&path, "log.example/b"), Err(KeyError::OtherName { .. })));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.key");
        LogKey::open(&path, "log").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let Err(refused) = LogKey::open(&path, "log") else { panic!("mode 0640 was accepted") };
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(LogKey::open(&link, "log").is_err());
    }

    #[test]
    fn names_fit_into_a_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b", &"x".repeat(257)] {
            let refused = LogKey::open(&directory.path().join("key"), name);
            assert!(matches!(refused, Err(KeyError::Name(_))), "{name:?}");
        }
    }
}
