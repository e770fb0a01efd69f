//! `cert cleanup-test`: takes back what `cert generate-test` made.

use std::io::{self, Write};
use std::path::Path;

use prokura_verify::store::{StoreType, TrustStoreError};
use serde::Serialize;

use super::certificate::trust_store;
use super::{Scene, only};
use crate::cli::certificate::CleanupTestOptions;
use crate::cli::value::is_plain_name;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Report, shown};
use crate::prompt;
use crate::signing_keys::SigningKeys;

/// JSON of `cert cleanup-test`: `{name, done: [text]}`, one sentence per step as in the text form.
#[derive(Serialize)]
struct Cleaned<'a> {
    name: &'a str,
    done: Vec<String>,
}

impl Report for Cleaned<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.done.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        writeln!(out, "Cleanup completed successfully")
    }
}

/// Removes certificate, entry and files of a test key. What is not there is told, not an error.
pub(crate) async fn run(
    options: &CleanupTestOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let name = only(&options.names, "missing certificate common name", "common names")?;
    if !is_plain_name(name) {
        return Err(Failure::usage("certificate common name must follow [a-zA-Z0-9_.-]+ format"));
    }
    let (key_path, cert_path) = scene.context.directories.local_key(name);
    if !options.yes && !prompt::confirm(output, &question(name, &key_path, &cert_path)).await? {
        return Ok(());
    }
    let done = vec![
        untrust(name, scene)?,
        unlist(name, scene)?,
        remove("key file", "Key file", &key_path)?,
        remove("certificate file", "Certificate file", &cert_path)?,
    ];
    output.report(&Cleaned { name, done })
}

fn question(name: &str, key_path: &Path, cert_path: &Path) -> String {
    format!(
        "The test key {name} and its corresponding certificate will be cleaned up with the following changes:\n\
         - Delete certificate {name}.crt from trust store {name} of type ca\n\
         - Remove key {name} from the key list\n\
         - Delete key file: {}\n\
         - Delete certificate file: {}\n\n\
         Are you sure you want to continue?",
        shown(key_path),
        shown(cert_path)
    )
}

fn untrust(name: &str, scene: &Scene<'_>) -> Result<String, Failure> {
    let file = format!("{name}.crt");
    match trust_store(scene).delete(StoreType::Ca, name, &file) {
        Ok(_) => Ok(format!("Successfully deleted {file} from trust store {name} of type ca")),
        Err(TrustStoreError::Absent { .. } | TrustStoreError::NoSuchFile { .. }) => {
            Ok(format!("Certificate {file} does not exist in trust store {name} of type ca"))
        }
        Err(error) => Err(error.into()),
    }
}

fn unlist(name: &str, scene: &Scene<'_>) -> Result<String, Failure> {
    let directories = &scene.context.directories;
    if SigningKeys::load(directories)?.find(Some(name)).is_err() {
        return Ok(format!("Key {name} does not exist in the key list"));
    }
    SigningKeys::update(directories, |keys| keys.remove(name))?;
    Ok(format!("Successfully removed key {name} from the key list"))
}

fn remove(what: &str, capitalised: &str, path: &Path) -> Result<String, Failure> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(format!("Successfully deleted {what}: {}", shown(path))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(format!("{capitalised} {} does not exist", shown(path)))
        }
        Err(error) => {
            let step = format!("failed to delete {what} {}", shown(path));
            Err(Failure::new(Exit::Infrastructure, error).during(step))
        }
    }
}
