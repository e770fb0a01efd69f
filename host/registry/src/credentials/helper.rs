//! Docker credential helpers: executables `docker-credential-NAME` that keep logins.
//!
//! This is the one place outside the plugin starter that runs a process: reading a registry login is part of the
//! registry's story and has nothing of a plugin's protocol. The process gets a deadline and a bounded answer, its
//! input is closed after the one question, and the user's environment minus notation's own secrets: helpers need
//! `HOME`, the session bus and the display to ask for a passphrase.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{Login, Secret, config};
use crate::limits::{HELPER_BYTES_MAX, HELPER_DEADLINE};
use crate::{Error, text};

/// What every helper says when it has no login for a server; part of the helper protocol.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// User name that marks the secret as an identity token.
const TOKEN_USER: &str = "<token>";

/// A helper that was found.
pub(super) struct Helper {
    name: String,
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Secret,
}

impl Helper {
    /// Finds `docker-credential-SUFFIX` in the directories of `search_path`.
    pub(super) fn named(suffix: &str, search_path: &OsStr) -> Result<Self, Error> {
        let name = format!("docker-credential-{suffix}");
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if suffix.is_empty() || !suffix.chars().all(is_name) {
            let reason = "has a name that is not a file name; correct credsStore or credHelpers".to_owned();
            return Err(Error::Helper { helper: text::printable(&name), reason });
        }
        let path = find(&name, search_path).ok_or_else(|| Error::Helper {
            helper: name.clone(),
            reason: "is configured but not installed in PATH".into(),
        })?;
        Ok(Self { name, path })
    }

    /// The system's usual helper, when it is installed.
    pub(super) fn of_system(search_path: &OsStr) -> Option<Self> {
        let suffix = match () {
            () if cfg!(target_os = "macos") => "osxkeychain",
            () if find("pass", search_path).is_some() => "pass",
            () => "secretservice",
        };
        Self::named(suffix, search_path).ok()
    }

    pub(super) async fn look_up(&self, address: &str) -> Result<Login, Error> {
        let (ok, output) = self.run("get", address.as_bytes()).await?;
        if !ok {
            let said = String::from_utf8_lossy(&output);
            if said.trim() == NOT_FOUND {
                return Ok(Login::Anonymous);
            }
            return Err(self.failed(&format!("failed to get the login: \"{}\"", text::printable(&said))));
        }
        let answer: Answer = serde_json::from_slice(&output)
            .map_err(|e| self.failed(&format!("gave an unusable answer: {}", config::position(&e))))?;
        Ok(match answer.username.as_str() {
            TOKEN_USER => Login::IdentityToken(answer.secret),
            "" if answer.secret.expose().is_empty() => Login::Anonymous,
            _ => Login::Basic { username: answer.username, password: answer.secret },
        })
    }

    pub(super) async fn store(&self, address: &str, username: &str, password: &Secret) -> Result<(), Error> {
        let quoted = |s: &str| serde_json::to_string(s).map(Zeroizing::new);
        let encoded = (|| {
            let (address, username) = (quoted(address)?, quoted(username)?);
            let secret = quoted(password.expose())?;
            Ok::<_, serde_json::Error>(Zeroizing::new(format!(
                r#"{{"ServerURL":{},"Username":{},"Secret":{}}}"#,
                *address, *username, *secret
            )))
        })();
        let input = encoded.map_err(|_| self.failed("cannot be given this login"))?;
        self.expect_success("store", input.as_bytes()).await
    }

    pub(super) async fn erase(&self, address: &str) -> Result<(), Error> {
        self.expect_success("erase", address.as_bytes()).await
    }

    async fn expect_success(&self, action: &str, input: &[u8]) -> Result<(), Error> {
        let (ok, output) = self.run(action, input).await?;
        let said = String::from_utf8_lossy(&output);
        if ok || (action == "erase" && said.trim() == NOT_FOUND) {
            return Ok(());
        }
        Err(self.failed(&format!("failed to {action} the login: \"{}\"", text::printable(&said))))
    }

    /// Runs the helper; gives whether it ended well and what it wrote.
    async fn run(&self, action: &str, input: &[u8]) -> Result<(bool, Zeroizing<Vec<u8>>), Error> {
        let finished = tokio::time::timeout(HELPER_DEADLINE, self.exchange(action, input)).await;
        let too_slow = |_| self.failed(&format!("did not answer within {} s", HELPER_DEADLINE.as_secs()));
        let (ok, output) = finished
            .map_err(too_slow)?
            .map_err(|e| self.failed(&format!("could not be run: {e} ({})", self.path.display())))?;
        if output.len() as u64 > HELPER_BYTES_MAX {
            return Err(self.failed(&format!("wrote more than {HELPER_BYTES_MAX} bytes")));
        }
        Ok((ok, output))
    }

    async fn exchange(&self, action: &str, input: &[u8]) -> std::io::Result<(bool, Zeroizing<Vec<u8>>)> {
        let mut child = self.command(action).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut output = Zeroizing::new(Vec::with_capacity(4096));
        let ask = async {
            if let Some(mut stdin) = stdin {
                // A helper that ends without reading its input closes the pipe; its answer decides.
                let _ = stdin.write_all(input).await;
            }
        };
        let listen = async {
            match stdout {
                Some(stdout) => stdout.take(HELPER_BYTES_MAX + 1).read_to_end(&mut output).await,
                None => Ok(0),
            }
        };
        let ((), read) = tokio::join!(ask, listen);
        read?;
        if output.len() as u64 > HELPER_BYTES_MAX {
            return Ok((false, output));
        }
        Ok((child.wait().await?.success(), output))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "credential helpers are not plugins; this is the one place that starts them"
    )]
    fn command(&self, action: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.path);
        command.arg(action).env_remove("NOTATION_USERNAME").env_remove("NOTATION_PASSWORD");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    fn failed(&self, reason: &str) -> Error {
        Error::Helper { helper: self.name.clone(), reason: reason.to_owned() }
    }
}

fn find(name: &str, search_path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search_path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
