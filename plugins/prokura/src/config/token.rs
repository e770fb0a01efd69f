//! Where the bearer token comes from: plugin config `token`, else what the environment offers.

use std::path::PathBuf;

use prokura_plugin::{Error, VaultRequest};

use crate::config::{Address, Environment};

/// Where GitHub Actions hands out tokens; it is set in jobs that may have one.
const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
/// Where an `id_tokens:` entry of GitLab puts its token, unless told otherwise.
const GITLAB_VARIABLE: &str = "PROKURA_PLUGIN_ID_TOKEN";
/// Where the volume of the README projects the token of a pod's service account.
const PROJECTED_TOKEN: &str = "/var/run/secrets/tokens/prokura";

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TokenFrom {
    /// None is shown: the connection tells who we are.
    Nowhere,
    /// A file, read for each call: whoever keeps it replaces it before its end.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
    /// GitHub Actions, which hands one out for an audience.
    GitHub {
        /// Whom the token is meant for.
        audience: String,
    },
}

impl TokenFrom {
    pub(super) fn read(
        request: &VaultRequest,
        environment: &Environment,
        address: &Address,
        has_identity: bool,
    ) -> Result<Self, Error> {
        let entry = |name| request.config_optional(name);
        let variable = || entry("token-env").unwrap_or(GITLAB_VARIABLE).to_owned();
        let github = || {
            let audience = entry("audience").map_or_else(|| address.to_string(), str::to_owned);
            Self::GitHub { audience }
        };
        Ok(match entry("token") {
            Some("none") => Self::Nowhere,
            Some("file") => Self::File(request.config("token-file")?.into()),
            Some("kubernetes") => Self::File(entry("token-file").unwrap_or(PROJECTED_TOKEN).into()),
            Some("gitlab") => Self::Variable(variable()),
            Some("github") => github(),
            Some(other) => return Err(unknown(other)),
            None if entry("token-file").is_some() => Self::File(request.config("token-file")?.into()),
            None if has_identity || matches!(address, Address::Unix(_)) => Self::Nowhere,
            None if environment.text(GITHUB_URL).is_some() => github(),
            None if environment.secret(&variable()).is_some() => Self::Variable(variable()),
            None => Self::Nowhere,
        })
    }

    /// For messages.
    pub(crate) fn described(&self) -> String {
        match self {
            Self::Nowhere => "no token".to_owned(),
            Self::File(path) => format!("the token in {}", path.display()),
            Self::Variable(name) => format!("the token in the variable {name}"),
            Self::GitHub { audience } => format!("the token of GitHub Actions for audience {audience:?}"),
        }
    }
}

/// Not repeated: somebody may have put the token itself there.
fn unknown(found: &str) -> Error {
    let hint = if found.starts_with("ey") {
        ", found what looks like a token, which has no place in plugin config: that is stored and shown in plain text. Put it \
         into a file (token-file=FILE), and replace it"
    } else {
        ""
    };
    Error::validation(format!(
        "plugin config token names where the token is: file, github, gitlab, kubernetes or none{hint}"
    ))
}
