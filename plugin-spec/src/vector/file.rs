//! The format of a vector file: header lines, one empty line, the body.

use std::collections::BTreeMap;

use super::{Direction, Expect, Stream, Transport, Vector};
use crate::key::KeySpec;

const NAMES: [&str; 9] =
    ["rule", "comment", "direction", "transport", "command", "expect", "key", "reply", "capability"];

pub(super) fn parse(name: &str, text: &str) -> Result<Vector, String> {
    let (header, body) = text.split_once("\n\n").ok_or("expected header lines, one empty line and a body")?;
    let header = Header::parse(header)?;
    let direction = match header.required("direction")? {
        "plugin" => Direction::Plugin,
        "host" => Direction::Host,
        other => return Err(format!("direction: {other:?}, expected plugin or host")),
    };
    let vector = Vector {
        name: name.to_owned(),
        rule: header.required("rule")?.to_owned(),
        comment: header.required("comment")?.to_owned(),
        direction,
        transport: match header.optional("transport") {
            None | Some("stdio") => Transport::Stdio,
            Some("grpc") => Transport::Grpc,
            Some(other) => return Err(format!("transport: {other:?}, expected stdio or grpc")),
        },
        command: header.required("command")?.to_owned(),
        expect: expect(header.required("expect")?)?,
        key_spec: header.optional("key").map(key_spec).transpose()?,
        reply: match header.optional("reply") {
            None | Some("stdout") => Stream::Stdout,
            Some("stderr") => Stream::Stderr,
            Some(other) => return Err(format!("reply: {other:?}, expected stdout or stderr")),
        },
        capability: header.optional("capability").map(str::to_owned),
        body: body.to_owned(),
    };
    match (direction, &vector.expect) {
        (Direction::Plugin, Expect::Refused(_)) => {
            Err("expect: a plugin answers with an error code, only hosts refuse by rule".to_owned())
        }
        (Direction::Plugin, _) if header.optional("reply").is_some() => {
            Err("reply: only vectors towards a host have one".to_owned())
        }
        _ => Ok(vector),
    }
}

fn expect(text: &str) -> Result<Expect, String> {
    match text.split_once(' ') {
        None if text == "success" => Ok(Expect::Success),
        Some(("error", code)) => {
            code.parse().map(Expect::Error).map_err(|e| format!("expect: {code:?}: {e}"))
        }
        Some(("refused", rule)) => Ok(Expect::Refused(rule.to_owned())),
        _ => Err(format!("expect: {text:?}, expected success, error CODE or refused RULE")),
    }
}

/// `ec-256` in a file name's spelling is `EC-256` on the wire.
fn key_spec(text: &str) -> Result<KeySpec, String> {
    text.to_ascii_uppercase().parse().map_err(|e| format!("key: {e}"))
}

struct Header<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Header<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut lines = BTreeMap::new();
        for line in text.lines() {
            let (name, value) =
                line.split_once(": ").ok_or_else(|| format!("{line:?}, expected a line \"name: value\""))?;
            if !NAMES.contains(&name) {
                return Err(format!("{name:?} is no header line, expected one of {}", NAMES.join(", ")));
            }
            if lines.insert(name, value.trim()).is_some() {
                return Err(format!("{name} occurs twice"));
            }
        }
        Ok(Self(lines))
    }

    fn optional(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }

    fn required(&self, name: &str) -> Result<&'a str, String> {
        self.optional(name).filter(|v| !v.is_empty()).ok_or_else(|| format!("{name} is missing or empty"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    const GOOD: &str = "rule: REQ-7\ncomment: c\ndirection: plugin\ncommand: describe-key\nexpect: error ERROR\nkey: ec-256\n\n{\n\n}\n";

    #[test]
    fn a_vector_is_header_and_body() {
        let vector = parse("n", GOOD).unwrap();
        assert_eq!((vector.rule.as_str(), vector.body.as_str()), ("REQ-7", "{\n\n}\n"));
        assert_eq!(vector.expect, Expect::Error(ErrorCode::Error));
        assert!(vector.applies_to(KeySpec::Ec256) && !vector.applies_to(KeySpec::Ec384));
        assert_eq!((vector.transport, vector.reply), (Transport::Stdio, Stream::Stdout));
    }

    #[test]
    fn what_is_no_vector_is_told() {
        for (found, replaced, words) in [
            ("rule: REQ-7\n", "", "rule is missing"),
            ("comment: c", "remark: c", "is no header line"),
            ("comment: c", "rule: c", "occurs twice"),
            ("comment: c", "comment", "expected a line"),
            ("error ERROR", "error OOPS", "OOPS"),
            ("error ERROR", "refused SIG-1", "only hosts refuse"),
            ("ec-256", "ec-255", "key spec"),
            ("key: ec-256", "reply: stderr", "only vectors towards a host"),
            ("\n\n{\n\n}\n", "\n", "one empty line"),
        ] {
            let error = parse("n", &GOOD.replace(found, replaced)).unwrap_err();
            assert!(error.contains(words), "{replaced:?}: {error}");
        }
    }
}
