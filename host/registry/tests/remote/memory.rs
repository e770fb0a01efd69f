//! A registry in memory, with or without the referrers API.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use prokura_registry::{Descriptor, Digest, media_type};
use serde_json::{Value, json};

use crate::server::{Reply, Seen, Server};

pub(crate) const BASE: &str = "/v2/team/app";

#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// By digest and by tag.
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub(crate) has_api: bool,
    pub(crate) allows_delete: bool,
}

impl Memory {
    pub(crate) fn shared(has_api: bool, allows_delete: bool) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { has_api, allows_delete, ..Self::default() }))
    }

    pub(crate) fn put_manifest(&mut self, reference: &str, kind: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(kind, bytes);
        for key in [reference.to_owned(), descriptor.digest.to_string()] {
            self.manifests.insert(key, (kind.to_owned(), bytes.to_vec()));
        }
        descriptor
    }

    /// An image to sign, tagged `v1`.
    pub(crate) fn put_image(&mut self) -> Descriptor {
        let config = Descriptor::of("application/vnd.oci.image.config.v1+json", b"{}");
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type::IMAGE_MANIFEST, "config": config,
            "layers": []});
        self.put_manifest("v1", media_type::IMAGE_MANIFEST, manifest.to_string().as_bytes())
    }

    pub(crate) fn index(&self, tag: &str) -> Option<Value> {
        self.manifests.get(tag).map(|(_, bytes)| serde_json::from_slice(bytes).unwrap())
    }

    pub(crate) fn answer(&mut self, seen: &Seen) -> Reply {
        let path = seen.path().strip_prefix(BASE).unwrap_or(seen.path());
        let last = path.rsplit('/').next().unwrap();
        match (seen.method.as_str(), path) {
            ("POST", "/blobs/uploads/") => {
                Reply::status(202).header("Location", "/v2/team/app/blobs/uploads/7?state=x")
            }
            ("PUT", "/blobs/uploads/7") => self.take_blob(seen),
            ("HEAD" | "GET", p) if p.starts_with("/blobs/") => match self.blobs.get(last) {
                Some(bytes) => Reply::ok("application/octet-stream", bytes.clone()),
                None => Reply::status(404),
            },
            ("GET", p) if p.starts_with("/manifests/") => match self.manifests.get(last) {
                Some((kind, bytes)) => Reply::ok(kind, bytes.clone())
                    .header("Docker-Content-Digest", &Digest::sha256(bytes).to_string()),
                None => Reply::status(404).body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
            },
            ("PUT", p) if p.starts_with("/manifests/") => self.take_manifest(seen, last),
            ("DELETE", p) if p.starts_with("/manifests/") && self.allows_delete => {
                let gone = self.manifests.get(last).cloned();
                self.manifests.retain(|_, content| Some(&*content) != gone.as_ref());
                Reply::status(202)
            }
            ("GET", p) if p.starts_with("/referrers/") && self.has_api => self.referrers(last),
            ("DELETE", _) => Reply::status(405).body(r#"{"errors":[{"code":"UNSUPPORTED","message":"no"}]}"#),
            _ => Reply::status(404).body("404 page not found"),
        }
    }

    fn take_blob(&mut self, seen: &Seen) -> Reply {
        assert!(seen.target.contains("state=x"), "the upload's own query is kept: {}", seen.target);
        let digest = Digest::sha256(&seen.body).to_string();
        assert!(seen.target.contains(&digest.replace(':', "%3A")), "{}", seen.target);
        self.blobs.insert(digest.clone(), seen.body.clone());
        Reply::status(201).header("Docker-Content-Digest", &digest)
    }

    fn take_manifest(&mut self, seen: &Seen, reference: &str) -> Reply {
        let kind = seen.header("content-type").unwrap().to_owned();
        let value: Value = serde_json::from_slice(&seen.body).unwrap();
        for blob in [&value["config"], &value["layers"][0]] {
            let digest = blob["digest"].as_str();
            assert!(
                digest.is_none_or(|d| self.blobs.contains_key(d)),
                "a manifest before its blob {digest:?}"
            );
        }
        let descriptor = self.put_manifest(reference, &kind, &seen.body);
        let reply = Reply::status(201).header("Docker-Content-Digest", &descriptor.digest.to_string());
        match value["subject"]["digest"].as_str() {
            Some(subject) if self.has_api => reply.header("OCI-Subject", subject),
            _ => reply,
        }
    }

    fn referrers(&self, subject: &str) -> Reply {
        let mut found = BTreeMap::new();
        for (kind, bytes) in self.manifests.values() {
            let value: Value = serde_json::from_slice(bytes).unwrap();
            if value["subject"]["digest"] == subject {
                let mut entry = serde_json::to_value(Descriptor::of(kind, bytes)).unwrap();
                let config_type = value["config"]["mediaType"].clone();
                entry["artifactType"] = value.get("artifactType").cloned().unwrap_or(config_type);
                found.insert(entry["digest"].to_string(), entry);
            }
        }
        let entries: Vec<_> = found.into_values().collect();
        let index = json!({"schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": entries});
        Reply::ok(media_type::IMAGE_INDEX, index.to_string())
    }
}

pub(crate) fn serve(memory: &Arc<Mutex<Memory>>) -> Server {
    let memory = Arc::clone(memory);
    Server::start(move |seen| memory.lock().unwrap().answer(seen))
}
