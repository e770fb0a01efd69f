//! Contract 1.0 over stdio: one command, one JSON document in, one JSON document out.
//!
//! [`answer`] is the whole protocol as a function of its arguments; [`crate::serve`] wraps a process around it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorCode};
use crate::json;
use crate::limits::REQUEST_BYTES_MAX;
use crate::message::{
    Base64, CONTRACT_VERSION, Command, DescribeKeyRequest, DescribeKeyResponse, ErrorResponse,
    GenerateSignatureRequest, GenerateSignatureResponse, Metadata, MetadataRequest, PluginConfig,
};
use crate::operation;
use crate::request::{Deadline, KeyRequest};
use crate::signing_key::{OpenKey, SigningKey};
use crate::to_be_signed::ToBeSigned;

/// The commands a plugin made with this SDK answers.
pub const COMMANDS: [Command; 3] =
    [Command::GetPluginMetadata, Command::DescribeKey, Command::GenerateSignature];

/// Answers one command. Blocks while the vault works. A panic in vendor code becomes an `ERROR`.
///
/// # Errors
/// The JSON object that belongs on stderr.
pub fn answer(
    command: &str,
    request: &[u8],
    metadata: &Metadata,
    open_key: &dyn OpenKey,
) -> Result<Vec<u8>, ErrorResponse> {
    catch_unwind(AssertUnwindSafe(|| dispatch(command, request, metadata, open_key)))
        .unwrap_or_else(|_| Err(panicked()))
        .map_err(ErrorResponse::from)
}

/// What is said of a panic: not its text, which may hold anything.
pub(crate) fn panicked() -> Error {
    Error::internal("the plugin panicked; this is a defect, report it to the plugin's author")
}

fn dispatch(
    command: &str,
    request: &[u8],
    metadata: &Metadata,
    open_key: &dyn OpenKey,
) -> Result<Vec<u8>, Error> {
    let Some(command) = COMMANDS.into_iter().find(|c| c.as_str() == command) else {
        return Err(unknown_command(command));
    };
    if request.len() > REQUEST_BYTES_MAX {
        return Err(Error::validation(format!(
            "the request is larger than the {REQUEST_BYTES_MAX} bytes allowed"
        )));
    }
    match command {
        Command::DescribeKey => describe_key(parsed(command, request)?, open_key),
        Command::GenerateSignature => generate_signature(parsed(command, request)?, open_key),
        _ => parsed::<MetadataRequest>(command, request).and_then(|_| written(metadata)),
    }
}

fn unknown_command(found: &str) -> Error {
    let found: String = found.chars().filter(|c| !c.is_control()).take(64).collect();
    let known = COMMANDS.map(Command::as_str).join(", ");
    Error::validation(format!("command {found:?} is not served, expected one of {known}"))
}

fn describe_key(request: DescribeKeyRequest, open_key: &dyn OpenKey) -> Result<Vec<u8>, Error> {
    let (request, key) = opened(&request.contract_version, request.key_id, request.plugin_config, open_key)?;
    written(&DescribeKeyResponse {
        key_id: request.key_id().to_string(),
        key_spec: key.public_key().spec().to_string(),
    })
}

fn generate_signature(request: GenerateSignatureRequest, open_key: &dyn OpenKey) -> Result<Vec<u8>, Error> {
    contract_version(&request.contract_version)?;
    let (spec, hash) = operation::spec_and_hash(&request.key_spec, &request.hash_algorithm)?;
    if request.payload.0.is_empty() {
        return Err(Error::validation("payload is missing or empty"));
    }
    let (key_request, key) =
        opened(&request.contract_version, request.key_id, request.plugin_config, open_key)?;
    // The chain comes before the signature: a key is not used for an answer that cannot be given.
    operation::same_spec(key.as_ref(), key_request.key_id(), spec)?;
    let chain = operation::full_chain(key.as_ref(), &key_request)?;
    let content = ToBeSigned::of(hash, request.payload.0);
    let signature =
        operation::sign(key.as_ref(), key_request.key_id(), spec, &content, key_request.deadline())?;
    written(&GenerateSignatureResponse {
        key_id: key_request.key_id().to_string(),
        signature: Base64(signature.bytes().to_vec()),
        signing_algorithm: spec.signing_algorithm().to_string(),
        certificate_chain: chain.certificates().iter().cloned().map(Base64).collect(),
    })
}

fn opened(
    version: &str,
    key_id: String,
    plugin_config: PluginConfig,
    open_key: &dyn OpenKey,
) -> Result<(KeyRequest, Box<dyn SigningKey>), Error> {
    contract_version(version)?;
    let request = KeyRequest::new(key_id, plugin_config, Deadline::NONE)?;
    let key = open_key.open_key(&request)?;
    Ok((request, key))
}

fn contract_version(found: &str) -> Result<(), Error> {
    if found.is_empty() {
        return Err(Error::validation("contractVersion is missing or empty"));
    }
    if found != CONTRACT_VERSION {
        let found: String = found.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(Error::new(
            ErrorCode::UnsupportedContractVersion,
            format!("contractVersion {found:?} is not supported, expected {CONTRACT_VERSION:?}"),
        ));
    }
    Ok(())
}

fn parsed<T: DeserializeOwned>(command: Command, request: &[u8]) -> Result<T, Error> {
    json::read_object(request).map_err(|e| Error::validation(format!("the request of {command}: {e}")))
}

fn written(message: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(message).map_err(Error::internal)
}
