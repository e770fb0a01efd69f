//! What a verb works on: a reference as typed, the repository it names, the manifest it resolves to.

use std::path::PathBuf;

use prokura_registry::{
    CredentialStores, Credentials, Descriptor, Digest, LayoutReference, ProxySettings, RegistryReference,
    RemoteOptions, Repository, Selector, is_localhost,
};

use crate::cli::options::RegistryOptions;
use crate::config::Config;
use crate::context::{Context, Environment};
use crate::exit::Failure;
use crate::limits::CERTIFICATE_FILE_BYTES_MAX;
use crate::output::Output;
use crate::state_file;
use crate::verb::Scene;

/// `User-Agent` towards registries and, with a plugin's name, the signing agent.
pub(crate) const AGENT: &str = concat!("prokura/", env!("CARGO_PKG_VERSION"));

/// A reference with a tag or a digest.
pub(crate) enum Reference {
    /// In a registry.
    Registry(RegistryReference, Selector),
    /// In an image layout.
    Layout(LayoutReference, Selector),
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry(reference, _) => reference.fmt(f),
            Self::Layout(reference, _) => reference.fmt(f),
        }
    }
}

impl Reference {
    /// Parses what the user typed. Nothing is contacted.
    ///
    /// # Errors
    /// In `notation`'s words if it is none, or names neither tag nor digest.
    pub(crate) fn parse(text: &str, is_layout: bool) -> Result<Self, Failure> {
        if text.is_empty() {
            return Err(Failure::usage("missing user input reference"));
        }
        if is_layout {
            let expecting = "Expecting <file_path>:<tag> or <file_path>@<digest>";
            let layout: LayoutReference =
                text.parse().map_err(|error| Failure::usage(format!("{text:?}: {error}. {expecting}")))?;
            return match layout.selector().cloned() {
                Some(selector) => Ok(Self::Layout(layout, selector)),
                None => Err(Failure::usage(format!(
                    "{text:?}: invalid reference: missing tag or digest. {expecting}"
                ))),
            };
        }
        let expecting = "Expecting <registry>/<repository>:<tag> or <registry>/<repository>@<digest>";
        let registry: RegistryReference =
            text.parse().map_err(|error| Failure::usage(format!("{text:?}: {error}. {expecting}")))?;
        match registry.selector().cloned() {
            Some(selector) => Ok(Self::Registry(registry, selector)),
            None => {
                Err(Failure::usage(format!("{text:?}: invalid reference: no tag or digest. {expecting}")))
            }
        }
    }

    /// The repository without tag or digest: `registry/repository` or the layout's path.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Registry(reference, _) => format!("{}/{}", reference.registry(), reference.repository()),
            Self::Layout(reference, _) => reference.path().to_string_lossy().into_owned(),
        }
    }

    const fn selector(&self) -> &Selector {
        match self {
            Self::Registry(_, selector) | Self::Layout(_, selector) => selector,
        }
    }
}

/// An artifact that was found.
pub(crate) struct Artifact {
    /// Where it and its signatures are.
    pub(crate) repository: Repository,
    /// Its manifest.
    pub(crate) descriptor: Descriptor,
    place: String,
}

impl Artifact {
    /// `place@digest` of this artifact.
    pub(crate) fn reference(&self) -> String {
        self.reference_of(&self.descriptor.digest)
    }

    /// `place@digest` of another manifest in the same repository.
    pub(crate) fn reference_of(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.place)
    }
}

/// Opens repositories and resolves references in them.
pub(crate) struct Finder<'a> {
    scene: &'a Scene<'a>,
    registry: &'a RegistryOptions,
    config: &'a Config,
}

impl<'a> Finder<'a> {
    /// A finder for one run. Warns about a password on the command line.
    pub(crate) fn new(
        scene: &'a Scene<'a>,
        registry: &'a RegistryOptions,
        config: &'a Config,
        output: &mut Output<'_>,
    ) -> Self {
        if registry.password.is_some() {
            output.warn(
                "a password on the command line is visible to other users of this machine; use NOTATION_PASSWORD or \
                 `prokura login --password-stdin`",
            );
        }
        Self { scene, registry, config }
    }

    /// Finds the artifact that `reference` names. For a tag, `warning` (what notation says for this verb) is told.
    ///
    /// # Errors
    /// If the repository cannot be opened or has no such manifest.
    pub(crate) async fn find(
        &self,
        reference: &Reference,
        warning: TagWarning,
        output: &mut Output<'_>,
    ) -> Result<Artifact, Failure> {
        let repository = self.open(reference)?;
        let selector = reference.selector();
        let resolved =
            self.scene.progress.step("resolving the reference", repository.resolve(selector)).await;
        let descriptor =
            resolved.map_err(|error| Failure::from(error).during("failed to get manifest descriptor"))?;
        match selector {
            Selector::Digest(digest) if *digest != descriptor.digest => {
                return Err(Failure::infrastructure(format!(
                    "user input digest {digest} does not match the resolved digest {}",
                    descriptor.digest
                )));
            }
            Selector::Digest(_) => {}
            Selector::Tag(tag) => output.warn(warning.text(tag.as_str())),
        }
        tracing::debug!(digest = %descriptor.digest, media_type = descriptor.media_type, "resolved the reference");
        Ok(Artifact { repository, descriptor, place: reference.place() })
    }

    fn open(&self, reference: &Reference) -> Result<Repository, Failure> {
        match reference {
            Reference::Layout(layout, _) => Ok(Repository::layout(layout.path())?),
            Reference::Registry(reference, _) => {
                let context = self.scene.context;
                let mut options = remote_options(reference.registry(), self.registry, self.config, context)?;
                options.credentials = credentials(self.registry, context)?;
                Ok(Repository::remote(reference, options)?)
            }
        }
    }
}

/// What to say about a tag.
#[derive(Clone, Copy)]
pub(crate) enum TagWarning {
    /// The artifact is about to be signed.
    Sign,
    /// Its signatures are looked at by the verb named.
    Read(&'static str),
}

impl TagWarning {
    fn text(self, tag: &str) -> String {
        match self {
            Self::Sign => format!(
                "Always sign the artifact using digest(@sha256:...) rather than a tag(:{tag}) because tags are mutable \
                 and a tag reference can point to a different artifact than the one signed."
            ),
            Self::Read(verb) => format!(
                "Always {verb} the artifact using digest(@sha256:...) rather than a tag(:{tag}) because resolved digest \
                 may not point to the same signed artifact, as tags are mutable."
            ),
        }
    }
}

/// How `registry` is spoken to, without credentials.
///
/// # Errors
/// If the CA file cannot be read.
pub(crate) fn remote_options(
    registry: &str,
    options: &RegistryOptions,
    config: &Config,
    context: &Context,
) -> Result<RemoteOptions, Failure> {
    let mut remote = RemoteOptions::new(AGENT);
    remote.plain_http =
        options.insecure_registry || config.is_insecure(registry) || is_notations_localhost(registry);
    remote.proxy =
        if is_localhost(registry) { ProxySettings::default() } else { proxy(&context.environment) };
    if let Some(path) = &options.ca_file {
        remote.ca_certificates.push(state_file::read_named(path, CERTIFICATE_FILE_BYTES_MAX)?);
    }
    tracing::debug!(registry, plain_http = remote.plain_http, "opened the registry");
    Ok(remote)
}

/// `notation` speaks plain HTTP to `localhost:PORT` unasked, and to no other name of this machine.
fn is_notations_localhost(registry: &str) -> bool {
    registry.split_once(':').is_some_and(|(host, _)| host == "localhost")
}

/// Flags, then environment, then the stores; a password without a user name is a token, as in `notation`.
fn credentials(options: &RegistryOptions, context: &Context) -> Result<Credentials, Failure> {
    let environment = &context.environment;
    let username = options.username.as_deref().filter(|name| !name.is_empty()).or(environment.username());
    let password = options.password.as_ref().filter(|p| !p.is_empty()).or(environment.password());
    match (username, password) {
        (None, None) => Ok(Credentials::Stores(credential_stores(context))),
        (None, Some(token)) => Ok(Credentials::IdentityToken(token.secret())),
        (Some(username), Some(password)) => {
            Ok(Credentials::Basic { username: username.to_owned(), password: password.secret() })
        }
        (Some(username), None) => Err(Failure::usage(format!(
            "a user name {username:?} was given without a password; set NOTATION_PASSWORD or log in with \
             `prokura login --password-stdin`"
        ))),
    }
}

/// The credential stores of this user.
pub(crate) fn credential_stores(context: &Context) -> CredentialStores {
    let environment = &context.environment;
    let docker = environment
        .variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| environment.variable("HOME").map(|home| PathBuf::from(home).join(".docker")));
    CredentialStores {
        notation_config: Some(context.directories.config_file()),
        docker_config: docker.map(|directory| directory.join("config.json")),
        search_path: environment.variable("PATH").unwrap_or_default().to_owned(),
        use_system_helper: true,
    }
}

/// Proxies as Go's clients read them: lower case or upper case, except that `HTTP_PROXY` is ignored in a CGI program,
/// where a request header could set it (CVE-2016-5386).
fn proxy(environment: &Environment) -> ProxySettings {
    let either = |upper: &str, lower: &str| environment.text(upper).or_else(|| environment.text(lower));
    let http = match environment.variable("REQUEST_METHOD") {
        Some(_) => environment.text("http_proxy"),
        None => either("HTTP_PROXY", "http_proxy"),
    };
    ProxySettings {
        http: http.map(str::to_owned),
        https: either("HTTPS_PROXY", "https_proxy").map(str::to_owned),
        no_proxy: either("NO_PROXY", "no_proxy").map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn references_without_tag_or_digest_are_refused_in_notations_words() {
        let error = |text: &str, layout| Reference::parse(text, layout).err().unwrap().to_string();
        assert_eq!(
            error("r.example/x", false),
            "\"r.example/x\": invalid reference: no tag or digest. Expecting <registry>/<repository>:<tag> or \
             <registry>/<repository>@<digest>"
        );
        assert_eq!(
            error("./x", true),
            "\"./x\": invalid reference: missing tag or digest. Expecting <file_path>:<tag> or <file_path>@<digest>"
        );
        assert_eq!(error("", false), "missing user input reference");
        assert!(error("X", false).starts_with("\"X\": the reference"));
    }

    #[test]
    fn the_place_is_the_reference_without_tag_and_digest() {
        let place = |text: &str, layout| Reference::parse(text, layout).unwrap().place();
        assert_eq!(place(&format!("r.example:5000/a/b:v1@{DIGEST}"), false), "r.example:5000/a/b");
        assert_eq!(place(&format!("./dir@{DIGEST}"), true), "./dir");
    }

    #[test]
    fn only_localhost_with_a_port_is_plain_unasked() {
        assert!(is_notations_localhost("localhost:5000"));
        for other in ["localhost", "127.0.0.1:5000", "localhost.example:5000", "[::1]:5000"] {
            assert!(!is_notations_localhost(other), "{other}");
        }
    }

    #[test]
    fn proxies_are_read_as_go_reads_them() {
        let environment =
            |pairs: &[(&str, &str)]| Environment::new(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let both = proxy(&environment(&[("https_proxy", "http://p"), ("HTTP_PROXY", "http://q")]));
        assert_eq!((both.https.as_deref(), both.http.as_deref()), (Some("http://p"), Some("http://q")));
        let cgi = proxy(&environment(&[("HTTP_PROXY", "http://evil"), ("REQUEST_METHOD", "GET")]));
        assert!(cgi.http.is_none());
    }
}
