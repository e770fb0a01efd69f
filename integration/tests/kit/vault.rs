//! The kit must notice what a vault does wrong: streams, lists of keys, new keys, certificates, questions.

use std::sync::Arc;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use prokura_integration::kit::{Outcome, check_plugin};
use prokura_integration::rogue::{Break, VaultBreak};
use prokura_integration::suite::trial;
use prokura_integration::world::World;
use prokura_plugin::vector::{Transport, Vector};

use super::rogue;

/// Each switch with the one rule it breaks, and words of what the kit says.
const CASES: [(VaultBreak, &str, &str); 13] = [
    (VaultBreak::Nothing, "", ""),
    (VaultBreak::ListsOthers, "LIST-1", "is not among the 0"),
    (VaultBreak::ListsWrongId, "LIST-1", "names another key"),
    (VaultBreak::ListsTwice, "LIST-1", "2 keys are listed under 1 ids"),
    (VaultBreak::ListsNoId, "LIST-1", "keyId is empty"),
    (VaultBreak::ListsUnannounced, "VER-1", "KEY_LIST.1 is not announced"),
    (VaultBreak::MakesAnything, "CREATE-4", "was made"),
    (VaultBreak::InstallsAnything, "INSTALL-1", "it was installed"),
    (VaultBreak::StreamForgets, "STREAM-1", "(7, 7) of 8"),
    (VaultBreak::StreamRepeats, "STREAM-1", "(9, 8) of 8"),
    (VaultBreak::StreamRefusesOtherwise, "STREAM-1", "a digest of one byte: ERROR"),
    (VaultBreak::StreamMixesUp, "STREAM-1", "does not verify"),
    (VaultBreak::AsksTwo, "ASK-2", "both were opened"),
];

pub(crate) fn trials(world: &Arc<World>, vectors: &Arc<Vec<Vector>>) -> Vec<Trial> {
    let one = |(switch, rule, words): (VaultBreak, &'static str, &'static str)| {
        let (world, vectors) = (Arc::clone(world), Arc::clone(vectors));
        trial(format!("the_kit_notices::vault::{switch:?}").to_lowercase(), move || {
            notices(&world, &vectors, switch, rule, words)
        })
    };
    let talks = (VaultBreak::StreamTalks, "STREAM-1 STREAM-2", "1 answers to no request");
    CASES.into_iter().chain([talks]).map(one).collect()
}

/// The calls of a vault that break a rule are those of the switch and no others.
fn notices(world: &World, vectors: &[Vector], switch: VaultBreak, rule: &str, words: &str) -> Result<()> {
    let mut subject = rogue(world, Break::Nothing, Transport::Grpc)?;
    subject.config.0.insert("vault".to_owned(), switch.name());
    let verdicts = check_plugin(&subject, vectors, Transport::Grpc)?;
    let calls = verdicts.iter().filter(|verdict| verdict.vector.starts_with("call-"));
    let broken: Vec<_> = calls.filter(|verdict| matches!(verdict.outcome, Outcome::Broken(_))).collect();
    let rules: Vec<&str> = broken.iter().map(|verdict| verdict.rule.as_str()).collect();
    let said: Vec<String> = broken.iter().map(ToString::to_string).collect();
    ensure!(rules.join(" ") == rule, "expected {rule:?}, found {said:#?}");
    ensure!(said.join(" ").contains(words), "{words:?} is not said: {said:#?}");
    Ok(())
}
