//! The rogue as a vault: it lists keys, makes one, takes a certificate, signs over a stream and asks, but for one rule.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use prokura_envelope::certificate::Certificate;
use prokura_plugin::limits::LISTED_KEYS_MAX;
use prokura_plugin::message::capability;
use prokura_plugin::{Digest, ErrorCode, KeyId, KeySpec, SigningKey as _};
use prokura_proto::plugin::v1 as wire;
use prokura_proto::plugin::v1::list_keys_response::Found;
use prokura_proto::plugin::v1::sign_digests_response::Outcome;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Response, Status, Streaming};

use super::Told;
use super::key::RogueKey;
use crate::pki::generate_key;

/// The switches: plugin config `vault`. Without it the rogue announces none of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum VaultBreak {
    /// Keeps all rules: proves that a refusal comes from the switch.
    Nothing,
    /// Leaves the key out of the list.
    ListsOthers,
    /// Lists a key under an id that names another.
    ListsWrongId,
    /// Lists two keys under one id.
    ListsTwice,
    /// Lists a key without id.
    ListsNoId,
    /// Lists more keys than anybody reads.
    ListsWithoutEnd,
    /// Lists its key although it does not announce that it lists.
    ListsUnannounced,
    /// Makes a key whatever it is called, of whatever spec.
    MakesAnything,
    /// Makes a key of another spec than it was asked for.
    MakesAnother,
    /// Takes whatever is called a certificate.
    InstallsAnything,
    /// Leaves one request of a stream unanswered.
    StreamForgets,
    /// Answers one request of a stream twice.
    StreamRepeats,
    /// Refuses a bad digest in a stream with another code than it should.
    StreamRefusesOtherwise,
    /// Answers over a stream with the signature of another digest.
    StreamMixesUp,
    /// Answers a stream that asked nothing.
    StreamTalks,
    /// Lets two hosts answer its questions.
    AsksTwo,
}

impl VaultBreak {
    /// The name in plugin config.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What a call that streams returns.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The vault's half of the service.
pub(super) struct Vault {
    switch: Option<VaultBreak>,
    key: Arc<RogueKey>,
    is_asking: AtomicBool,
}

impl Vault {
    pub(super) const fn new(told: &Told, key: Arc<RogueKey>) -> Self {
        Self { switch: told.vault, key, is_asking: AtomicBool::new(false) }
    }

    fn switch(&self) -> Result<VaultBreak, Status> {
        self.switch.ok_or_else(|| Status::unimplemented("not announced"))
    }

    pub(super) fn list(&self) -> Result<Response<Answers<wire::ListKeysResponse>>, Status> {
        let own = described("rogue-key", &self.key);
        let keys = match self.switch()? {
            VaultBreak::ListsOthers => vec![],
            VaultBreak::ListsWrongId => vec![own, stranger("stranger")?],
            VaultBreak::ListsTwice => vec![own.clone(), own],
            VaultBreak::ListsNoId => vec![described("", &self.key)],
            VaultBreak::ListsWithoutEnd => {
                (0..LISTED_KEYS_MAX + 2).map(|n| described(&n.to_string(), &self.key)).collect()
            }
            _ => vec![own],
        };
        let answers = keys.into_iter().map(|key| Ok(wire::ListKeysResponse { found: Some(Found::Key(key)) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(answers.collect::<Vec<_>>()))))
    }

    pub(super) fn create(&self, request: &wire::CreateKeyRequest) -> Result<wire::CreateKeyResponse, Status> {
        let switch = self.switch()?;
        let spec: Option<KeySpec> = request.key_spec.parse().ok();
        let is_good = spec.is_some() && KeyId::new(request.name.clone()).is_ok();
        if !is_good && switch != VaultBreak::MakesAnything {
            return Err(invalid("no name, or no key spec"));
        }
        let mut key = described(&request.name, &self.key);
        if switch == VaultBreak::MakesAnother {
            let other = if spec == Some(KeySpec::Ec256) { KeySpec::Ec384 } else { KeySpec::Ec256 };
            let pair = generate_key(other).map_err(|error| Status::internal(format!("{error:#}")))?;
            key.key_spec = other.as_str().to_owned();
            key.public_key = rcgen::PublicKeyData::subject_public_key_info(&pair);
        }
        Ok(wire::CreateKeyResponse { key: Some(key) })
    }

    pub(super) fn install(&self, request: &wire::InstallCertificateRequest) -> Result<(), Status> {
        let leaf = request.certificate_chain.first().and_then(|der| Certificate::from_der(der).ok());
        let is_own =
            leaf.and_then(|leaf| leaf.public_key().ok()).is_some_and(|key| key == *self.key.public_key());
        match self.switch()? == VaultBreak::InstallsAnything || is_own {
            true => Ok(()),
            false => Err(invalid("not the certificate of this key")),
        }
    }

    pub(super) async fn stream(
        &self,
        mut requests: Streaming<wire::SignDigestsRequest>,
    ) -> Result<Response<Answers<wire::SignDigestsResponse>>, Status> {
        let switch = self.switch()?;
        let mut answers = Vec::new();
        while let Some(request) = requests.next().await {
            let request = request?;
            let outcome = Some(self.signed(request.request.unwrap_or_default(), switch)?);
            answers.push(wire::SignDigestsResponse { id: request.id, outcome });
        }
        match switch {
            VaultBreak::StreamForgets => drop(answers.pop()),
            VaultBreak::StreamRepeats => answers.extend(answers.first().cloned()),
            VaultBreak::StreamTalks => answers.push(wire::SignDigestsResponse::default()),
            _ => {}
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(answers.into_iter().map(Ok)))))
    }

    fn signed(&self, request: wire::SignDigestRequest, switch: VaultBreak) -> Result<Outcome, Status> {
        let hash = request.hash_algorithm.parse().map_err(|_| invalid("hash_algorithm"))?;
        let Ok(mut digest) = Digest::from_bytes(hash, request.digest) else {
            let code = match switch {
                VaultBreak::StreamRefusesOtherwise => ErrorCode::Error,
                _ => ErrorCode::ValidationError,
            };
            return Ok(Outcome::Error(refusal(code, "the digest is of another length")));
        };
        if switch == VaultBreak::StreamMixesUp {
            digest = Digest::of(hash, digest.bytes());
        }
        let signature = self.key.sent_signature(&digest).map_err(|e| Status::internal(format!("{e:#}")))?;
        Ok(Outcome::Signed(wire::SignDigestResponse {
            key_id: request.key.unwrap_or_default().key_id,
            signature,
            signing_algorithm: self.key.told_algorithm().to_owned(),
            public_key: self.key.public_key().spki_der().to_vec(),
            ..Default::default()
        }))
    }

    /// Asks nothing, for as long as the process lives.
    pub(super) fn interact(&self) -> Result<Response<Answers<wire::InteractRequest>>, Status> {
        let switch = self.switch()?;
        if self.is_asking.swap(true, Ordering::SeqCst) && switch != VaultBreak::AsksTwo {
            return Err(invalid("somebody answers already"));
        }
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }
}

/// What the rogue announces besides the rest.
pub(super) fn capabilities(switch: Option<VaultBreak>) -> Vec<String> {
    let all = [capability::KEY_LIST_1, capability::KEY_CREATE_1, capability::CERTIFICATE_INSTALL_1];
    let Some(switch) = switch else { return Vec::new() };
    let is_announced =
        |name: &&str| switch != VaultBreak::ListsUnannounced || *name != capability::KEY_LIST_1;
    all.into_iter().filter(is_announced).map(str::to_owned).collect()
}

fn described(id: &str, key: &RogueKey) -> wire::DescribeKeyResponse {
    wire::DescribeKeyResponse {
        key_id: id.to_owned(),
        key_spec: key.told_spec().to_owned(),
        public_key: key.public_key().spki_der().to_vec(),
        certificate_chain: key.sent_chain(),
        ..Default::default()
    }
}

/// A key that no call but the list knows.
fn stranger(id: &str) -> Result<wire::DescribeKeyResponse, Status> {
    let pair = generate_key(KeySpec::Ec256).map_err(|error| Status::internal(format!("{error:#}")))?;
    Ok(wire::DescribeKeyResponse {
        key_id: id.to_owned(),
        key_spec: KeySpec::Ec256.as_str().to_owned(),
        public_key: rcgen::PublicKeyData::subject_public_key_info(&pair),
        ..Default::default()
    })
}

fn refusal(code: ErrorCode, message: &str) -> wire::Error {
    wire::Error { code: code.as_str().to_owned(), message: message.to_owned(), ..Default::default() }
}

fn invalid(message: &str) -> Status {
    let details = prost::Message::encode_to_vec(&refusal(ErrorCode::ValidationError, message));
    Status::with_details(Code::InvalidArgument, message, details.into())
}
