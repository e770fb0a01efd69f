//! What came of verifying one signature: every check with its result and its reasons.

use std::fmt;

use prokura_envelope::{Content, Payload};
use serde::Serialize;

use crate::policy::{Action, CheckType, Level, Statement};
use crate::reason::Reason;

/// The decision about one signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// No enforced check failed. Checks that are only logged may have: see [`Outcome::warnings`].
    Verified,
    /// An enforced check failed.
    Refused,
    /// The statement's level is `skip`: the signature was not looked at.
    Skipped,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "result")]
pub enum CheckResult {
    /// It holds.
    Passed,
    /// It does not, for every one of these reasons.
    Failed {
        /// At least one.
        reasons: Vec<Reason>,
    },
    /// The level skips it.
    Skipped,
    /// An enforced check before it failed.
    NotReached,
}

/// One check of one signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    #[serde(rename = "type")]
    pub check_type: CheckType,
    /// What a failure means under the statement's level.
    pub action: Action,
    /// How it ended.
    #[serde(flatten)]
    pub result: CheckResult,
}

/// What came of verifying one signature. Made by [`crate::verify_signature`] only.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    statement: String,
    level: Level,
    verdict: Verdict,
    checks: Vec<Check>,
    #[serde(skip)]
    content: Option<Content>,
    #[serde(skip)]
    payload: Option<Payload>,
}

impl Outcome {
    /// Runs the checks in order. `judge` tells why a check fails; nothing means that it passes.
    pub(crate) fn of(statement: &Statement, mut judge: impl FnMut(CheckType) -> Vec<Reason>) -> Self {
        let level = statement.level().clone();
        let mut verdict = if level.is_skip() { Verdict::Skipped } else { Verdict::Verified };
        let mut checks = Vec::new();
        for check_type in CheckType::IN_ORDER {
            let action = level.action(check_type);
            let result = match (verdict, action) {
                (Verdict::Refused, _) => CheckResult::NotReached,
                (_, Action::Skip) => CheckResult::Skipped,
                _ => match judge(check_type) {
                    reasons if reasons.is_empty() => CheckResult::Passed,
                    reasons => CheckResult::Failed { reasons },
                },
            };
            if action == Action::Enforce && matches!(result, CheckResult::Failed { .. }) {
                verdict = Verdict::Refused;
            }
            checks.push(Check { check_type, action, result });
        }
        let statement = statement.name().to_owned();
        Self { statement, level, verdict, checks, content: None, payload: None }
    }

    pub(crate) fn with(mut self, content: Option<Content>, payload: Option<Payload>) -> Self {
        // What is refused is not used any more, and many large refused signatures may be kept for their reasons.
        if self.verdict == Verdict::Verified {
            self.content = content;
            self.payload = payload;
        }
        self
    }

    /// The decision.
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether the signature was looked at and accepted. False for [`Verdict::Skipped`].
    pub fn is_verified(&self) -> bool {
        self.verdict == Verdict::Verified
    }

    /// Name of the statement that was applied.
    pub fn statement(&self) -> &str {
        &self.statement
    }

    /// The level that was applied.
    pub const fn level(&self) -> &Level {
        &self.level
    }

    /// All checks in the order in which they are done.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The enforced check that failed.
    pub fn failure(&self) -> Option<&Check> {
        self.checks.iter().find(|c| c.action == Action::Enforce && !c.reasons().is_empty())
    }

    /// Checks that failed but are only logged: to be shown even where the signature is accepted.
    pub fn warnings(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|c| c.action == Action::Log && !c.reasons().is_empty())
    }

    /// What the envelope holds; nothing unless [`Outcome::is_verified`]. Where authenticity is only logged and failed,
    /// nobody vouches for it but whoever holds the key of its leaf certificate.
    pub const fn content(&self) -> Option<&Content> {
        self.content.as_ref()
    }

    /// The payload, under the same condition as [`Outcome::content`]. Its annotations are the user metadata.
    pub const fn payload(&self) -> Option<&Payload> {
        self.payload.as_ref()
    }
}

impl Check {
    /// Why it failed; empty if it did not.
    pub fn reasons(&self) -> &[Reason] {
        match &self.result {
            CheckResult::Failed { reasons } => reasons,
            _ => &[],
        }
    }

    /// All reasons in one line.
    pub fn explanation(&self) -> String {
        self.reasons().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18}  {:<7}  ", self.check_type, self.action)?;
        match &self.result {
            CheckResult::Passed => f.write_str("passed"),
            CheckResult::Failed { .. } => write!(f, "failed: {}", self.explanation()),
            CheckResult::Skipped => f.write_str("skipped"),
            CheckResult::NotReached => f.write_str("not reached"),
        }
    }
}

impl fmt::Display for Outcome {
    /// One line per check.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, check) in self.checks.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{check}")?;
        }
        Ok(())
    }
}
