//! OUTPUT.md against what is written.

use crate::home::{Home, POLICY};

#[test]
fn the_documented_json_is_what_is_written() {
    let home = Home::new();
    home.plugin("plug");
    home.layout();
    home.trust(POLICY);
    std::fs::write(home.path().join("p.json"), POLICY).unwrap();
    let documented = include_str!("../../OUTPUT.md");
    for (title, arguments) in [
        ("version", &["version"][..]),
        ("key add", &["key", "add", "--plugin", "plug", "--id", "i", "k"]),
        ("key update", &["key", "update", "--default", "k"]),
        ("key list", &["key", "list"]),
        ("key delete", &["key", "delete", "k"]),
        ("cert generate-test", &["cert", "generate-test", "--key-spec", "EC-256", "t"]),
        ("cert list", &["cert", "list"]),
        ("cert show", &["cert", "show", "-t", "ca", "-s", "t", "t.crt"]),
        ("cert add", &["cert", "add", "-t", "ca", "-s", "u", "notation/localkeys/t.crt"]),
        ("cert delete", &["cert", "delete", "-y", "-t", "ca", "-s", "u", "t.crt"]),
        ("cert cleanup-test", &["cert", "cleanup-test", "-y", "t"]),
        ("policy show", &["policy", "show"]),
        ("policy import", &["policy", "import", "--force", "p.json"]),
        ("plugin list", &["plugin", "list"]),
        ("list", &["list", "--oci-layout", "layout:v1"]),
        ("inspect", &["inspect", "--oci-layout", "layout:v1"]),
        ("quickstart pack", &["quickstart", "pack", "--layout", "layout:v1", "file.txt"]),
        ("logout", &["logout", "r.example"]),
    ] {
        let json = home.json(arguments);
        let mut written: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut listed = members(documented, title);
        // The order of members means nothing, and depends on what else is built (serde_json, preserve_order).
        written.sort_unstable();
        listed.sort_unstable();
        assert_eq!(written, listed, "{title}");
    }
}

/// The members that OUTPUT.md lists for a command and that are always there (no `?`), from a row
/// `` | `command` | `{member, member?, ...}` | ``.
fn members<'a>(document: &'a str, command: &str) -> Vec<&'a str> {
    let row = document.lines().find(|line| line.starts_with(&format!("| `{command}` |")));
    let row = row.unwrap_or_else(|| panic!("OUTPUT.md has no row for {command}"));
    let shape = row.split('|').nth(2).unwrap().trim().trim_matches('`');
    let inner = shape.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(inner[start..at].split(':').next().unwrap().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|member| !member.ends_with('?'));
    found
}
