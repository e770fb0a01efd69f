//! Credentials made from what plugin config and environment name.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, AzureDeveloperCliCredential,
    AzureDeveloperCliCredentialOptions, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use prokura_plugin::Error;
use url::Url;
use zeroize::Zeroizing;

use crate::Surroundings;
use crate::config::source::{Identity, Source};
use crate::limits::CREDENTIAL_FILE_BYTES_MAX;
use crate::vault::assertion::CertificateAssertion;
use crate::vault::cached::Cached;
use crate::vault::transport;

type Made = azure_core::Result<Arc<dyn TokenCredential>>;

/// The credential of `source`, whose tokens `authority` issues. Reads files, asks nobody yet.
pub(crate) fn credential(
    source: &Source,
    authority: &str,
    to_azure: Transport,
    surroundings: &Arc<Surroundings>,
) -> Result<Arc<dyn TokenCredential>, Error> {
    let options = entra_options(authority, to_azure);
    let assertion_options = |client_options| Some(ClientAssertionCredentialOptions { client_options });
    let made: Made = match source {
        Source::ClientSecret { tenant, client, file } => {
            let secret = client_secret(file.as_deref(), surroundings)?;
            let options = ClientSecretCredentialOptions { client_options: options };
            ClientSecretCredential::new(tenant, client.clone(), secret, Some(options)).map(|c| c as _)
        }
        Source::ClientCertificate { tenant, client, file } => {
            let endpoint = format!("{authority}/{tenant}/oauth2/v2.0/token");
            let pem = read_private(file, "client certificate")?;
            let assertion =
                CertificateAssertion::new(&pem, file, client, endpoint, Arc::clone(surroundings))?;
            let options = assertion_options(options);
            ClientAssertionCredential::new(tenant.clone(), client.clone(), assertion, options).map(|c| c as _)
        }
        Source::WorkloadIdentity { tenant, client, file } => {
            WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options: options },
                client_id: Some(client.clone()),
                tenant_id: Some(tenant.clone()),
                token_file_path: Some(file.clone()),
            }))
            .map(|c| c as _)
        }
        Source::ManagedIdentity(identity) => managed_identity(identity, surroundings)?.map(|c| c as _),
        Source::AzureCli { tenant, subscription } => {
            AzureCliCredential::new(Some(AzureCliCredentialOptions {
                tenant_id: tenant.clone(),
                subscription: subscription.clone(),
                ..AzureCliCredentialOptions::default()
            }))
            .map(|c| c as _)
        }
        Source::AzureDeveloperCli { tenant } => {
            AzureDeveloperCliCredential::new(Some(AzureDeveloperCliCredentialOptions {
                tenant_id: tenant.clone(),
                ..AzureDeveloperCliCredentialOptions::default()
            }))
            .map(|c| c as _)
        }
    };
    let made = made.map_err(|error| Error::access_denied(format!("credential {source}: {error}")))?;
    Ok(Arc::new(Cached::new(made)))
}

fn entra_options(authority: &str, transport: Transport) -> ClientOptions {
    let mut custom = CustomConfiguration::default();
    authority.clone_into(&mut custom.authority_host);
    ClientOptions {
        cloud: Some(Arc::new(CloudConfiguration::Custom(custom))),
        transport: Some(transport),
        // Repeated within the deadline, with the request that needs the token.
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    }
}

fn managed_identity(
    identity: &Identity,
    surroundings: &Surroundings,
) -> Result<azure_core::Result<Arc<ManagedIdentityCredential>>, Error> {
    let elsewhere = surroundings.text("AZURE_POD_IDENTITY_AUTHORITY_HOST");
    // App Service says itself where its endpoint is.
    let elsewhere = elsewhere.filter(|_| surroundings.variable("IDENTITY_ENDPOINT").is_none());
    let elsewhere = elsewhere.map(|text| Url::parse(&text)).transpose().map_err(|e| {
        Error::validation(format!(
            "the environment variable AZURE_POD_IDENTITY_AUTHORITY_HOST is no URL: {e}"
        ))
    })?;
    Ok(ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
        user_assigned_id: match identity {
            Identity::SystemAssigned => None,
            Identity::ClientId(id) => Some(UserAssignedId::ClientId(id.clone())),
            Identity::ObjectId(id) => Some(UserAssignedId::ObjectId(id.clone())),
            Identity::ResourceId(id) => Some(UserAssignedId::ResourceId(id.clone())),
        },
        client_options: ClientOptions {
            transport: Some(transport::to_metadata_service(elsewhere)?),
            ..ClientOptions::default()
        },
    })))
}

fn client_secret(file: Option<&Path>, surroundings: &Surroundings) -> Result<Secret, Error> {
    let text = match file {
        Some(file) => {
            let bytes = read_private(file, "client secret")?;
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| unreadable(file, "client secret", "it is no text"))?;
            Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        None => Zeroizing::new(surroundings.text("AZURE_CLIENT_SECRET").unwrap_or_default()),
    };
    Ok(Secret::new(text.as_str().to_owned()))
}

/// Reads a file that others than its owner and group must not read.
fn read_private(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let refuse = |why: String| unreadable(path, what, &why);
    let file = File::open(path).map_err(|e| refuse(e.to_string()))?;
    let about = file.metadata().map_err(|e| refuse(e.to_string()))?;
    if !about.is_file() {
        return Err(refuse("it is no regular file".to_owned()));
    }
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let path = path.display();
        return Err(refuse(format!(
            "its mode is {mode:04o}, so that every user can use it; run chmod o= {path}"
        )));
    }
    // One allocation of the final size: a growing buffer would leave copies of the secret behind.
    let len = usize::try_from(about.len().min(CREDENTIAL_FILE_BYTES_MAX)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(len));
    file.take(CREDENTIAL_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| refuse(e.to_string()))?;
    if bytes.len() as u64 > CREDENTIAL_FILE_BYTES_MAX {
        return Err(refuse(format!("it has more than {CREDENTIAL_FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, what: &str, why: &str) -> Error {
    Error::access_denied(format!("{what} {}: {why}", path.display()))
}
