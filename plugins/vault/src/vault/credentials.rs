//! Secrets at their source: token, secret id, JWT; read when they are needed, wiped after use.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use prokura_plugin::Error;
use zeroize::Zeroizing;

use crate::config::{Environment, SecretFrom, vault_names};
use crate::limits::SECRET_BYTES_MAX;

/// A secret, and where it was found, for messages.
pub(crate) struct Found {
    /// The secret.
    pub(crate) secret: Zeroizing<String>,
    /// `VAULT_TOKEN`, or a file's name.
    pub(crate) from: String,
}

/// Who may read the file of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner and group.
    Few,
    /// Anybody: Kubernetes mounts its tokens so, and they are the pod's own.
    Any,
}

/// A token made elsewhere: the configured file, else `BAO_TOKEN`, `VAULT_TOKEN`, `~/.vault-token`.
///
/// # Errors
/// `ACCESS_DENIED` naming what was looked for.
pub(crate) fn token(file: Option<&Path>, environment: &Environment) -> Result<Found, Error> {
    if let Some(file) = file {
        return from_file(file, "token file", Readers::Few);
    }
    for name in vault_names("TOKEN") {
        if let Some(secret) = environment.secret(&name) {
            return Ok(Found { secret, from: name });
        }
    }
    // Both `bao login` and `vault login` write this one.
    let file = environment.home().map(|home| home.join(".vault-token"));
    match file.filter(|file| file.is_file()) {
        Some(file) => from_file(&file, "token file", Readers::Few),
        None => Err(Error::access_denied(
            "no token for the vault: set VAULT_TOKEN, log in with `bao login` or `vault login`, name a file with \
             --plugin-config token-file=FILE, or let the plugin log in with --plugin-config auth=approle, kubernetes or jwt",
        )),
    }
}

/// The secret that a login takes.
///
/// # Errors
/// `ACCESS_DENIED` naming the file or variable.
pub(crate) fn secret(
    source: &SecretFrom,
    what: &str,
    readers: Readers,
    environment: &Environment,
) -> Result<Found, Error> {
    match source {
        SecretFrom::File(path) => from_file(path, what, readers),
        SecretFrom::Variable(name) => match environment.secret(name) {
            Some(secret) => Ok(Found { secret, from: name.clone() }),
            None => Err(Error::access_denied(format!(
                "the {what} is missing: the variable {name} is not set. prokura hands on variables that start with \
                 VAULT_, BAO_ or PROKURA_PLUGIN_"
            ))),
        },
    }
}

fn from_file(path: &Path, what: &str, readers: Readers) -> Result<Found, Error> {
    let shown = path.display();
    let unfit = |e: std::io::Error| Error::access_denied(format!("{what} {shown}: {e}"));
    let file = File::open(path).map_err(unfit)?;
    let metadata = file.metadata().map_err(unfit)?;
    if !metadata.is_file() {
        return Err(Error::access_denied(format!("{what} {shown} is no regular file")));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if readers == Readers::Few && mode & 0o007 != 0 {
        return Err(Error::access_denied(format!(
            "{what} {shown} has mode {mode:04o}: every user can use it; run chmod o= {shown}, and replace the secret if \
             others may have read it"
        )));
    }
    // One allocation of the final size: a growing buffer would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(SECRET_BYTES_MAX as usize + 1));
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(unfit)?;
    let secret = Zeroizing::new(text.trim().to_owned());
    if text.len() as u64 > SECRET_BYTES_MAX || secret.is_empty() {
        return Err(Error::access_denied(format!(
            "{what} {shown} has {} bytes, expected one line of 1 to {SECRET_BYTES_MAX} bytes",
            metadata.len()
        )));
    }
    Ok(Found { secret, from: shown.to_string() })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    fn environment(token: Option<&'static str>, home: Option<&Path>) -> Environment {
        let home = home.map(Path::to_owned);
        Environment::new(move |name| match name {
            "VAULT_TOKEN" => token.map(Into::into),
            "HOME" => home.clone().map(Into::into),
            _ => None,
        })
    }

    #[test]
    fn a_token_is_looked_for_in_order() {
        let configured = file("s.file\n", 0o600);
        let home = tempfile::tempdir().unwrap();
        let found = token(Some(configured.path()), &environment(Some("s.variable"), None)).unwrap();
        assert_eq!(found.secret.as_str(), "s.file");
        let found = token(None, &environment(Some("s.variable"), Some(home.path()))).unwrap();
        assert_eq!((found.secret.as_str(), found.from.as_str()), ("s.variable", "VAULT_TOKEN"));
        let error = token(None, &environment(None, Some(home.path()))).err().unwrap();
        assert!(error.message.contains("bao login"), "{error}");
        let path = home.path().join(".vault-token");
        std::fs::write(&path, "s.home").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(token(None, &environment(None, Some(home.path()))).unwrap().secret.as_str(), "s.home");
    }

    #[test]
    fn what_everybody_reads_is_refused_and_never_repeated() {
        let open = file("s.secret", 0o644);
        let error = token(Some(open.path()), &environment(None, None)).err().unwrap();
        assert!(error.message.contains("0644") && !error.message.contains("s.secret"), "{error}");
        let source = SecretFrom::File(open.path().to_owned());
        assert!(secret(&source, "JWT", Readers::Any, &environment(None, None)).is_ok());
        for unfit in [String::new(), "\n".to_owned(), "x".repeat(SECRET_BYTES_MAX as usize + 1)] {
            assert!(token(Some(file(&unfit, 0o600).path()), &environment(None, None)).is_err());
        }
        assert!(token(Some(Path::new("/")), &environment(None, None)).is_err());
    }
}
