//! Reads the test vectors in `vectors/`: one file per rule, for plugins and for hosts, in any language's reach.
//!
//! `vectors/README.md` describes the format and how to run them. Runners: this crate's `tests/vectors.rs`
//! (in-process) and the conformance kit (executables). Nothing here judges; it parses and fills in.

mod file;
#[cfg(feature = "grpc")]
pub mod grpc;
mod values;

use std::fmt;
use std::path::Path;

use crate::error::ErrorCode;
use crate::key::KeySpec;

pub use values::{Signed, Values};

/// Who is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A plugin: the body is a request.
    Plugin,
    /// A host: the body is what a plugin replied.
    Host,
}

/// How the body travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Contract 1.0 over stdio: the body is sent byte for byte.
    Stdio,
    /// `prokura.plugin.v1`: the body is the message as JSON with the names of the `.proto` file, bytes in Base64.
    Grpc,
}

/// The stream a reply towards a host was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Stdout, exit code 0.
    Stdout,
    /// Stderr, exit code 1.
    Stderr,
}

/// What must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The answer keeps every rule of the command.
    Success,
    /// A plugin refuses with this code; a host reads this code from the error object.
    Error(ErrorCode),
    /// A host refuses the reply and names this rule.
    Refused(String),
}

/// One test vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// File name without `.txt`.
    pub name: String,
    /// Id of the rule in SPEC.md.
    pub rule: String,
    /// What is tried and what must happen, for people.
    pub comment: String,
    /// Who is under test.
    pub direction: Direction,
    /// How the body travels.
    pub transport: Transport,
    /// The command (stdio) or method (gRPC), as on the wire.
    pub command: String,
    /// What must come of it.
    pub expect: Expect,
    /// The key spec the vector is about; any if absent.
    pub key_spec: Option<KeySpec>,
    /// Towards a plugin: the capability without which it need not be run.
    pub capability: Option<String>,
    /// Towards a host: where the reply was written.
    pub reply: Stream,
    /// The body with placeholders.
    pub body: String,
}

/// What is wrong with a vector file, or with filling it in.
#[derive(Debug)]
pub struct VectorError {
    /// Which file or directory.
    pub path: String,
    /// What was found and expected.
    pub message: String,
}

impl fmt::Display for VectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vector {}: {}", self.path, self.message)
    }
}

impl std::error::Error for VectorError {}

impl Vector {
    /// Whether the vector is about keys of `spec`.
    pub fn applies_to(&self, spec: KeySpec) -> bool {
        self.key_spec.is_none_or(|only| only == spec)
    }

    /// The body with its placeholders replaced.
    ///
    /// # Errors
    /// If the body holds a placeholder that `values` has no value for.
    pub fn fill(&self, values: &Values) -> Result<Vec<u8>, VectorError> {
        values
            .fill(&self.body)
            .map(String::into_bytes)
            .map_err(|message| VectorError { path: self.name.clone(), message })
    }
}

/// Reads one vector; `name` is its file name without `.txt`.
///
/// # Errors
/// If the text is no vector, see `vectors/README.md`.
pub fn parse(name: &str, text: &str) -> Result<Vector, VectorError> {
    file::parse(name, text).map_err(|message| VectorError { path: name.to_owned(), message })
}

/// Reads every `.txt` file of a directory, in order of their names.
///
/// # Errors
/// If the directory cannot be read, holds no vector, or one of them is malformed.
pub fn load_dir(path: &Path) -> Result<Vec<Vector>, VectorError> {
    let failed = |at: &Path, message: String| VectorError { path: at.display().to_string(), message };
    let mut vectors = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| failed(path, e.to_string()))? {
        let file = entry.map_err(|e| failed(path, e.to_string()))?.path();
        let name = file.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".txt"));
        if let Some(name) = name {
            let text = std::fs::read_to_string(&file).map_err(|e| failed(&file, e.to_string()))?;
            vectors.push(parse(name, &text)?);
        }
    }
    if vectors.is_empty() {
        return Err(failed(path, "no vectors found, expected .txt files".to_owned()));
    }
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(vectors)
}
