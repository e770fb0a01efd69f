//! `login` and `logout`: registry credentials in the user's credential helper.

use std::io::{self, Write};

use prokura_registry::{Credentials, check_login};
use serde::Serialize;

use super::{Scene, only};
use crate::artifact::{credential_stores, remote_options};
use crate::cli::registry::{LoginOptions, LogoutOptions};
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{Output, Report};
use crate::password::Password;
use crate::prompt;

/// JSON of `login` and `logout`: `{registry, action}`.
#[derive(Serialize)]
struct Done<'a> {
    registry: &'a str,
    action: &'static str,
    #[serde(skip)]
    sentence: &'static str,
}

impl Report for Done<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.sentence)
    }
}

/// The user name under which docker's credential helpers keep a token.
const TOKEN_USER: &str = "<token>";

/// Checks credentials with the registry, then stores them.
pub(crate) async fn login(
    options: &LoginOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let registry = only(&options.servers, "no hostname specified", "registries")?;
    if options.registry.password.is_some() {
        output.warn(
            "a password on the command line is visible to other users of this machine; use --password-stdin",
        );
    }
    let (username, password) = ask(options, scene).await?;
    let config = Config::load(&scene.context.directories)?;
    let mut remote = remote_options(registry, &options.registry, &config, scene.context)?;
    let (user, credentials) = match username.as_str() {
        "" => (TOKEN_USER, Credentials::IdentityToken(password.secret())),
        name => (name, Credentials::Basic { username: name.to_owned(), password: password.secret() }),
    };
    remote.credentials = credentials;
    let failed = |error| Failure::from(error).during(format!("failed to log in to {registry}"));
    let checking = check_login(registry, remote);
    scene.progress.step("logging in", checking).await.map_err(failed)?;
    let stores = credential_stores(scene.context);
    stores.store(registry, user, &password.secret()).await.map_err(failed)?;
    output.report(&Done { registry, action: "login", sentence: "Login Succeeded" })
}

/// Erases stored credentials.
pub(crate) async fn logout(
    options: &LogoutOptions,
    scene: &Scene<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let registry = only(&options.servers, "no hostname specified", "registries")?;
    credential_stores(scene.context)
        .erase(registry)
        .await
        .map_err(|error| Failure::from(error).during(format!("failed to log out of {registry}")))?;
    output.report(&Done { registry, action: "logout", sentence: "Logout Succeeded" })
}

async fn ask(options: &LoginOptions, scene: &Scene<'_>) -> Result<(String, Password), Failure> {
    let environment = &scene.context.environment;
    let username = options.registry.username.clone().or_else(|| environment.username().map(str::to_owned));
    let given = if options.password_stdin {
        Some(prompt::password_from_input().await?)
    } else {
        options.registry.password.clone().or_else(|| environment.password().cloned())
    };
    if let Some(password) = given.filter(|password| !password.is_empty()) {
        return Ok((username.unwrap_or_default(), password));
    }
    let username = match username {
        Some(username) => username,
        None => prompt::user_name().await?,
    };
    let what = if username.is_empty() { "Token" } else { "Password" };
    let password = prompt::password(what, scene.context.terminals).await?;
    if password.is_empty() {
        return Err(Failure::usage(format!("{} required", what.to_lowercase())));
    }
    Ok((username, password))
}
