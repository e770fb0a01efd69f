//! One key name, several keys: which of them may serve a request, and which one is chosen.

use std::sync::Arc;
use std::time::Duration;

use crate::limits::TARGETS_MAX;

/// A key in a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The vault, as the schedule was told of it.
    pub vault: Arc<str>,
    /// The budget in it.
    pub class: Arc<str>,
    /// The key, unique within the vault.
    pub key: Arc<str>,
    /// What one signature takes of the budget, in units, from 1.
    pub cost: u32,
    /// Hex SHA-256 of the SubjectPublicKeyInfo.
    pub fingerprint: Arc<str>,
}

/// Keys that serve under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equivalent(Arc<[Target]>);

/// Why keys do not make a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEquivalent {
    /// There is none.
    #[error("no key serves under this name; name at least one")]
    None,
    /// There are too many.
    #[error("{found} keys serve under one name, at most {TARGETS_MAX} may")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// They differ, and nobody said they may.
    #[error(
        "key {second} in vault {vault} has another public key ({found}) than the first one ({expected}); use copies of one \
         key, or say in the config that different keys may serve under this name"
    )]
    Different {
        /// The key that differs.
        second: Arc<str>,
        /// Its vault.
        vault: Arc<str>,
        /// Its fingerprint.
        found: Arc<str>,
        /// The first one's.
        expected: Arc<str>,
    },
}

impl Equivalent {
    /// Keys with one public key, or with any if the operator says `different` ones may serve.
    ///
    /// # Errors
    /// [`NotEquivalent`].
    pub fn new(targets: Vec<Target>, different: bool) -> Result<Self, NotEquivalent> {
        let first = targets.first().ok_or(NotEquivalent::None)?;
        if targets.len() > TARGETS_MAX {
            return Err(NotEquivalent::TooMany { found: targets.len() });
        }
        let other = targets.iter().find(|target| !different && target.fingerprint != first.fingerprint);
        match other {
            Some(other) => Err(NotEquivalent::Different {
                second: Arc::clone(&other.key),
                vault: Arc::clone(&other.vault),
                found: Arc::clone(&other.fingerprint),
                expected: Arc::clone(&first.fingerprint),
            }),
            None => Ok(Self(targets.into())),
        }
    }

    /// All of them.
    pub fn targets(&self) -> &[Target] {
        &self.0
    }

    /// Those that a caller who expects this key may be served by; all if it expects none. Without them the set is `None`.
    pub fn pinned(&self, fingerprint: Option<&str>) -> Option<Self> {
        let Some(fingerprint) = fingerprint else { return Some(self.clone()) };
        let of_it = |target: &&Target| target.fingerprint.eq_ignore_ascii_case(fingerprint);
        let targets: Vec<_> = self.0.iter().filter(of_it).cloned().collect();
        (!targets.is_empty()).then(|| Self(targets.into()))
    }
}

/// How well a target would serve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Health {
    /// The share of its vault's calls that were answered, lately.
    pub success: f64,
    /// How long until the signature would be there: turn, budget and vault together.
    pub takes: Duration,
}

impl Health {
    /// Twice as fast is twice the weight. A vault that fails often is left quickly: half the success, a sixteenth.
    fn weight(&self) -> f64 {
        self.success.clamp(0.001, 1.0).powi(4) / self.takes.as_secs_f64().max(0.001)
    }
}

/// Chooses one by weight, by its place in the list; `random` is from 0 to below 1.
pub fn choose(healths: &[Health], random: f64) -> Option<usize> {
    let sum: f64 = healths.iter().map(Health::weight).sum();
    let mut left = random.clamp(0.0, 1.0) * sum;
    for (n, health) in healths.iter().enumerate() {
        left -= health.weight();
        if left < 0.0 {
            return Some(n);
        }
    }
    healths.len().checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(key: &str, fingerprint: &str) -> Target {
        Target {
            vault: Arc::from("v"),
            class: Arc::from("RSA"),
            key: Arc::from(key),
            cost: 1,
            fingerprint: Arc::from(fingerprint),
        }
    }

    #[test]
    fn different_keys_serve_under_one_name_only_if_the_operator_says_so() {
        let keys = vec![target("a", "01"), target("b", "02")];
        assert!(matches!(Equivalent::new(keys.clone(), false), Err(NotEquivalent::Different { .. })));
        let any = Equivalent::new(keys, true).unwrap();
        assert_eq!(any.targets().len(), 2);
        assert_eq!(any.pinned(Some("02")).unwrap().targets(), [target("b", "02")]);
        assert_eq!(any.pinned(Some("03")), None);
        assert_eq!(any.pinned(None), Some(any));
    }

    #[test]
    fn sets_are_bounded() {
        assert_eq!(Equivalent::new(Vec::new(), true), Err(NotEquivalent::None));
        let many = vec![target("a", "01"); TARGETS_MAX + 1];
        assert!(matches!(Equivalent::new(many, false), Err(NotEquivalent::TooMany { .. })));
    }

    #[test]
    fn the_faster_and_the_healthier_are_chosen_more_often() {
        let health = |success, milliseconds| Health { success, takes: Duration::from_millis(milliseconds) };
        let share = |healths: &[Health]| {
            (0..1000).filter(|n| choose(healths, f64::from(*n) / 1000.0) == Some(0)).count()
        };
        assert_eq!(share(&[health(1.0, 10), health(1.0, 10)]), 500);
        assert!((660..=670).contains(&share(&[health(1.0, 10), health(1.0, 20)])));
        assert!(share(&[health(1.0, 10), health(0.5, 10)]) > 930);
        assert_eq!(choose(&[], 0.5), None);
        assert_eq!(choose(&[health(0.0, 1)], 0.999), Some(0));
    }
}
