//! What a decision is about: who wants what from which key, and what is known beside it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prokura_plugin::KeySpec;

use super::claimed::Claimed;
use crate::content::{Content, ContentType};
use crate::peer::Peer;

/// A key as policies see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// The name under which the operator offers it.
    pub name: String,
    /// Its spec.
    pub spec: KeySpec,
    /// Groups the operator put it in.
    pub groups: Vec<String>,
    /// Labels the operator gave it.
    pub labels: BTreeMap<String, String>,
}

/// Signatures made before this one, by all replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By this peer, in the last hour.
    pub peer_last_hour: u64,
    /// By this peer, in the last 24 hours.
    pub peer_last_day: u64,
    /// With this key, in the last hour.
    pub key_last_hour: u64,
    /// With this key, in the last 24 hours.
    pub key_last_day: u64,
}

/// A signature that a peer wants.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Who.
    pub peer: &'a Peer,
    /// With which key.
    pub key: &'a KeyFacts,
    /// Of what.
    pub content: &'a Content,
    /// What the peer says beside it.
    pub claimed: &'a Claimed,
    /// How many there were.
    pub counts: Counts,
    /// When.
    pub now: Timestamp,
}

/// Looking at a key without signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// `DescribeKey`.
    Describe,
    /// `ListKeys`.
    List,
}

/// An action of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    SignNotaryJws,
    SignNotaryCose,
    SignDigest,
    DescribeKey,
    ListKeys,
}

impl Act {
    pub(super) const ALL: [Self; 5] =
        [Self::SignNotaryJws, Self::SignNotaryCose, Self::SignDigest, Self::DescribeKey, Self::ListKeys];

    /// As the schema names it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::SignNotaryJws => "signNotaryJws",
            Self::SignNotaryCose => "signNotaryCose",
            Self::SignDigest => "signDigest",
            Self::DescribeKey => "describeKey",
            Self::ListKeys => "listKeys",
        }
    }
}

impl From<ContentType> for Act {
    fn from(content_type: ContentType) -> Self {
        match content_type {
            ContentType::NotaryJws => Self::SignNotaryJws,
            ContentType::NotaryCose => Self::SignNotaryCose,
            ContentType::Digest => Self::SignDigest,
        }
    }
}

impl From<Look> for Act {
    fn from(look: Look) -> Self {
        match look {
            Look::Describe => Self::DescribeKey,
            Look::List => Self::ListKeys,
        }
    }
}
