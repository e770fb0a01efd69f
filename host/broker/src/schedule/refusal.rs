//! Why a request was not served, and when it could be.

use std::sync::Arc;
use std::time::Instant;

use super::fault::{Fault, Kind};
use super::peers::Denied;
use super::room::Unfit;
use super::scheduler::Times;

/// Why a request was not served. `E` is what the vault's plugin says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<E> {
    /// The vault's quota does not reach for it before its deadline. The vault was not asked.
    OutOfQuota {
        /// Which vault.
        vault: Arc<str>,
        /// When it could be served.
        until: Instant,
        /// What the vault said before, if it was asked.
        last: Option<E>,
    },
    /// The deadline cannot be met, or passed.
    TooLate {
        /// When it could be served, if that is known.
        possible_at: Option<Instant>,
        /// What the vault said before, if it was asked.
        last: Option<E>,
    },
    /// The peer asks too often or too much at once.
    Peer(Denied),
    /// The vault said no, and neither asking again nor asking elsewhere helps.
    Vault {
        /// The last one that was asked.
        vault: Arc<str>,
        /// What it said.
        error: E,
        /// Where the time went.
        times: Times,
    },
    /// The vault gave no answer.
    NoAnswer {
        /// The last one that was asked.
        vault: Arc<str>,
        /// Where the time went.
        times: Times,
    },
    /// The config names no such vault, or no such class of keys in it.
    NoVault,
}

impl<E: Fault> Refusal<E> {
    pub(super) fn unfit(unfit: Unfit, last: Option<E>) -> Self {
        let is_quota = unfit.is_quota();
        match unfit {
            Unfit::NoVault => Self::NoVault,
            Unfit::NotInTime { vault, forecast } | Unfit::Full { vault, forecast } if is_quota => {
                Self::OutOfQuota { vault, until: forecast.done_at, last }
            }
            Unfit::NotInTime { forecast, .. } | Unfit::Full { forecast, .. } => {
                Self::TooLate { possible_at: Some(forecast.done_at), last }
            }
        }
    }

    /// As the protocol names it: OUT_OF_QUOTA, TOO_LATE, VAULT or INTERNAL.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfQuota { .. } | Self::Peer(_) => "OUT_OF_QUOTA",
            Self::Vault { error, .. } if error.facts().kind == Kind::Throttled => "OUT_OF_QUOTA",
            Self::TooLate { .. } => "TOO_LATE",
            Self::Vault { .. } | Self::NoAnswer { .. } => "VAULT",
            Self::NoVault => "INTERNAL",
        }
    }

    /// When the same request could be served, if that is known.
    pub const fn possible_at(&self) -> Option<Instant> {
        match self {
            Self::OutOfQuota { until, .. } | Self::Peer(Denied::TooOften(until)) => Some(*until),
            Self::TooLate { possible_at, .. } => *possible_at,
            Self::Peer(Denied::TooMany(_)) | Self::Vault { .. } | Self::NoAnswer { .. } | Self::NoVault => {
                None
            }
        }
    }

    /// Whether the same request may succeed later without anybody acting.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::OutOfQuota { .. } | Self::TooLate { .. } | Self::Peer(_) | Self::NoAnswer { .. } => true,
            Self::Vault { error, .. } => error.facts().retryable,
            Self::NoVault => false,
        }
    }
}
