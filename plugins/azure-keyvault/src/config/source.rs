//! Which credential is used: the one plugin config names, else the one the environment names, by fixed rules.
//!
//! Nothing is tried out: no list of credentials of which the first that works is taken, and no request to find out what
//! kind of machine this is.

use std::fmt;
use std::path::PathBuf;

use prokura_plugin::{Error, VaultRequest};

use crate::Surroundings;

/// Where tokens come from. What is secret is read when it is used and not kept here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A secret of an application, from `AZURE_CLIENT_SECRET` or a file.
    ClientSecret { tenant: String, client: String, file: Option<PathBuf> },
    /// A certificate of an application and its private key, PEM.
    ClientCertificate { tenant: String, client: String, file: PathBuf },
    /// A token of another identity provider (Kubernetes, GitHub) in a file, exchanged for one of Entra's.
    WorkloadIdentity { tenant: String, client: String, file: PathBuf },
    /// The identity Azure gives to a machine.
    ManagedIdentity(Identity),
    /// Whoever is logged in to `az`.
    AzureCli { tenant: Option<String>, subscription: Option<String> },
    /// Whoever is logged in to `azd`.
    AzureDeveloperCli { tenant: Option<String> },
}

/// Which of the machine's identities.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    SystemAssigned,
    ClientId(String),
    ObjectId(String),
    ResourceId(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientSecret { tenant, client, .. } => {
                write!(f, "client secret of application {client} in tenant {tenant}")
            }
            Self::ClientCertificate { tenant, client, file } => {
                write!(f, "client certificate {} of application {client} in tenant {tenant}", file.display())
            }
            Self::WorkloadIdentity { tenant, client, file } => {
                write!(
                    f,
                    "workload identity {client} in tenant {tenant} with the token in {}",
                    file.display()
                )
            }
            Self::ManagedIdentity(Identity::SystemAssigned) => {
                f.write_str("system-assigned managed identity")
            }
            Self::ManagedIdentity(Identity::ClientId(id)) => {
                write!(f, "managed identity with client id {id}")
            }
            Self::ManagedIdentity(Identity::ObjectId(id)) => {
                write!(f, "managed identity with object id {id}")
            }
            Self::ManagedIdentity(Identity::ResourceId(id)) => write!(f, "managed identity {id}"),
            Self::AzureCli { .. } => f.write_str("the login of the Azure CLI (az)"),
            Self::AzureDeveloperCli { .. } => f.write_str("the login of the Azure Developer CLI (azd)"),
        }
    }
}

/// Plugin config and environment, asked together.
struct Given<'a> {
    request: &'a VaultRequest,
    surroundings: &'a Surroundings,
}

impl Source {
    /// Chooses by `credential_type`, else by `AZURE_TOKEN_CREDENTIALS`, else by what the environment holds.
    pub(crate) fn choose(request: &VaultRequest, surroundings: &Surroundings) -> Result<Self, Error> {
        if request.config_optional("client_secret").is_some() {
            return Err(Error::validation(
                "plugin config client_secret would hold a secret, which is stored and shown in plain text; set \
                 AZURE_CLIENT_SECRET, or --plugin-config client_secret_file=FILE, and replace the secret",
            ));
        }
        let given = Given { request, surroundings };
        if let Some(text) = request.config_optional("credential_type") {
            return given.named(text, "plugin config credential_type");
        }
        match given.variable("AZURE_TOKEN_CREDENTIALS") {
            Some(text) => given.named(&text, "the environment variable AZURE_TOKEN_CREDENTIALS"),
            None => given.by_environment(),
        }
    }
}

impl Given<'_> {
    /// The names of notation-azure-kv, and those of Microsoft's credential classes.
    fn named(&self, text: &str, by: &str) -> Result<Source, Error> {
        match text.to_ascii_lowercase().as_str() {
            "environment" | "environmentcredential" => self.environment(),
            "workloadid" | "workloadidentitycredential" => self.workload_identity(),
            "managedid" | "managedidentitycredential" => self.managed_identity(),
            "azurecli" | "azureclicredential" => Ok(self.azure_cli()),
            "azd" | "azuredeveloperclicredential" => {
                Ok(Source::AzureDeveloperCli { tenant: self.value("tenant_id", "AZURE_TENANT_ID") })
            }
            "clientsecret" => self.client_secret(),
            "clientcertificate" => self.client_certificate(),
            _ => Err(Error::validation(format!(
                "{by} is {text:?}, expected environment, workloadid, managedid, azurecli, azd, clientsecret or \
                 clientcertificate"
            ))),
        }
    }

    fn by_environment(&self) -> Result<Source, Error> {
        let any = |names: &[&str]| names.iter().any(|name| self.variable(name).is_some());
        if any(&["AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"]) {
            return self.environment();
        }
        if any(&["AZURE_FEDERATED_TOKEN_FILE"]) {
            return self.workload_identity();
        }
        if any(&["IDENTITY_ENDPOINT", "MSI_ENDPOINT"]) {
            return self.managed_identity();
        }
        if self.is_program("az") {
            return Ok(self.azure_cli());
        }
        Err(Error::access_denied(
            "no credential for Azure: the environment has no AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH, \
             AZURE_FEDERATED_TOKEN_FILE or IDENTITY_ENDPOINT, and there is no program az. On a virtual machine with a \
             managed identity set --plugin-config credential_type=managedid; else set one of environment, workloadid, \
             azurecli, clientsecret, clientcertificate",
        ))
    }

    fn environment(&self) -> Result<Source, Error> {
        if self.variable("AZURE_CLIENT_SECRET").is_some() {
            return self.client_secret();
        }
        if self.variable("AZURE_CLIENT_CERTIFICATE_PATH").is_some() {
            return self.client_certificate();
        }
        Err(Error::access_denied(
            "credential environment: neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH is set; set one of \
             them, with AZURE_TENANT_ID and AZURE_CLIENT_ID",
        ))
    }

    fn client_secret(&self) -> Result<Source, Error> {
        let file = self.request.config_optional("client_secret_file").map(PathBuf::from);
        if file.is_none() && self.variable("AZURE_CLIENT_SECRET").is_none() {
            return Err(self.missing("client secret", "client_secret_file", "AZURE_CLIENT_SECRET"));
        }
        Ok(Source::ClientSecret {
            tenant: self.tenant("client secret")?,
            client: self.client("client secret")?,
            file,
        })
    }

    fn client_certificate(&self) -> Result<Source, Error> {
        let kind = "client certificate";
        let file = self.needed(kind, "client_certificate", "AZURE_CLIENT_CERTIFICATE_PATH")?.into();
        Ok(Source::ClientCertificate { tenant: self.tenant(kind)?, client: self.client(kind)?, file })
    }

    fn workload_identity(&self) -> Result<Source, Error> {
        let kind = "workload identity";
        let file = self.needed(kind, "federated_token_file", "AZURE_FEDERATED_TOKEN_FILE")?.into();
        Ok(Source::WorkloadIdentity { tenant: self.tenant(kind)?, client: self.client(kind)?, file })
    }

    fn managed_identity(&self) -> Result<Source, Error> {
        let config = |name: &str| self.request.config_optional(name).map(str::to_owned);
        let given = [
            config("client_id").map(Identity::ClientId),
            config("object_id").map(Identity::ObjectId),
            config("resource_id").map(Identity::ResourceId),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (None, _) => Ok(Source::ManagedIdentity(
                self.variable("AZURE_CLIENT_ID").map_or(Identity::SystemAssigned, Identity::ClientId),
            )),
            (Some(one), None) => Ok(Source::ManagedIdentity(one)),
            _ => Err(Error::validation(
                "plugin config names a managed identity more than once; keep one of client_id, object_id, resource_id",
            )),
        }
    }

    fn azure_cli(&self) -> Source {
        let config = |name: &str| self.request.config_optional(name).map(str::to_owned);
        Source::AzureCli { tenant: config("tenant_id"), subscription: config("subscription") }
    }

    fn tenant(&self, kind: &str) -> Result<String, Error> {
        self.needed(kind, "tenant_id", "AZURE_TENANT_ID")
    }

    fn client(&self, kind: &str) -> Result<String, Error> {
        self.needed(kind, "client_id", "AZURE_CLIENT_ID")
    }

    fn needed(&self, kind: &str, config: &str, variable: &str) -> Result<String, Error> {
        self.value(config, variable).ok_or_else(|| self.missing(kind, config, variable))
    }

    #[expect(clippy::unused_self, reason = "reads as the sentence it makes")]
    fn missing(&self, kind: &str, config: &str, variable: &str) -> Error {
        Error::access_denied(format!(
            "credential {kind} needs {variable} in the environment, or --plugin-config {config}=VALUE"
        ))
    }

    fn value(&self, config: &str, variable: &str) -> Option<String> {
        self.request.config_optional(config).map(str::to_owned).or_else(|| self.variable(variable))
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.surroundings.text(name)
    }

    fn is_program(&self, name: &str) -> bool {
        let path = self.surroundings.variable("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prokura_plugin::{Deadline, message::PluginConfig};

    use super::*;

    fn chosen(config: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<String, Error> {
        let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let request = VaultRequest::new(PluginConfig(owned(config)), Deadline::NONE)?;
        let environment = owned(environment);
        let surroundings =
            Surroundings::new(move |name| environment.get(name).map(Into::into), Default::default);
        Source::choose(&request, &surroundings).map(|source| source.to_string())
    }

    const APPLICATION: [(&str, &str); 2] = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")];

    #[test]
    fn the_environment_decides_by_fixed_rules() {
        let with = |more: &[(&str, &str)]| chosen(&[], &[&APPLICATION, more].concat()).unwrap();
        let secret = ("AZURE_CLIENT_SECRET", "canary");
        let federated = ("AZURE_FEDERATED_TOKEN_FILE", "/run/token");
        assert_eq!(with(&[secret, federated]), "client secret of application c in tenant t");
        assert_eq!(
            with(&[("AZURE_CLIENT_CERTIFICATE_PATH", "/c.pem")]),
            "client certificate /c.pem of application c in tenant t"
        );
        assert_eq!(with(&[federated]), "workload identity c in tenant t with the token in /run/token");
        assert_eq!(with(&[("IDENTITY_ENDPOINT", "http://x")]), "managed identity with client id c");
        assert_eq!(chosen(&[], &[("MSI_ENDPOINT", "x")]).unwrap(), "system-assigned managed identity");
        let error = chosen(&[], &APPLICATION).unwrap_err();
        assert!(error.message.contains("credential_type=managedid"), "{error}");
    }

    #[test]
    fn plugin_config_decides_before_the_environment() {
        let secret = [("AZURE_CLIENT_SECRET", "canary"), ("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")];
        let environment = [&APPLICATION[..], &secret].concat();
        let with = |config: &[(&str, &str)]| chosen(config, &environment);
        assert_eq!(with(&[]).unwrap(), "the login of the Azure CLI (az)");
        assert_eq!(with(&[("credential_type", "ManagedId")]).unwrap(), "managed identity with client id c");
        assert_eq!(
            with(&[("credential_type", "managedid"), ("object_id", "o")]).unwrap(),
            "managed identity with object id o"
        );
        assert_eq!(
            with(&[("credential_type", "environment"), ("tenant_id", "other")]).unwrap(),
            "client secret of application c in tenant other"
        );
        let error = with(&[("credential_type", "default")]).unwrap_err();
        assert!(error.message.contains("expected environment, workloadid"), "{error}");
        let error = with(&[("credential_type", "workloadid")]).unwrap_err();
        assert!(error.message.contains("needs AZURE_FEDERATED_TOKEN_FILE"), "{error}");
        let twice = [("credential_type", "managedid"), ("object_id", "o"), ("client_id", "c")];
        assert!(with(&twice).unwrap_err().message.contains("more than once"));
    }

    #[test]
    fn no_secret_is_kept_or_shown() {
        let environment = [&APPLICATION[..], &[("AZURE_CLIENT_SECRET", "canary")]].concat();
        assert!(!chosen(&[], &environment).unwrap().contains("canary"));
    }
}
