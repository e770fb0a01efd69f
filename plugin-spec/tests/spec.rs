//! SPEC.md against the constants and the vectors: its tables are right, its rules are numbered, each is tested.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prokura_plugin::message::capability;
use prokura_plugin::{ErrorCode, KeySpec, limits};

fn spec() -> String {
    read("SPEC.md")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// Cells of the table rows that follow the first line with `heading` in it; code marks removed.
fn table(spec: &str, heading: &str) -> Vec<Vec<String>> {
    let start = spec.lines().position(|line| line.starts_with(heading)).expect(heading);
    let rows = spec.lines().skip(start + 1);
    rows.skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

#[test]
fn the_table_of_key_specs_is_that_of_the_code() {
    let found: Vec<Vec<String>> =
        table(&spec(), "### 6.1").into_iter().map(|row| [&row[..1], &row[2..]].concat()).collect();
    let expected: Vec<Vec<String>> = KeySpec::ALL
        .iter()
        .map(|spec| {
            vec![
                spec.to_string(),
                spec.hash_algorithm().to_string(),
                spec.hash_algorithm().digest_len().to_string(),
                spec.signing_algorithm().to_string(),
                spec.signature_len().to_string(),
            ]
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_table_of_error_codes_is_that_of_the_code() {
    let found: Vec<(String, String)> =
        table(&spec(), "## 8").into_iter().map(|row| (row[0].clone(), row[3].clone())).collect();
    let retry = |code: ErrorCode| if code.may_retry() { "yes" } else { "no" };
    let expected: Vec<(String, String)> =
        ErrorCode::ALL.iter().map(|c| (c.to_string(), retry(*c).to_owned())).collect();
    assert_eq!(found, expected);
}

#[cfg(feature = "grpc")]
#[test]
fn the_table_of_grpc_statuses_is_that_of_the_code() {
    use prokura_plugin::grpc::status_code;
    for row in table(&spec(), "## 8") {
        let code: ErrorCode = row[0].parse().unwrap();
        // InvalidArgument in the code is INVALID_ARGUMENT on paper.
        let on_paper: String = format!("{:?}", status_code(code))
            .char_indices()
            .flat_map(|(n, c)| (n > 0 && c.is_uppercase()).then_some('_').into_iter().chain([c]))
            .collect();
        assert_eq!(row[2], on_paper.to_uppercase(), "{code}");
    }
    assert!(spec().contains(prokura_plugin::grpc::READY_LINE.trim_end()));
}

#[test]
fn the_table_of_capabilities_is_that_of_the_code() {
    let found: BTreeSet<String> = table(&spec(), "### 5.1").into_iter().map(|row| row[0].clone()).collect();
    let expected = [
        capability::SIGNATURE_GENERATOR_RAW,
        capability::SIGNATURE_GENERATOR_ENVELOPE,
        capability::SIGNATURE_VERIFIER_TRUSTED_IDENTITY,
        capability::SIGNATURE_VERIFIER_REVOCATION_CHECK,
        capability::TRANSPORT_GRPC_1,
        capability::SIGN_STREAM_1,
        capability::TO_BE_SIGNED_1,
        capability::INTERACTION_1,
        capability::KEY_LIST_1,
        capability::KEY_CREATE_1,
        capability::CERTIFICATE_INSTALL_1,
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}

#[test]
fn the_table_of_limits_is_that_of_the_code() {
    let found: BTreeMap<String, u64> =
        table(&spec(), "## 9").into_iter().map(|row| (row[2].clone(), row[1].parse().unwrap())).collect();
    macro_rules! constants {
        ($($name:ident)*) => { BTreeMap::from([$((stringify!($name).to_owned(), limits::$name as u64)),*]) };
    }
    let expected = constants! {
        OUTPUT_BYTES_MAX REQUEST_BYTES_MAX GRPC_MESSAGE_BYTES_MAX GRPC_STREAMS_MAX GRPC_DETAILS_BYTES_MAX
        DRAIN_SECONDS_MAX KEY_ID_BYTES_MAX PLUGIN_NAME_BYTES_MAX PLUGIN_CONFIG_ENTRIES_MAX
        PLUGIN_CONFIG_VALUE_BYTES_MAX CERTIFICATES_MAX CERTIFICATE_BYTES_MAX BUNDLE_CERTIFICATES_MAX
        BUNDLE_BYTES_MAX ERROR_MESSAGE_BYTES_MAX OPEN_KEYS_MAX SIGNATURES_IN_FLIGHT_MAX
        PROMPT_BYTES_MAX QUESTIONS_OPEN_MAX LISTED_KEYS_MAX KEY_ATTRIBUTES_MAX KEY_DETAIL_BYTES_MAX
        STREAM_REQUESTS_OPEN_MAX
    };
    assert_eq!(found, expected);
    let declared = read("src/limits.rs").lines().filter(|line| line.starts_with("pub const ")).count();
    assert_eq!(declared, expected.len(), "a constant of limits.rs is missing in the table");
}

#[test]
fn every_must_has_an_id_and_every_id_is_unique() {
    let spec = spec();
    let mut ids = BTreeSet::new();
    for paragraph in paragraphs(&spec) {
        let label = paragraph.strip_prefix("- **").and_then(|rest| rest.split_once("** ")).map(|(id, _)| id);
        match label.filter(|id| is_id(id)) {
            Some(id) => assert!(ids.insert(id.to_owned()), "{id} occurs twice"),
            None => {
                let about_musts =
                    paragraph.starts_with("MUST, MUST NOT") || paragraph.contains("(**HOST-1**)");
                assert!(about_musts || !paragraph.contains("MUST"), "a MUST without an id: {paragraph}");
            }
        }
    }
    assert!(ids.len() > 80, "only {} rules found", ids.len());
}

#[test]
fn every_rule_has_a_vector_or_a_reason() {
    let spec = spec();
    let rules = rules(&spec);
    let excused: BTreeSet<String> = table(&spec, "## 13").into_iter().map(|row| row[0].clone()).collect();
    let vectors: BTreeSet<String> = vector_headers("rule");
    let neither: Vec<&String> =
        rules.iter().filter(|r| !vectors.contains(*r) && !excused.contains(*r)).collect();
    assert!(neither.is_empty(), "neither vector nor reason: {neither:?}");
    let both: Vec<&String> = excused.intersection(&vectors).collect();
    assert!(both.is_empty(), "a reason although there is a vector: {both:?}");
    let unknown: Vec<&String> = excused.union(&vectors).filter(|r| !rules.contains(*r)).collect();
    assert!(unknown.is_empty(), "no such rule: {unknown:?}");
}

#[test]
fn rules_that_vectors_expect_to_be_named_exist() {
    let spec = spec();
    let mut known = rules(&spec);
    known.extend(table(&spec, "Certificate rules").into_iter().map(|row| row[0].clone()));
    for expect in vector_headers("expect") {
        if let Some(rule) = expect.strip_prefix("refused ") {
            assert!(known.contains(rule), "{rule}");
        }
    }
}

#[test]
fn rules_cited_in_the_source_exist() {
    let known = rules(&spec());
    for (file, text) in sources() {
        for (before, rest) in text.match_indices("SPEC ").map(|(n, _)| text.split_at(n + 5)) {
            let id: String = rest
                .chars()
                .take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '-')
                .collect();
            assert!(!is_id(&id) || known.contains(&id), "{file}: {id} ({} bytes in)", before.len());
        }
    }
}

#[test]
fn contents_lead_to_sections() {
    let spec = spec();
    let sections = spec.lines().filter_map(|l| l.strip_prefix("## "));
    for section in sections {
        let anchor = section.to_lowercase().replace(' ', "-");
        assert!(spec.contains(&format!("- [{section}](#{anchor})")), "{section}");
    }
}

/// Ids of all rules that the text states; HOST-1 stands in a sentence of its own.
fn rules(spec: &str) -> BTreeSet<String> {
    let mut rules: BTreeSet<String> = paragraphs(spec)
        .iter()
        .filter_map(|p| Some(p.strip_prefix("- **")?.split_once("** ")?.0.to_owned()))
        .filter(|id| is_id(id))
        .collect();
    rules.insert("HOST-1".to_owned());
    rules
}

/// List items and paragraphs, each as one line; code blocks and tables left out.
fn paragraphs(spec: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    let mut is_code = false;
    for line in spec.lines() {
        is_code ^= line.starts_with("```");
        let starts_anew = line.is_empty() || line.starts_with("- ") || line.starts_with('#');
        if starts_anew {
            paragraphs.push(String::new());
        }
        if !is_code && !line.starts_with('|') && !line.starts_with("```") {
            let paragraph = paragraphs.last_mut().unwrap();
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(line.trim_start());
        }
    }
    paragraphs
}

fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(area, number)| {
        !area.is_empty()
            && area.bytes().all(|b| b.is_ascii_uppercase())
            && number.parse::<u32>().is_ok_and(|n| n > 0)
    })
}

fn vector_headers(name: &str) -> BTreeSet<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    files
        .filter(|f| f.extension().is_some_and(|e| e == "txt"))
        .map(|f| std::fs::read_to_string(f).unwrap())
        .map(|text| {
            let header = text.split("\n\n").next().unwrap().to_owned();
            let line = header.lines().find_map(|l| l.strip_prefix(&format!("{name}: ")).map(str::to_owned));
            line.unwrap()
        })
        .collect()
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}
