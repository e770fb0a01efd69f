//! `[oidc.NAME]`: an issuer of tokens by which callers may be known.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::table::{Problem, Table};
use crate::identity::{Algorithm, IssuerConfig};
use crate::limits::TOKEN_LIFETIME_MAX;

const LIFETIME_DEFAULT_S: u64 = 3600;

pub(super) fn read_all(entries: toml::Table, base: &Path, problems: &mut Vec<Problem>) -> Vec<IssuerConfig> {
    entries.into_iter().filter_map(|(name, value)| read(&name, value, base, problems)).collect()
}

fn read(name: &str, value: toml::Value, base: &Path, problems: &mut Vec<Problem>) -> Option<IssuerConfig> {
    let place = format!("oidc.{name}");
    let toml::Value::Table(entries) = value else {
        let message = format!("is no table, expected [{place}] with issuer and audiences; correct it");
        problems.push(Problem { place, message });
        return None;
    };
    let mut table = Table::new(&place, entries, base, problems);
    let issuer = table.text("issuer");
    let issuer = table.required("issuer", issuer, "the URL that tokens have as iss");
    let audiences = table.texts("audiences");
    if audiences.is_empty() {
        table.problem("audiences", "is empty, expected what tokens for this broker have as aud; add it");
    }
    let algorithms = algorithms(&mut table);
    let longest = TOKEN_LIFETIME_MAX.as_secs();
    let lifetime = table.number("token_lifetime_max_s", 1..=longest, LIFETIME_DEFAULT_S);
    let required = table.inner("required_claims").unwrap_or_default();
    table.end();
    let required_claims = required_claims(&place, required, base, problems);
    let mut config = IssuerConfig::new(&issuer?, "");
    config.audiences = audiences;
    if !algorithms.is_empty() {
        config.algorithms = algorithms;
    }
    config.lifetime_max = Duration::from_secs(lifetime);
    config.required_claims = required_claims;
    config.check().map_err(|error| problems.push(Problem { place, message: error.to_string() })).ok()?;
    Some(config)
}

fn algorithms(table: &mut Table<'_>) -> Vec<Algorithm> {
    let mut algorithms = Vec::new();
    for text in table.texts("algorithms") {
        match Algorithm::parse(&text) {
            Some(algorithm) => algorithms.push(algorithm),
            None => table.problem(
                "algorithms",
                "names an algorithm that is not allowed, expected such as RS256 or ES256",
            ),
        }
    }
    algorithms
}

fn required_claims(
    place: &str,
    entries: toml::Table,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Vec<String>> {
    let place = format!("{place}.required_claims");
    let mut claims = BTreeMap::new();
    for (name, value) in entries {
        let mut one =
            Table::new(&place, toml::Table::from_iter([("values".to_owned(), value)]), base, problems);
        claims.insert(name, one.texts("values"));
    }
    claims
}
