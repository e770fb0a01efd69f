//! `login` and `logout`: registry credentials in the user's credential helper.

use std::io::{self, Write};

use prokura_registry::{Credentials, Secret, check_login};
use serde::Serialize;

use super::{Scene, only};
use crate::artifact::{credential_stores, given_credentials, remote_options};
use crate::cli::registry::{LoginOptions, LogoutOptions};
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{Output, Report};
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
    let (username, password) = ask(options, scene)?;
    let config = Config::load(&scene.context.directories)?;
    let mut anonymous = options.registry.clone();
    (anonymous.username, anonymous.password) = (None, None);
    let mut remote = remote_options(registry, &anonymous, &config, scene.context)?;
    remote.credentials = Credentials::Basic { username: username.clone(), password: copied(&password) };
    let failed = |error| Failure::from(error).during(format!("failed to log in to {registry}"));
    let checking = check_login(registry, remote);
    scene.progress.step("logging in", checking).await.map_err(failed)?;
    credential_stores(scene.context).store(registry, &username, &password).await.map_err(failed)?;
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

fn ask(options: &LoginOptions, scene: &Scene<'_>) -> Result<(String, Secret), Failure> {
    let mut given = options.registry.clone();
    if options.password_stdin {
        given.password = Some(prompt::password_from_input()?.to_string());
    }
    let variable = |name| scene.context.environment.text(name).map(str::to_owned);
    let username = given.username.clone().or_else(|| variable("NOTATION_USERNAME"));
    let _ = given_credentials;
    let password = given.password.or_else(|| variable("NOTATION_PASSWORD")).filter(|text| !text.is_empty());
    if let Some(password) = password {
        return Ok((username.unwrap_or_default(), Secret::new(password)));
    }
    let username = match username {
        Some(username) => username,
        None => prompt::user_name()?,
    };
    let what = if username.is_empty() { "Token" } else { "Password" };
    let password = prompt::password(what, scene.context.terminals)?;
    if password.is_empty() {
        return Err(Failure::usage(format!("{} required", what.to_lowercase())));
    }
    Ok((username, Secret::new(password.as_str())))
}

/// One copy goes to the registry, the other to the helper; both are wiped.
fn copied(secret: &Secret) -> Secret {
    Secret::new(secret.expose())
}
