//! Where credentials come from: the sources of the SDK in its order, each known by name, or the one that config fixes.

use std::error::Error as _;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_kms::config::Region;

use crate::config::{CredentialSource, Place};
use crate::error::root_cause;
use crate::limits::METADATA_SECONDS_MAX;

/// The order in which the SDK looks, and [`CredentialSource::Automatic`] with it.
const IN_ORDER: [CredentialSource; 5] = [
    CredentialSource::Environment,
    CredentialSource::Profile,
    CredentialSource::WebIdentity,
    CredentialSource::Container,
    CredentialSource::Metadata,
];

/// Sources tried one after the other, and which one answered.
pub(crate) struct Chain {
    sources: Vec<(CredentialSource, SharedCredentialsProvider)>,
    /// The profile because of which only one source is asked.
    profile: Option<String>,
    chosen: Mutex<Option<CredentialSource>>,
}

impl Chain {
    /// The sources a place allows; none is asked yet.
    pub(crate) fn of(place: &Place, region: &str) -> Self {
        let sdk = ProviderConfig::default()
            .with_region(Some(Region::new(region.to_owned())))
            .with_use_fips(place.fips)
            .with_use_dual_stack(place.dual_stack)
            .with_behavior_version(Some(BehaviorVersion::v2026_01_12()));
        // Whoever names a profile means its identity, as with --profile of the AWS CLI.
        let profile = place.profile.clone().filter(|_| place.credentials == CredentialSource::Automatic);
        let asked = match place.credentials {
            CredentialSource::Automatic if profile.is_some() => vec![CredentialSource::Profile],
            CredentialSource::Automatic => IN_ORDER.to_vec(),
            one => vec![one],
        };
        let sources = asked.into_iter().map(|source| (source, provider(source, place, &sdk))).collect();
        Self { sources, profile, chosen: Mutex::new(None) }
    }

    /// The source whose credentials are in use; none before the first call.
    pub(crate) fn chosen(&self) -> Option<CredentialSource> {
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn first(&self) -> Result<Credentials, CredentialsError> {
        let mut reasons = Vec::new();
        for (source, provider) in &self.sources {
            match provider.provide_credentials().await {
                Ok(credentials) => {
                    *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some(*source);
                    return Ok(credentials);
                }
                Err(error) => {
                    reasons.push(format!("{}: {}", source.as_str(), reason(&error)));
                    // A source that is set up but fails is not passed over: another identity might answer.
                    if !matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
                        break;
                    }
                }
            }
        }
        if let Some(profile) = &self.profile {
            reasons.push(format!("plugin config \"profile\" names {profile}, so no other source is asked"));
        }
        Err(CredentialsError::not_loaded(NoCredentials(reasons.join("; "))))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chain")
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.first())
    }
}

/// No source had credentials; one reason per source.
#[derive(Debug)]
pub(crate) struct NoCredentials(String);

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoCredentials {}

fn provider(source: CredentialSource, place: &Place, sdk: &ProviderConfig) -> SharedCredentialsProvider {
    match source {
        CredentialSource::Environment => {
            SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new())
        }
        CredentialSource::WebIdentity => SharedCredentialsProvider::new(
            WebIdentityTokenCredentialsProvider::builder().configure(sdk).build(),
        ),
        CredentialSource::Container => {
            SharedCredentialsProvider::new(EcsCredentialsProvider::builder().configure(sdk).build())
        }
        CredentialSource::Metadata => SharedCredentialsProvider::new(metadata(place, sdk)),
        CredentialSource::Automatic | CredentialSource::Profile | CredentialSource::Sso => {
            let profile = ProfileFileCredentialsProvider::builder().configure(sdk);
            SharedCredentialsProvider::new(match &place.profile {
                Some(name) => profile.profile_name(name).build(),
                None => profile.build(),
            })
        }
    }
}

/// Where nobody asked for it the metadata service has one short try, so that machines without one are not held up.
fn metadata(place: &Place, sdk: &ProviderConfig) -> ImdsCredentialsProvider {
    let client = imds::Client::builder().configure(sdk);
    let client = match place.credentials {
        CredentialSource::Metadata => client,
        _ => {
            let short = Duration::from_secs(METADATA_SECONDS_MAX);
            client.connect_timeout(short).read_timeout(short).operation_timeout(short).max_attempts(1)
        }
    };
    ImdsCredentialsProvider::builder().configure(sdk).imds_client(client.build()).build()
}

fn reason(error: &CredentialsError) -> String {
    if error.source().is_none() && matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
        return "nothing is configured".to_owned();
    }
    root_cause(error)
}
