//! The one function that signs. It takes permit and record by value, and leaves an outcome in the log whatever happens.

use std::sync::Arc;
use std::time::Instant;

use crate::audit::{AuditError, Ending, Log, Outcome, Receipt, Recorded};
use crate::content::Content;
use crate::peer::Peer;
use crate::policy::Permit;
use crate::service::Clock;
use crate::vaults::{Described, Key, Made, NotMade};

/// What is to be signed, by which key, for whom.
pub(super) struct Order {
    pub(super) peer: Peer,
    pub(super) key: Arc<Key>,
    pub(super) described: Arc<Described>,
    pub(super) content: Content,
}

/// A signature that verifies and is recorded.
pub(super) struct Signed {
    pub(super) made: Made,
    pub(super) receipt: Receipt,
    pub(super) vault_us: u64,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum SignFault {
    /// The vault; recorded.
    Vault(NotMade),
    /// The log, before or after.
    Log(AuditError),
    /// Permit and order do not belong together; recorded.
    NotCovered,
}

/// Signs, verifies, records the outcome. Is to run to its end: whoever waits for it may go away, it may not.
pub(super) async fn sign(
    order: &Order,
    permit: Permit,
    recorded: Recorded,
    log: &Log,
    clock: &Clock,
) -> Result<Signed, SignFault> {
    let begun = Instant::now();
    let name = order.key.config().name.as_str();
    let made = if permit.covers(&order.peer, name, &order.content) {
        order.key.sign(&order.described, permit.digest()).await.map_err(SignFault::Vault)
    } else {
        Err(SignFault::NotCovered)
    };
    let vault_us = micros(begun);
    let outcome = Outcome {
        time: clock(),
        ending: match &made {
            Ok(made) => Ending::Signed(made.signature.bytes().to_vec()),
            Err(SignFault::Vault(error)) => Ending::Failed(error.to_string()),
            Err(_) => Ending::Failed("the permit is not for this request".to_owned()),
        },
        key_version: made.as_ref().map_or_else(|_| String::new(), |made| made.version.clone()),
        vault_request_id: made.as_ref().map_or_else(|_| String::new(), |made| made.vault_request_id.clone()),
        queue_us: 0,
        vault_us,
        attempts: 1,
    };
    let receipt = log.finish(recorded, outcome).await;
    let made = made?;
    let receipt = receipt.map_err(SignFault::Log)?;
    Ok(Signed { made, receipt, vault_us })
}

pub(super) fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
