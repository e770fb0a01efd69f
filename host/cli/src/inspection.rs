//! What is inside a signature, as `inspect` and `blob inspect` show it. Nothing here is verified.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prokura_envelope::certificate::Certificate;
use prokura_envelope::{AttributeValue, Content, Descriptor, ParsedEnvelope, Payload};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::output::tree::Node;

/// JSON of one signature, member for member as `notation` 2 writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Inspection {
    /// Digest of the signature manifest; none for a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    signature_algorithm: &'static str,
    signature_envelope_type: &'static str,
    signed_attributes: Map<String, Value>,
    user_defined_attributes: Option<BTreeMap<String, String>>,
    unsigned_attributes: Map<String, Value>,
    certificates: Vec<Shown>,
    signed_artifact: Descriptor,
    #[serde(skip)]
    tree: Times,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(rename = "SHA256Fingerprint")]
    sha256_fingerprint: String,
    issued_to: String,
    issued_by: String,
    expiry: Timestamp,
}

/// Signed times, which the tree shows in another form than the JSON.
struct Times {
    signing_time: Option<Timestamp>,
    expiry: Option<Timestamp>,
}

/// Said of a countersignature, which nothing looks into yet.
const TOKEN_NOT_EXAMINED: &str = "timestamp countersignatures are not examined by this version";

impl Inspection {
    /// Takes an envelope apart.
    ///
    /// # Errors
    /// If its payload is none.
    pub(crate) fn of(envelope: &ParsedEnvelope, digest: Option<String>) -> Result<Self, String> {
        let content = envelope.content();
        let payload = Payload::parse(&content.payload).map_err(|error| error.to_string())?;
        let mut signed_artifact = payload.target().clone();
        let metadata = std::mem::take(&mut signed_artifact.annotations);
        let signing_time = content.signing_time.or(content.authentic_signing_time);
        Ok(Self {
            digest,
            signature_algorithm: content.algorithm.as_str(),
            signature_envelope_type: content.format.media_type(),
            signed_attributes: signed_attributes(content, signing_time),
            user_defined_attributes: Some(metadata).filter(|metadata| !metadata.is_empty()),
            unsigned_attributes: unsigned_attributes(content),
            certificates: content.chain.iter().map(Shown::of).collect(),
            signed_artifact,
            tree: Times { signing_time, expiry: content.expiry },
        })
    }

    /// The tree form below a line that names the signature.
    pub(crate) fn tree(&self, name: &str) -> Node {
        let mut root = Node::new(name);
        root.pair("signature algorithm", self.signature_algorithm);
        root.pair("signature envelope type", self.signature_envelope_type);
        root.add(self.signed_attributes_tree());
        root.add(self.user_attributes_tree());
        root.add(self.unsigned_attributes_tree());
        let mut certificates = Node::new("certificates");
        self.certificates.iter().for_each(|certificate| certificates.add(certificate.tree()));
        root.add(certificates);
        let mut artifact = Node::new("signed artifact");
        artifact.pair("media type", &self.signed_artifact.media_type);
        artifact.pair("digest", &self.signed_artifact.digest);
        artifact.pair("size", &self.signed_artifact.size.to_string());
        root.add(artifact);
        root
    }

    fn signed_attributes_tree(&self) -> Node {
        let mut node = Node::new("signed attributes");
        let text = |name: &str| self.signed_attributes.get(name).and_then(Value::as_str).unwrap_or_default();
        node.pair("content type", text("contentType"));
        node.pair("signing scheme", text("signingScheme"));
        if let Some(time) = self.tree.signing_time {
            node.pair("signing time", &ansi_c(time));
        }
        if let Some(time) = self.tree.expiry {
            node.pair("expiry", &ansi_c(time));
        }
        let known = ["contentType", "signingScheme", "signingTime", "expiry"];
        for (name, value) in &self.signed_attributes {
            if !known.contains(&name.as_str()) {
                node.pair(name, value.as_str().unwrap_or_default());
            }
        }
        node
    }

    fn user_attributes_tree(&self) -> Node {
        let mut node = Node::new("user defined attributes");
        match &self.user_defined_attributes {
            None => node.add(Node::new("(empty)")),
            Some(metadata) => metadata.iter().for_each(|(name, value)| node.pair(name, value)),
        }
        node
    }

    fn unsigned_attributes_tree(&self) -> Node {
        let mut node = Node::new("unsigned attributes");
        if let Some(agent) = self.unsigned_attributes.get("signingAgent").and_then(Value::as_str) {
            node.pair("signing agent", agent);
        }
        if self.unsigned_attributes.contains_key("timestampSignature") {
            let mut token = Node::new("timestamp signature");
            token.pair("error", TOKEN_NOT_EXAMINED);
            node.add(token);
        }
        node
    }
}

impl Shown {
    fn of(certificate: &Certificate) -> Self {
        Self {
            sha256_fingerprint: certificate.sha256_fingerprint(),
            issued_to: certificate.subject(),
            issued_by: certificate.issuer(),
            expiry: certificate.not_after(),
        }
    }

    fn tree(&self) -> Node {
        let mut node = Node::new(format!("SHA256 fingerprint: {}", self.sha256_fingerprint));
        node.pair("issued to", &self.issued_to);
        node.pair("issued by", &self.issued_by);
        node.pair("expiry", &ansi_c(self.expiry));
        node
    }
}

fn signed_attributes(content: &Content, signing_time: Option<Timestamp>) -> Map<String, Value> {
    let mut attributes = Map::new();
    for attribute in &content.extended {
        let value = match &attribute.value {
            AttributeValue::Text(text) => text.clone(),
            other => other.to_json().to_string(),
        };
        attributes.insert(attribute.key.to_string(), Value::String(value));
    }
    // After the extended ones, which must not be able to pose as these.
    attributes.insert("contentType".to_owned(), content.content_type.clone().into());
    attributes.insert("signingScheme".to_owned(), content.scheme.as_str().into());
    for (name, time) in [("signingTime", signing_time), ("expiry", content.expiry)] {
        match time {
            Some(time) => attributes.insert(name.to_owned(), time.to_string().into()),
            None => attributes.remove(name),
        };
    }
    attributes
}

fn unsigned_attributes(content: &Content) -> Map<String, Value> {
    let mut attributes = Map::new();
    if let Some(agent) = content.signing_agent.as_deref().filter(|agent| !agent.is_empty()) {
        attributes.insert("signingAgent".to_owned(), agent.into());
    }
    if content.timestamp_token.is_some() {
        let error = serde_json::json!({ "error": TOKEN_NOT_EXAMINED });
        attributes.insert("timestampSignature".to_owned(), error);
    }
    attributes
}

/// Go's `time.ANSIC`: `Fri Jun 23 22:04:01 2023`, in UTC.
fn ansi_c(time: Timestamp) -> String {
    time.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_gos_ansi_c() {
        let time: Timestamp = "2023-06-03T02:04:01Z".parse().unwrap();
        assert_eq!(ansi_c(time), "Sat Jun  3 02:04:01 2023");
    }
}
