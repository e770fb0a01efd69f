//! A repository in a registry, by the OCI distribution specification 1.1.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, IF_MATCH, LOCATION};
use reqwest::{Method, StatusCode, Url};

use crate::limits::MANIFEST_BYTES_MAX;
use crate::manifest::Manifest;
use crate::reference::is_registry;
use crate::{Credentials, Descriptor, Digest, Error, RegistryReference, Selector, media_type, text};

mod answer;
mod auth;
mod challenge;
mod options;
mod referrers;
mod tag_schema;
mod transport;

use answer::Answer;
use auth::{Access, Auth};
pub use options::{ProxySettings, RemoteOptions, Retry, Timeouts};
use transport::{Call, Transport};

const CONTENT_DIGEST: &str = "docker-content-digest";
const OCI_SUBJECT: &str = "oci-subject";

/// Manifests of every kind that can be signed. Docker's schema 1 is not among them: its digest covers other bytes.
const MANIFEST_TYPES: [&str; 5] = [
    media_type::IMAGE_MANIFEST,
    media_type::IMAGE_INDEX,
    media_type::DOCKER_MANIFEST,
    media_type::DOCKER_MANIFEST_LIST,
    media_type::ARTIFACT_MANIFEST,
];

/// One repository of one registry.
pub(crate) struct Remote {
    transport: Transport,
    repository: String,
    /// `REGISTRY/REPOSITORY`, for messages.
    pub(crate) place: String,
    pub(crate) timeouts: Timeouts,
}

/// A manifest as the registry sent it under a tag or digest.
struct Fetched {
    descriptor: Descriptor,
    bytes: Bytes,
    etag: Option<String>,
}

/// Checks a login: asks the registry's base address `/v2/` with the credentials given.
///
/// A registry that lets anybody in does not ask for the credentials, and then they are not checked.
pub async fn check_login(registry: &str, options: RemoteOptions) -> Result<(), Error> {
    let (timeouts, transport) = (options.timeouts, transport(registry, None, options)?);
    let call = Call::new(Method::GET, transport.base.clone(), Access::Ping);
    let work = async {
        let answer = transport.send(&call).await?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND => Err(answer.protocol("404, so this is not an OCI registry")),
            _ => Err(answer.refuse().await),
        }
    };
    within("checking the login", timeouts, work).await
}

/// Ends `work` at the deadline of the whole call.
pub(crate) async fn within<T>(
    what: &'static str,
    timeouts: Timeouts,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let seconds = timeouts.total.as_secs();
    tokio::time::timeout(timeouts.total, work).await.unwrap_or(Err(Error::Deadline { what, seconds }))
}

impl Remote {
    pub(crate) fn new(reference: &RegistryReference, options: RemoteOptions) -> Result<Self, Error> {
        let timeouts = options.timeouts;
        let transport = transport(reference.registry(), Some(reference.repository()), options)?;
        let repository = reference.repository().to_owned();
        let place = format!("{}/{repository}", reference.registry());
        Ok(Self { transport, repository, place, timeouts })
    }

    pub(crate) async fn resolve(&self, selector: &Selector) -> Result<Descriptor, Error> {
        let found = self.fetch(selector).await?;
        Ok(found.ok_or_else(|| self.not_found(format!("the manifest {selector}")))?.descriptor)
    }

    pub(crate) async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let what = format!("the manifest {}", descriptor.digest);
        let call = self.manifest_call(Method::GET, &descriptor.digest.to_string(), Access::Pull)?;
        let call = call.header(ACCEPT, &descriptor.media_type)?;
        let answer = self.found(&call, &what).await?;
        let bytes = answer.body(MANIFEST_BYTES_MAX, &what).await?;
        descriptor.check(&what, &bytes)?;
        Ok(bytes)
    }

    pub(crate) async fn blob(&self, descriptor: &Descriptor, limit_bytes: u64) -> Result<Bytes, Error> {
        let what = format!("the blob {}", descriptor.digest);
        let call =
            Call::new(Method::GET, self.url(&["blobs", &descriptor.digest.to_string()])?, Access::Pull);
        let answer = self.found(&call, &what).await?;
        let bytes = answer.body(limit_bytes, &what).await?;
        descriptor.check(&what, &bytes)?;
        Ok(bytes)
    }

    /// Uploads a blob in one piece unless the registry has it.
    pub(crate) async fn push_blob(&self, media_type: &str, bytes: Bytes) -> Result<Descriptor, Error> {
        let descriptor = Descriptor::of(media_type, &bytes);
        let digest = descriptor.digest.to_string();
        let look = Call::new(Method::HEAD, self.url(&["blobs", &digest])?, Access::Push);
        if self.transport.send(&look).await?.status() == StatusCode::OK {
            return Ok(descriptor);
        }
        let mut start = Call::new(Method::POST, self.url(&["blobs", "uploads", ""])?, Access::Push);
        // A second start leaves an empty upload behind, which registries drop by themselves.
        start.idempotent = true;
        let answer = self.transport.send(&start).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(answer.refuse().await);
        }
        let location = answer.header(LOCATION.as_str());
        let location =
            location.ok_or_else(|| answer.protocol("an upload was accepted without a Location"))?;
        let mut upload = answer.target(location)?;
        upload.query_pairs_mut().append_pair("digest", &digest);
        let mut put =
            Call::new(Method::PUT, upload, Access::Push).header(CONTENT_TYPE, "application/octet-stream")?;
        put.body = bytes;
        put.idempotent = false;
        let answer = self.transport.send(&put).await?;
        if !answer.status().is_success() {
            return Err(answer.refuse().await);
        }
        check_content_digest(&answer, &descriptor)?;
        Ok(descriptor)
    }

    /// Stores a manifest by digest, or under a tag. Gives the `OCI-Subject` header of the answer.
    pub(crate) async fn push_manifest(
        &self,
        descriptor: &Descriptor,
        bytes: Bytes,
        tag: Option<&str>,
        if_match: Option<&str>,
    ) -> Result<Option<String>, Error> {
        let digest = descriptor.digest.to_string();
        let call = self.manifest_call(Method::PUT, tag.unwrap_or(&digest), Access::Push)?;
        let mut call = call.header(CONTENT_TYPE, &descriptor.media_type)?;
        if let Some(etag) = if_match {
            call = call.header(IF_MATCH, etag)?;
        }
        call.body = bytes;
        let answer = self.transport.send(&call).await?;
        if !answer.status().is_success() {
            return Err(answer.refuse().await);
        }
        check_content_digest(&answer, descriptor)?;
        Ok(answer.header(OCI_SUBJECT).map(ToOwned::to_owned))
    }

    async fn delete_manifest(&self, digest: &Digest) -> Result<(), Error> {
        let call = self.manifest_call(Method::DELETE, &digest.to_string(), Access::Delete)?;
        let answer = self.transport.send(&call).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(answer.refuse().await),
        }
    }

    /// Fetches what a tag or digest names; `None` when the registry does not know it.
    async fn fetch(&self, selector: &Selector) -> Result<Option<Fetched>, Error> {
        let what = format!("the manifest {selector} of {}", self.place);
        let call = self.manifest_call(Method::GET, &selector.to_string(), Access::Pull)?;
        let answer = self.transport.send(&call.header(ACCEPT, &MANIFEST_TYPES.join(", "))?).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(answer.refuse().await),
        }
        let announced = announced_digest(&answer)?;
        let (content_type, etag) = (answer.content_type(), answer.header("etag").map(ToOwned::to_owned));
        let bytes = answer.body(MANIFEST_BYTES_MAX, &what).await?;
        let expected = match selector {
            Selector::Digest(digest) => Some(digest.clone()),
            Selector::Tag(_) => announced,
        };
        let digest = match expected {
            None => Digest::sha256(&bytes),
            Some(expected) => {
                let found = Digest::of(expected.algorithm(), &bytes);
                if found != expected {
                    return Err(Error::DigestMismatch { what, expected, found });
                }
                expected
            }
        };
        let manifest = Manifest::parse(&what, &bytes)?;
        let media_type = manifest.settle_media_type(&what, content_type.as_deref())?;
        let descriptor = Descriptor { digest, ..Descriptor::of(&media_type, &bytes) };
        Ok(Some(Fetched { descriptor, bytes, etag }))
    }

    async fn found(&self, call: &Call, what: &str) -> Result<Answer, Error> {
        let answer = self.transport.send(call).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND => Err(self.not_found(what.to_owned())),
            _ => Err(answer.refuse().await),
        }
    }

    fn manifest_call(&self, method: Method, reference: &str, access: Access) -> Result<Call, Error> {
        Ok(Call::new(method, self.url(&["manifests", reference])?, access))
    }

    /// `/v2/NAME/...`; every part is percent-encoded as one path segment.
    fn url(&self, parts: &[&str]) -> Result<Url, Error> {
        let mut url = self.transport.base.clone();
        let mut segments = url.path_segments_mut().map_err(|()| unusable_registry(&self.place))?;
        segments.pop_if_empty().extend(self.repository.split('/')).extend(parts);
        drop(segments);
        Ok(url)
    }

    fn not_found(&self, what: String) -> Error {
        Error::NotFound { what, place: self.place.clone() }
    }
}

fn transport(
    registry: &str,
    repository: Option<&str>,
    mut options: RemoteOptions,
) -> Result<Transport, Error> {
    if !is_registry(registry) {
        return Err(unusable_registry(registry));
    }
    // Docker Hub's registry has another host than its name.
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let scheme = if options.plain_http { "http" } else { "https" };
    let base = Url::parse(&format!("{scheme}://{host}/v2/")).map_err(|_| unusable_registry(registry))?;
    let credentials = std::mem::replace(&mut options.credentials, Credentials::Anonymous);
    let auth = Auth::new(registry, repository, options.plain_http, credentials);
    Ok(Transport::new(options::http_client(&options)?, options.retry, base, auth))
}

fn unusable_registry(found: &str) -> Error {
    Error::InvalidReference { found: text::printable(found), expected: "a registry as HOST[:PORT]" }
}

/// The digest the registry names for a manifest it sends.
fn announced_digest(answer: &Answer) -> Result<Option<Digest>, Error> {
    let parse = |value: &str| {
        let reason = |e: Error| answer.protocol(format!("its Docker-Content-Digest: {e}"));
        value.parse::<Digest>().map_err(reason)
    };
    answer.header(CONTENT_DIGEST).map(parse).transpose()
}

/// What the registry stored must be what was sent.
fn check_content_digest(answer: &Answer, descriptor: &Descriptor) -> Result<(), Error> {
    match announced_digest(answer)? {
        Some(found) if found != descriptor.digest => Err(Error::DigestMismatch {
            what: format!("what the registry stored for {}", answer.request),
            expected: descriptor.digest.clone(),
            found,
        }),
        _ => Ok(()),
    }
}
