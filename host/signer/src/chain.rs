//! Completes the certificate chain of a key: what the vault holds, then the configured bundle, then, if the user
//! allows it, the URLs the certificates name (AIA).

mod fetched;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;
use prokura_envelope::certificate::{Certificate, MissingIssuer, NoChain, Resolved, resolve};
use prokura_plugin::certificate::read_bundle;
use prokura_plugin::message::capability;
use prokura_plugin::{CA_CERTS, CERTIFICATE_ADVICE, CertificateChain, KeyDetails, PluginName, PublicKey};

use crate::error::Error;
use crate::limits::{ISSUERS_DEADLINE, ISSUERS_FETCHED_MAX};
use crate::plugin::{KeyReference, Plugin};
use crate::sign::KeyDescription;

/// What a fetch returns: the body, or why there is none.
pub type Fetched<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>>;

/// Fetches an issuer's certificate from the URL a certificate names. Whoever implements it bounds size and time.
pub trait FetchIssuer: Send + Sync {
    /// The body of `url`, which is `http` or `https`.
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a>;
}

/// What the plugin has to say to somebody whose key has no certificate.
pub(crate) struct Advice<'a> {
    /// The plugin.
    pub(crate) plugin: &'a PluginName,
    /// Whether it can store a certificate beside the key.
    pub(crate) installs: bool,
    /// Its own words, cleaned.
    pub(crate) own: Option<&'a str>,
}

impl<'a> Advice<'a> {
    /// What `plugin` says with the description of a key.
    pub(crate) fn of(plugin: &'a Plugin, details: &'a KeyDetails) -> Self {
        let own = details.attributes.get(CERTIFICATE_ADVICE).map(String::as_str);
        Self {
            plugin: plugin.name(),
            installs: plugin.metadata().has(capability::CERTIFICATE_INSTALL_1),
            own: own.filter(|own| !own.is_empty()),
        }
    }
}

/// The whole chain of a described key: what the vault holds, completed from the bundle of its plugin config and, if the
/// plugin was started so, from the network. For hosts that keep a key's chain beyond one signature.
///
/// # Errors
/// [`Error::Incapable`] if the description came over stdio, which tells no public key; otherwise why there is no chain.
pub async fn complete_chain(
    plugin: &Plugin,
    key: &KeyReference,
    description: &KeyDescription,
    at: Timestamp,
) -> Result<CertificateChain, Error> {
    match (&description.public_key, &description.chain) {
        (Some(public_key), Some(held)) => {
            let advice = Advice::of(plugin, &description.details);
            completed(key, public_key, held, plugin.fetch_issuers(), at, &advice).await
        }
        _ => Err(plugin.incapable(capability::TRANSPORT_GRPC_1, "keeping the chain of a key takes")),
    }
}

/// The chain of `key` as far as it can be completed from `held`, the bundle of the key's plugin config and, with
/// `fetch`, the network.
///
/// # Errors
/// [`Error::InvalidRequest`] if the bundle cannot be read, [`Error::Chain`] if no certificate is for the key or an
/// issuer is missing.
pub(crate) async fn completed(
    key: &KeyReference,
    public_key: &PublicKey,
    held: &CertificateChain,
    fetch: Option<&Arc<dyn FetchIssuer>>,
    at: Timestamp,
    advice: &Advice<'_>,
) -> Result<CertificateChain, Error> {
    let mut heap = parsed(held.certificates());
    // What most plugins return is whole already: then no file is read for each signature.
    if let Ok(Resolved { chain, missing: None }) = resolve(public_key, &heap, at) {
        return whole(key, &chain);
    }
    if let Some(bundle) = key.plugin_config().0.get(CA_CERTS).filter(|path| !path.is_empty()) {
        let bundle = read_bundle(Path::new(bundle)).map_err(|e| Error::InvalidRequest(e.message))?;
        heap.extend(parsed(&bundle));
    }
    let mut failures = Vec::new();
    let until = tokio::time::Instant::now() + ISSUERS_DEADLINE;
    for round in 0..=ISSUERS_FETCHED_MAX {
        let Resolved { chain, missing } =
            resolve(public_key, &heap, at).map_err(|reason| no_chain(key, &reason, advice))?;
        let Some(missing) = missing else { return whole(key, &chain) };
        if round == ISSUERS_FETCHED_MAX {
            break;
        }
        let fetched = match fetch {
            Some(fetch) => fetched::issuers(fetch.as_ref(), &missing.urls, until, &mut failures).await,
            None => Vec::new(),
        };
        let news: Vec<Certificate> =
            fetched.into_iter().filter(|new| !heap.iter().any(|known| known.der() == new.der())).collect();
        if news.is_empty() {
            return Err(incomplete(key, &missing, fetch.is_some(), &failures));
        }
        heap.extend(news);
    }
    Err(Error::Chain {
        key_id: key.key_id().to_string(),
        reason: format!(
            "more than {ISSUERS_FETCHED_MAX} issuers would have to be fetched; put them into a bundle"
        ),
    })
}

/// Certificates that cannot be read are no candidates; the plugin's were checked before.
fn parsed(certificates: &[Vec<u8>]) -> Vec<Certificate> {
    certificates.iter().filter_map(|der| Certificate::from_der(der).ok()).collect()
}

fn whole(key: &KeyReference, chain: &[Certificate]) -> Result<CertificateChain, Error> {
    CertificateChain::from_der(chain.iter().map(|c| c.der().to_vec()).collect())
        .map_err(|error| Error::Chain { key_id: key.key_id().to_string(), reason: error.to_string() })
}

fn no_chain(key: &KeyReference, reason: &NoChain, advice: &Advice<'_>) -> Error {
    let Advice { plugin, installs, own } = advice;
    let mut reason = reason.to_string();
    if let Some(own) = own {
        reason.push_str(&format!("; plugin {plugin} says: {own:?}"));
    }
    // Its own words say whether installing helps this key: not every key of a vault has a place for a certificate.
    reason.push_str(if *installs && own.is_none() {
        "; install the certificate issued for it (prokura cert install), or name"
    } else {
        "; name"
    });
    reason.push_str(&format!(" a PEM file that holds it with --plugin-config {CA_CERTS}=FILE"));
    if own.is_none() {
        reason.push_str(&format!(", or one of the places that the page of plugin {plugin} lists"));
    }
    reason.push_str(". Without any, make a request with prokura cert request");
    Error::Chain { key_id: key.key_id().to_string(), reason }
}

fn incomplete(key: &KeyReference, missing: &MissingIssuer, may_fetch: bool, failures: &[String]) -> Error {
    let MissingIssuer { subject, issued, namesake, urls } = missing;
    let mut reason = format!("the certificate of {subject:?}, which issued {issued:?}, is missing");
    if *namesake {
        reason.push_str(
            "; a certificate of that name is there but has another key, it may be an older or newer one",
        );
    }
    if !failures.is_empty() {
        reason.push_str(&format!("; fetching it failed: {}", failures.join("; ")));
    } else if may_fetch && urls.is_empty() {
        reason.push_str("; the issued certificate names no URL to fetch it from");
    }
    reason.push_str(&format!("; put it into the PEM file that --plugin-config {CA_CERTS}=FILE names"));
    if let (false, Some(url)) = (may_fetch, urls.first()) {
        reason.push_str(&format!(", or let it be fetched from {url} with --fetch-issuers"));
    }
    Error::Chain { key_id: key.key_id().to_string(), reason }
}

#[cfg(test)]
mod tests;
