//! The search for a token in one library or in many.

use std::fmt::Write as _;
use std::sync::Arc;

use prokura_plugin::Error;

use super::module::{Module, Present, Shown, configuration_hint};
use super::turn::Turn;
use crate::config::locator::Locator;
use crate::config::modules::ModuleSpec;
use crate::config::uri::{TokenFilter, text_attribute};
use crate::config::{MODULE_NAME, MODULE_PATH};
use crate::error::{Failure, Recovery, away};
use crate::key::description::Origin;
use crate::limits::LISTED_MAX;

/// What was found so far.
#[derive(Default)]
pub struct Search {
    candidates: Vec<Candidate>,
    /// Tokens that are there and not meant.
    others: Vec<Present>,
    /// What could not be looked at.
    notes: Vec<String>,
    hint: String,
    libraries: Vec<String>,
    /// Held until what is done with the token first is done.
    pub turns: Vec<Turn>,
}

/// A token that matches.
pub struct Candidate {
    /// The library that shows it.
    pub module: Arc<Module>,
    /// How the library was found.
    pub spec: ModuleSpec,
    /// The token in its slot.
    pub present: Present,
    /// Whether no other token of this library says the same of itself.
    pub is_unique: bool,
}

impl Candidate {
    /// How a key id leads to this token.
    pub fn origin(&self, locator: &Locator) -> Origin {
        let module = match &self.spec.name {
            Some(name) => (MODULE_NAME, name.clone()),
            None => (MODULE_PATH, self.spec.path.display().to_string()),
        };
        let slot_id = (!self.is_unique).then(|| self.present.slot.id());
        Origin { module, pin_source: locator.pin_source.clone(), slot_id }
    }
}

impl Search {
    /// Looks at the tokens of one library. If it shows none that is meant and `may_restart`, it is initialised anew and
    /// looked at once more: some libraries see new tokens, and HSMs that are back, only then.
    ///
    /// # Errors
    /// If a library that must answer does not.
    pub fn add(
        &mut self,
        module: &Arc<Module>,
        spec: &ModuleSpec,
        filter: &TokenFilter,
        may_restart: bool,
    ) -> Result<(), Failure> {
        let mut looked = look(module, filter);
        let epoch = module.enter().epoch();
        // A library that cannot even list its tokens serves nobody, whatever sessions are still counted.
        let is_lost = looked.as_ref().is_err_and(|failed| failed.recovery > Recovery::Wait);
        let must = looked.as_ref().is_err_and(|failed| failed.recovery == Recovery::Reinitialise);
        let in_vain = looked.as_ref().is_ok_and(|(matching, _)| matching.is_empty());
        if is_lost || (in_vain && may_restart) {
            looked = module.reinitialise(epoch, must).and_then(|()| look(module, filter));
        }
        let (matching, shown) = match looked {
            Ok(looked) => looked,
            Err(failed) if spec.is_needed || failed.recovery == Recovery::Restart => return Err(failed),
            Err(failed) => {
                self.pass_over(&failed.error);
                return Ok(());
            }
        };
        self.libraries.push(module.path().display().to_string());
        self.hint = configuration_hint(module.quirks());
        self.notes.extend(shown.unreadable);
        for (n, present) in shown.tokens.iter().enumerate() {
            if !matching.contains(&n) {
                self.others.push(present.clone());
                continue;
            }
            let same =
                shown.tokens.iter().filter(|other| other.info.identity == present.info.identity).count();
            let (module, spec, present) = (Arc::clone(module), spec.clone(), present.clone());
            self.candidates.push(Candidate { module, spec, present, is_unique: same == 1 });
        }
        Ok(())
    }

    /// Notes that a library could not be looked at.
    pub fn pass_over(&mut self, error: &Error) {
        self.notes.push(error.message.clone());
    }

    /// All tokens that match.
    pub fn matching(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter()
    }

    /// The one token that matches.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` listing the tokens there are, if none or several match; `ERROR` that may be retried if there
    /// is no token at all.
    pub fn one(&self, filter: &TokenFilter) -> Result<&Candidate, Error> {
        match self.candidates.as_slice() {
            [one] => Ok(one),
            [] => Err(self.none(filter)),
            several => {
                let present: Vec<&Present> = several.iter().map(|c| &c.present).collect();
                Err(Error::validation(format!(
                    "{} tokens match {}, expected one; tell them apart by serial or slot-id: {}",
                    several.len(),
                    described(filter),
                    listed(&present)
                )))
            }
        }
    }

    fn none(&self, filter: &TokenFilter) -> Error {
        let others: Vec<&Present> = self.others.iter().collect();
        let mut message =
            format!("no token matches {}; {} ", described(filter), self.libraries.join(" and "));
        let show = if self.libraries.len() == 1 { "shows" } else { "show" };
        if others.is_empty() {
            let _ = write!(
                message,
                "{show} no initialised token; is it connected? If it is an HSM that is not reachable, ask whoever operates \
                 it{}",
                self.hint
            );
        } else {
            let _ = write!(message, "{show} {}", listed(&others));
        }
        for line in self.notes.iter().take(LISTED_MAX) {
            let _ = write!(message, "; {line}");
        }
        if others.is_empty() {
            // Nothing says that the key id is wrong: an HSM that cannot be reached looks like this.
            return away(Error::internal(message));
        }
        Error::validation(message)
    }
}

/// The tokens a library shows, and which of them match.
fn look(module: &Module, filter: &TokenFilter) -> Result<(Vec<usize>, Shown), Failure> {
    let _in_use = module.enter();
    let shown = module.tokens()?;
    let mut matching = Vec::new();
    for (n, present) in shown.tokens.iter().enumerate() {
        if module.matches(present, filter)? {
            matching.push(n);
        }
    }
    Ok((matching, shown))
}

fn listed(tokens: &[&Present]) -> String {
    let mut lines: Vec<String> = tokens
        .iter()
        .take(LISTED_MAX)
        .map(|t| {
            let label = text_attribute("token", t.info.identity.label.as_bytes());
            let serial = text_attribute("serial", t.info.identity.serial.as_bytes());
            format!("pkcs11:{label};{serial} in slot {}", t.slot)
        })
        .collect();
    if tokens.len() > LISTED_MAX {
        lines.push(format!("{} more", tokens.len() - LISTED_MAX));
    }
    lines.join(", ")
}

/// The filter as a URI says it.
fn described(filter: &TokenFilter) -> String {
    let mut parts = Vec::new();
    let texts = [
        ("token", &filter.label),
        ("serial", &filter.serial),
        ("manufacturer", &filter.manufacturer),
        ("model", &filter.model),
        ("slot-manufacturer", &filter.slot_manufacturer),
        ("slot-description", &filter.slot_description),
        ("library-manufacturer", &filter.library_manufacturer),
        ("library-description", &filter.library_description),
    ];
    for (name, value) in texts {
        parts.extend(value.as_ref().map(|v| text_attribute(name, v.as_bytes())));
    }
    parts.extend(filter.slot_id.map(|id| format!("slot-id={id}")));
    parts.extend(filter.library_version.map(|(major, minor)| format!("library-version={major}.{minor}")));
    if parts.is_empty() {
        "the key id, which names no token".to_owned()
    } else {
        format!("pkcs11:{}", parts.join(";"))
    }
}
