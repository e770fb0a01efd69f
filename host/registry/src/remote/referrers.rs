//! Listing the signatures of a manifest: the referrers API page by page, else the referrers tag.

use std::collections::HashSet;

use bytes::Bytes;
use reqwest::{Method, Url};

use super::answer::{Answer, origin_text};
use super::auth::Access;
use super::transport::{Call, same_origin};
use super::{Fetched, Remote};
use crate::limits::{MANIFEST_BYTES_MAX, REFERRERS_ENTRIES_MAX, REFERRERS_PAGES_MAX};
use crate::manifest::Manifest;
use crate::{Descriptor, Digest, Error, Selector, SignatureList, media_type, text};

/// Name of the filter in `OCI-Filters-Applied`, and of the query parameter that asks for it.
const FILTER: &str = "artifactType";

/// The annotation by which registries of OCI 1.1 release candidates said the same.
const FILTERS_ANNOTATION: &str = "org.opencontainers.referrers.filtersApplied";

/// What is found while walking a list.
struct Collector {
    list: SignatureList,
    seen: HashSet<Digest>,
    looked_at: usize,
    max: usize,
}

impl Remote {
    /// Lists the signature manifests of `subject`, at most `max`.
    pub(crate) async fn signatures(&self, subject: &Descriptor, max: usize) -> Result<SignatureList, Error> {
        let mut collector = Collector::new(max);
        if !self.collect_by_api(subject, &mut collector).await? {
            self.collect_by_tag(subject, &mut collector).await?;
        }
        Ok(collector.list)
    }

    /// Says whether the registry has the API.
    async fn collect_by_api(&self, subject: &Descriptor, collector: &mut Collector) -> Result<bool, Error> {
        let mut url = self.url(&["referrers", &subject.digest.to_string()])?;
        url.query_pairs_mut().append_pair(FILTER, media_type::SIGNATURE);
        let mut visited = HashSet::new();
        loop {
            let is_first = visited.is_empty();
            visited.insert(url.clone());
            let answer = self.transport.send(&Call::new(Method::GET, url, Access::Pull)).await?;
            if is_first && !has_api(&answer) {
                return Ok(false);
            }
            if !answer.status().is_success() {
                return Err(answer.refuse().await);
            }
            let next = next_page(&answer, &self.transport.base)?;
            if next.as_ref().is_some_and(|next| visited.contains(next)) {
                return Err(answer.protocol("the pages of its referrers list form a loop"));
            }
            collector.page(answer, next.is_some()).await?;
            match next {
                Some(_) if collector.list.truncated => return Ok(true),
                Some(_) if visited.len() >= REFERRERS_PAGES_MAX => {
                    collector.list.truncated = true;
                    return Ok(true);
                }
                Some(next) => url = next,
                None => return Ok(true),
            }
        }
    }

    async fn collect_by_tag(&self, subject: &Descriptor, collector: &mut Collector) -> Result<(), Error> {
        if let Some(index) = self.referrers_index(&referrers_tag(&subject.digest)).await? {
            let what = format!("the referrers list {}", index.descriptor.digest);
            collector.entries(&Manifest::parse(&what, &index.bytes)?, false);
        }
        Ok(())
    }

    /// The index under a referrers tag. Anything else under that name is refused: it is not ours to read or replace.
    pub(super) async fn referrers_index(&self, tag: &str) -> Result<Option<Fetched>, Error> {
        let fetched = self.fetch(&Selector::Tag(tag.parse()?)).await?;
        match fetched {
            Some(found) if found.descriptor.media_type != media_type::IMAGE_INDEX => {
                let found = text::printable(&found.descriptor.media_type);
                let what = format!("the referrers tag {tag} of {}", self.place);
                Err(Error::malformed(
                    &what,
                    format!("it names content of type {found}, expected an image index"),
                ))
            }
            other => Ok(other),
        }
    }
}

impl Collector {
    fn new(max: usize) -> Self {
        let list = SignatureList { manifests: Vec::new(), truncated: false };
        Self { list, seen: HashSet::new(), looked_at: 0, max }
    }

    async fn page(&mut self, answer: Answer, has_next: bool) -> Result<(), Error> {
        let applied =
            answer.headers("oci-filters-applied").flat_map(|v| v.split(',')).any(|v| v.trim() == FILTER);
        let body: Bytes = answer.body(MANIFEST_BYTES_MAX, "a page of the referrers list").await?;
        let page = Manifest::parse("a page of the referrers list", &body)?;
        let annotated = page.annotations.get(FILTERS_ANNOTATION);
        let applied = applied || annotated.is_some_and(|v| v.split(',').any(|v| v.trim() == FILTER));
        self.entries(&page, applied);
        if has_next && self.list.manifests.len() >= self.max {
            self.list.truncated = true;
        }
        Ok(())
    }

    /// Takes the signatures among the entries of one page. Where the registry filtered, an entry without an artifact
    /// type counts; one with another type never does.
    fn entries(&mut self, page: &Manifest, filtered: bool) {
        for mut entry in page.entries() {
            self.looked_at += 1;
            if self.looked_at > REFERRERS_ENTRIES_MAX {
                self.list.truncated = true;
                return;
            }
            let is_signature = match entry.artifact_type.as_deref() {
                Some(found) => found == media_type::SIGNATURE,
                None => filtered,
            };
            if !is_signature || !self.seen.insert(entry.digest.clone()) {
                continue;
            }
            if self.list.manifests.len() >= self.max {
                self.list.truncated = true;
                return;
            }
            entry.artifact_type = Some(media_type::SIGNATURE.to_owned());
            self.list.manifests.push(entry);
        }
    }
}

/// The tag under which referrers are kept where there is no API: `ALGORITHM-HEX`, the parts cut to 32 and 64
/// characters (distribution specification, "Referrers Tag Schema").
pub(super) fn referrers_tag(subject: &Digest) -> String {
    let hex: String = subject.hex().chars().take(64).collect();
    format!("{}-{hex}", subject.algorithm().name())
}

/// A registry without the API answers 404 by the specification; some answer 405 or 501, or a page for browsers.
fn has_api(answer: &Answer) -> bool {
    match answer.status().as_u16() {
        404 | 405 | 501 => false,
        200 => answer.content_type().as_deref() == Some(media_type::IMAGE_INDEX),
        _ => true,
    }
}

/// `Link: </v2/...>; rel="next"` (RFC 8288), which must stay on the registry's own origin.
fn next_page(answer: &Answer, base: &Url) -> Result<Option<Url>, Error> {
    let Some(address) = answer.headers("link").find_map(next_link) else {
        return Ok(None);
    };
    let next = answer.target(address)?;
    if !same_origin(&next, base) {
        return Err(Error::Redirect {
            from: origin_text(base),
            request: answer.request.clone(),
            to: origin_text(&next),
            reason: "the next page of a referrers list must be on the registry itself",
        });
    }
    Ok(Some(next))
}

fn next_link(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|p| {
            p.trim().split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
            })
        });
        is_next.then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_by_their_relation() {
        assert_eq!(next_link(r#"</v2/a?n=1>; rel="next""#), Some("/v2/a?n=1"));
        assert_eq!(next_link(r#"</p>; rel=prev, </n>; title="x"; REL=next"#), Some("/n"));
        for none in ["", "</x>", "x; rel=next", r#"</x>; rel="previous""#, "</x; rel=next"] {
            assert_eq!(next_link(none), None, "{none}");
        }
    }

    #[test]
    fn referrers_tags_are_cut_to_fit() {
        use crate::DigestAlgorithm;
        let short = Digest::sha256(b"x");
        assert_eq!(referrers_tag(&short), format!("sha256-{}", short.hex()));
        let long = referrers_tag(&Digest::of(DigestAlgorithm::Sha512, b"x"));
        assert_eq!(long.len(), "sha512-".len() + 64);
    }
}
