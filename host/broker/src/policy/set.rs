//! Policies at load: parsed, named, checked against the schema; all or none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Entities, Policy, PolicyId, Schema, ValidationMode, Validator};
use jiff::tz::Offset;
use prokura_plugin::{Digest, HashAlgorithm};

use super::entities::Names;
use super::facts::Act;
use super::origin::{self, Origin};
use super::problem::{LoadError, Problem, position};
use super::scope::Scope;
use super::slice::Slice;
use crate::limits::{
    POLICIES_MAX, POLICY_BYTES_MAX, POLICY_DEPTH_MAX, POLICY_FILE_BYTES_MAX, POLICY_FILES_MAX,
    POLICY_NAME_BYTES_MAX, POLICY_OPERATORS_MAX,
};

/// One file of policies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyText {
    /// Its name, as problems and denials give it.
    pub file: String,
    /// What it holds.
    pub text: String,
}

/// Policies that passed the check.
#[derive(Debug)]
pub struct PolicySet {
    pub(super) schema: Schema,
    pub(super) entity_names: Names,
    pub(super) offset: Offset,
    /// By name.
    pub(super) policies: BTreeMap<String, (Origin, Scope)>,
    /// Those that may matter, by action.
    pub(super) slices: BTreeMap<Act, Slice>,
    warnings: Vec<Problem>,
    hash: [u8; 32],
}

/// A policy with its place.
struct Named {
    policy: Policy,
    origin: Origin,
}

impl PolicySet {
    /// Parses and checks policies. `offset` is that of the operator's clock, for `context.time.local`.
    ///
    /// A policy is named by its annotation `@id("name")`, or else by its file and its place there, `file#1`.
    ///
    /// # Errors
    /// [`LoadError`] with all problems found, unless there is none.
    pub fn load(texts: &[PolicyText], offset: Offset) -> Result<Self, LoadError> {
        let refuse = |problem| Err(LoadError::new(vec![problem]));
        let (schema, entity_names) = match schema() {
            Ok(schema) => schema,
            Err(e) => return refuse(Problem::of_file("prokura.cedarschema", e)),
        };
        check_sizes(texts).map_err(LoadError::new)?;
        let named = parse_all(texts).map_err(LoadError::new)?;
        if named.len() > POLICIES_MAX {
            let found = named.len();
            return refuse(Problem::of_file(
                "",
                format!("{found} policies, at most {POLICIES_MAX} are loaded"),
            ));
        }
        let warnings = check_all(&named, texts, &schema).map_err(LoadError::new)?;
        let slices = slices(&named, &schema, &entity_names)
            .map_err(|e| LoadError::new(vec![Problem::of_file("", e)]))?;
        let by_name = |named: Named| {
            let scope = Scope::of(&named.policy);
            (name_of(&named.policy), (named.origin, scope))
        };
        let policies = named.into_iter().map(by_name).collect();
        Ok(Self { schema, entity_names, offset, policies, slices, warnings, hash: hash(texts, offset) })
    }

    /// SHA-256 over schema, file names, texts and offset: sets with one hash decide alike.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there is none, so that everything is denied.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Names of all policies, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.keys().map(String::as_str)
    }

    /// What is legal but hardly meant, such as a condition that can never hold.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Keys and groups that policies name and the operator has not made: those policies never hold.
    pub fn unknown_keys(&self, keys: &BTreeSet<String>, groups: &BTreeSet<String>) -> Vec<Problem> {
        let (group_type, key_type) = self.entity_names.groups_and_keys();
        let mut problems = BTreeSet::new();
        for policy in self.slices.values().flat_map(Slice::policies) {
            for uid in policy.entity_literals() {
                let (what, known) = match uid.type_name() {
                    name if name == key_type => ("key", keys),
                    name if name == group_type => ("group of keys", groups),
                    _ => continue,
                };
                let id = uid.id().unescaped();
                if known.contains(id) {
                    continue;
                }
                let near =
                    nearest_name(id, known).map_or_else(String::new, |near| format!(", perhaps {near:?}"));
                let message = format!("there is no {what} {id:?}{near}");
                let origin = self.origin(&name_of(policy));
                problems.extend(origin.map(|o| Problem {
                    file: o.file.clone(),
                    line: o.line,
                    column: 0,
                    message,
                }));
            }
        }
        problems.into_iter().collect()
    }

    pub(super) fn origin(&self, name: &str) -> Option<&Origin> {
        self.policies.get(name).map(|(origin, _)| origin)
    }
}

/// Parsed once: it is part of the program.
static PARSED_SCHEMA: LazyLock<Result<Schema, String>> = LazyLock::new(|| {
    let parsed = Schema::from_cedarschema_str(super::SCHEMA);
    parsed.map(|(schema, _)| schema).map_err(|e| e.to_string())
});

fn schema() -> Result<(Schema, Names), String> {
    let schema = PARSED_SCHEMA.clone()?;
    let names = Names::parse(&schema)?;
    Ok((schema, names))
}

fn check_sizes(texts: &[PolicyText]) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    if texts.len() > POLICY_FILES_MAX {
        let message = format!("{} files of policies, at most {POLICY_FILES_MAX} are loaded", texts.len());
        problems.push(Problem::of_file("", message));
    }
    let all: usize = texts.iter().map(|text| text.text.len()).sum();
    if all > POLICY_BYTES_MAX {
        let message = format!("{all} bytes of policies, at most {POLICY_BYTES_MAX} are loaded");
        problems.push(Problem::of_file("", message));
    }
    let mut files = BTreeSet::new();
    for PolicyText { file, text } in texts {
        if !files.insert(file) {
            problems.push(Problem::of_file(file, "is given twice"));
        }
        let (depth, at) = origin::depth(text);
        let (operators, there) = origin::operators(text);
        let problem = if text.len() > POLICY_FILE_BYTES_MAX {
            Problem::of_file(
                file,
                format!("{} bytes, at most {POLICY_FILE_BYTES_MAX} are loaded", text.len()),
            )
        } else if depth > POLICY_DEPTH_MAX {
            let message = format!("brackets and ifs nest deeper than {POLICY_DEPTH_MAX} levels");
            Problem::at(file, text, at, message)
        } else if operators > POLICY_OPERATORS_MAX {
            let message =
                format!("more than {POLICY_OPERATORS_MAX} operators in one policy; make it several");
            Problem::at(file, text, there, message)
        } else {
            continue;
        };
        problems.push(problem);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// All policies of all files under their names.
fn parse_all(texts: &[PolicyText]) -> Result<Vec<Named>, Vec<Problem>> {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for text in texts {
        match parse(text) {
            Ok(named) => all.extend(named),
            Err(found) => problems.extend(found),
        }
    }
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    for Named { policy, origin } in &all {
        let (name, place) = (name_of(policy), format!("{}:{}", origin.file, origin.line));
        let message = match places.get(&name) {
            Some(earlier) => format!("policy {name:?} stands at {earlier} already; give it another @id"),
            None if !(1..=POLICY_NAME_BYTES_MAX).contains(&name.len())
                || name.chars().any(char::is_control) =>
            {
                format!(
                    "@id {name:?}, expected 1 to {POLICY_NAME_BYTES_MAX} bytes without control characters"
                )
            }
            None => {
                places.insert(name, place);
                continue;
            }
        };
        problems.push(Problem { file: origin.file.clone(), line: origin.line, column: 0, message });
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

fn parse(PolicyText { file, text }: &PolicyText) -> Result<Vec<Named>, Vec<Problem>> {
    let parsed: cedar_policy::PolicySet =
        text.parse().map_err(|e| Problem::of_cedar(file, text, 0, &DetailedError::from(&e)))?;
    if let Some(template) = parsed.templates().next() {
        let offset = text.find(template.to_string().as_str()).or_else(|| text.find('?')).unwrap_or(0);
        let message = "a template (?principal, ?resource), expected policies only";
        return Err(vec![Problem::at(file, text, offset, message)]);
    }
    // Cedar numbers the policies of one text: policy0, policy1...
    let number =
        |policy: &Policy| policy.id().to_string().trim_start_matches("policy").parse().unwrap_or(usize::MAX);
    let mut policies: Vec<&Policy> = parsed.policies().collect();
    policies.sort_by_key(|policy| number(policy));
    let (mut named, mut from) = (Vec::new(), 0);
    for (at, policy) in policies.into_iter().enumerate() {
        let written = policy.to_cedar().unwrap_or_default();
        let offset = text.get(from..).and_then(|rest| rest.find(&written)).map_or(from, |found| from + found);
        from = offset + written.len();
        let line = position(text, offset).0;
        let name = policy.annotation("id").map_or_else(|| format!("{file}#{}", at + 1), str::to_owned);
        let origin = Origin { file: file.clone(), offset, line, text: written };
        named.push(Named { policy: policy.new_id(PolicyId::new(name)), origin });
    }
    Ok(named)
}

/// Errors of the strict check, or its warnings.
fn check_all(named: &[Named], texts: &[PolicyText], schema: &Schema) -> Result<Vec<Problem>, Vec<Problem>> {
    let problem = |e: String| vec![Problem::of_file("", e)];
    let set = cedar_policy::PolicySet::from_policies(named.iter().map(|n| n.policy.clone()));
    let set = set.map_err(|e| problem(e.to_string()))?;
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let origins: BTreeMap<&PolicyId, &Origin> = named.iter().map(|n| (n.policy.id(), &n.origin)).collect();
    let place = |id: &PolicyId, error: DetailedError| {
        let Some(origin) = origins.get(id) else { return problem(error.message) };
        let text = texts.iter().find(|text| text.file == origin.file).map_or("", |text| text.text.as_str());
        Problem::of_cedar(&origin.file, text, origin.offset, &error)
    };
    let errors: Vec<Problem> =
        result.validation_errors().flat_map(|e| place(e.policy_id(), DetailedError::from(e))).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(result.validation_warnings().flat_map(|w| place(w.policy_id(), DetailedError::from(w))).collect())
}

fn slices(named: &[Named], schema: &Schema, names: &Names) -> Result<BTreeMap<Act, Slice>, String> {
    let actions: Entities = schema.action_entities().map_err(|e| e.to_string())?;
    let slice = |act: Act| {
        let meant = named.iter().filter(|n| Scope::of(&n.policy).has_action(&names.act(act), &actions));
        Slice::new(meant.map(|n| n.policy.clone()).collect())
    };
    Ok(Act::ALL.into_iter().map(|act| (act, slice(act))).collect())
}

pub(super) fn name_of(policy: &Policy) -> String {
    AsRef::<str>::as_ref(policy.id()).to_owned()
}

/// Lengths before contents, so that no two sets give the same bytes.
fn hash(texts: &[PolicyText], offset: Offset) -> [u8; 32] {
    let mut sorted: Vec<&PolicyText> = texts.iter().collect();
    sorted.sort();
    let offset = offset.seconds().to_string();
    let fields = [super::SCHEMA, &offset].into_iter();
    let fields = fields.chain(sorted.iter().flat_map(|text| [text.file.as_str(), text.text.as_str()]));
    let bytes: Vec<u8> =
        fields.flat_map(|f| [&(f.len() as u64).to_be_bytes(), f.as_bytes()].concat()).collect();
    let mut hash = [0; 32];
    hash.copy_from_slice(Digest::of(HashAlgorithm::Sha256, &bytes).bytes());
    hash
}

/// The known name with the fewest edits to `name`, if they are few.
fn nearest_name<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    let distance = |other: &str| edits(name, other);
    let near = known.iter().map(|other| (distance(other), other.as_str())).min();
    near.filter(|(edits, other)| *edits * 3 <= other.len()).map(|(_, other)| other)
}

/// Levenshtein distance in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.bytes().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
