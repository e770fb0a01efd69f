//! A request to sign, checked against the key it names.

use std::sync::Arc;

use prokura_proto::broker::v1;

use super::refusal::{Refusal, RefusalCode};
use super::{Broker, Caller, Rules, within};
use crate::config::KeyName;
use crate::content::Content;
use crate::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::policy::{Claimed, Counts, Wanted};
use crate::vaults::{Described, Key};

/// What a caller wants, well formed.
pub(super) struct Asked {
    pub(super) key: Arc<Key>,
    pub(super) described: Arc<Described>,
    pub(super) content: Content,
    pub(super) claimed: Claimed,
}

impl Broker {
    pub(super) async fn asked(
        &self,
        rules: &Rules,
        caller: &Caller,
        request: &v1::SignRequest,
    ) -> Result<Asked, Refusal> {
        let claims = request.claims.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let claimed = Claimed::new(&request.claimed_reference, claims)?;
        let (key, described) = self.key(rules, caller, &request.key_name).await?;
        check_expected(&request.expected_key, &described)?;
        let content = Content::read(request.content.as_ref(), described.spec(), self.now())?;
        Ok(Asked { key, described, content, claimed })
    }

    /// The key of this name, described.
    pub(super) async fn key(
        &self,
        rules: &Rules,
        caller: &Caller,
        name: &str,
    ) -> Result<(Arc<Key>, Arc<Described>), Refusal> {
        let name: KeyName = name
            .parse()
            .map_err(|error| Refusal::new(RefusalCode::Invalid, format!("the name of the key {error}")))?;
        let key = rules.vaults.key(name.as_str()).cloned().ok_or_else(|| {
            let message =
                format!("there is no key {name:?} here; ask ListKeys which there are", name = name.as_str());
            Refusal::new(RefusalCode::NoSuchKey, message)
        })?;
        let described = within(caller.until, key.described(self.now())).await?;
        let described = described.map_err(|error| Refusal::from(&*error))?;
        Ok((key, described))
    }

    /// As policies see it. Nothing is counted yet: policies that ask for counts are refused when they are loaded.
    pub(super) fn wanted<'a>(&self, caller: &'a Caller, asked: &'a Asked) -> Wanted<'a> {
        Wanted {
            peer: &caller.peer,
            key: asked.described.facts(),
            content: &asked.content,
            claimed: &asked.claimed,
            counts: Counts::default(),
            now: self.now(),
        }
    }
}

/// Refuses what is no idempotency key; none is one.
pub(super) fn check_idempotency_key(key: &str) -> Result<(), Refusal> {
    let visible = key.bytes().all(|b| (0x21..=0x7E).contains(&b));
    if key.len() <= IDEMPOTENCY_KEY_BYTES_MAX && visible {
        return Ok(());
    }
    let message = format!(
        "the idempotency key has {} bytes, expected 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters, or none",
        key.len()
    );
    Err(Refusal::new(RefusalCode::Invalid, message))
}

fn check_expected(expected: &str, described: &Described) -> Result<(), Refusal> {
    if expected.is_empty() || expected.eq_ignore_ascii_case(described.fingerprint()) {
        return Ok(());
    }
    if expected.len() != 64 || !expected.bytes().all(|b| b.is_ascii_hexdigit()) {
        let message = "expected_key is no SHA-256 as 64 hexadecimal digits; correct the request";
        return Err(Refusal::new(RefusalCode::Invalid, message));
    }
    let message = format!(
        "key {:?} has the fingerprint {}, the request expects {expected}; ask DescribeKey for the key and its certificates, and \
         prepare what is to be signed anew",
        described.facts().name,
        described.fingerprint()
    );
    Err(Refusal::new(RefusalCode::KeyChanged, message))
}
