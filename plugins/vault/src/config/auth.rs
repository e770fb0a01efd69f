//! How to log in: which auth method, and where its secrets are.

use std::path::PathBuf;

use prokura_plugin::{Error, VaultRequest};

use crate::config::{Environment, check_path};

/// Where Kubernetes puts the token of a pod's service account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const SECRET_ID_VARIABLE: &str = "PROKURA_PLUGIN_VAULT_SECRET_ID";
const JWT_VARIABLE: &str = "PROKURA_PLUGIN_VAULT_JWT";

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SecretFrom {
    /// In a file, read anew for each login.
    File(PathBuf),
    /// In a variable of the environment.
    Variable(String),
}

/// An auth method of the vault with what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Auth {
    /// A token made elsewhere.
    Token {
        /// The file it is in; without one the environment, then the user's token file.
        file: Option<PathBuf>,
    },
    /// AppRole: a role id and, unless the role does without, a secret id.
    AppRole {
        /// Mount of the auth method.
        mount: String,
        /// Which role; not a secret.
        role_id: String,
        /// The role's secret.
        secret_id: SecretFrom,
    },
    /// JWT and Kubernetes: a role and a token that somebody else signed.
    Jwt {
        /// `jwt` or `kubernetes`.
        method: &'static str,
        /// Mount of the auth method.
        mount: String,
        /// Which role.
        role: Option<String>,
        /// The signed token.
        jwt: SecretFrom,
    },
}

impl Auth {
    pub(super) fn read(request: &VaultRequest, environment: &Environment) -> Result<Self, Error> {
        refuse_secrets(request)?;
        let method = request.config_optional("auth").unwrap_or("token");
        let mount = request.config_optional("auth-mount").unwrap_or(method).trim_matches('/');
        let mount = mount.strip_prefix("auth/").unwrap_or(mount).to_owned();
        check_path(&mount)?;
        let file = |entry| request.config_optional(entry).map(PathBuf::from);
        match method {
            "token" => Ok(Self::Token { file: file("token-file") }),
            "approle" => Ok(Self::AppRole {
                mount,
                role_id: role_id(request, environment)?,
                secret_id: secret(request, "secret-id-file", "secret-id-env", SECRET_ID_VARIABLE),
            }),
            "kubernetes" => Ok(Self::Jwt {
                method: "kubernetes",
                mount,
                role: Some(request.config("role")?.to_owned()),
                jwt: SecretFrom::File(file("jwt-file").unwrap_or_else(|| SERVICE_ACCOUNT_TOKEN.into())),
            }),
            "jwt" => Ok(Self::Jwt {
                method: "jwt",
                mount,
                role: request.config_optional("role").map(str::to_owned),
                jwt: secret(request, "jwt-file", "jwt-env", JWT_VARIABLE),
            }),
            other => Err(Error::validation(format!(
                "plugin config auth is {other:?}, expected token, approle, kubernetes or jwt"
            ))),
        }
    }

    /// `approle at auth/approle`, for messages.
    pub(crate) fn described(&self) -> String {
        match self {
            Self::Token { .. } => "token".to_owned(),
            Self::AppRole { mount, .. } => format!("approle at auth/{mount}"),
            Self::Jwt { method, mount, .. } => format!("{method} at auth/{mount}"),
        }
    }
}

fn secret(request: &VaultRequest, file: &str, variable: &str, default: &str) -> SecretFrom {
    match request.config_optional(file) {
        Some(path) => SecretFrom::File(path.into()),
        None => SecretFrom::Variable(request.config_optional(variable).unwrap_or(default).to_owned()),
    }
}

fn role_id(request: &VaultRequest, environment: &Environment) -> Result<String, Error> {
    const VARIABLE: &str = "PROKURA_PLUGIN_VAULT_ROLE_ID";
    let configured = request.config_optional("role-id").map(str::to_owned);
    configured.or_else(|| environment.text(VARIABLE)).ok_or_else(|| {
        Error::validation(format!(
            "auth=approle takes a role id; set --plugin-config role-id=ID or the variable {VARIABLE}"
        ))
    })
}

/// Plugin config is stored in plain text and shown by `key list`.
fn refuse_secrets(request: &VaultRequest) -> Result<(), Error> {
    for (entry, instead) in [
        ("token", "token-file=FILE, or the variable VAULT_TOKEN"),
        ("secret-id", "secret-id-file=FILE, or the variable PROKURA_PLUGIN_VAULT_SECRET_ID"),
        ("jwt", "jwt-file=FILE, or the variable PROKURA_PLUGIN_VAULT_JWT"),
    ] {
        if request.config_optional(entry).is_some() {
            return Err(Error::validation(format!(
                "plugin config {entry:?} would hold a secret, which is stored and shown in plain text; use {instead}, \
                 and replace the secret"
            )));
        }
    }
    Ok(())
}
