//! `WWW-Authenticate`: what a registry asks for (RFC 9110 section 11.6.1, RFC 6750 section 3).

use crate::limits::CHALLENGE_BYTES_MAX;

/// A challenge this crate can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password in each request.
    Basic,
    /// A token from a token service.
    Bearer {
        /// Address of the token service.
        realm: String,
        /// What the token is for; passed on as given.
        service: Option<String>,
        /// Scopes, separated by spaces; passed on as given.
        scope: Option<String>,
    },
}

/// Reads the challenges of one header value; schemes that are not known are left out.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    if header.len() > CHALLENGE_BYTES_MAX {
        return Vec::new();
    }
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = split_token(rest);
        if name.is_empty() {
            break;
        }
        rest = match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(value) => {
                let (value, after) = split_value(value.trim_start_matches([' ', '\t', '=']));
                if let Some((_, parameters)) = schemes.last_mut() {
                    parameters.push((name.to_ascii_lowercase(), value));
                }
                after
            }
            None => {
                schemes.push((name.to_ascii_lowercase(), Vec::new()));
                after
            }
        };
    }
    schemes.into_iter().filter_map(|(name, parameters)| challenge(&name, &parameters)).collect()
}

fn challenge(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let find = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            Some(Challenge::Bearer { realm: find("realm")?, service: find("service"), scope: find("scope") })
        }
        _ => None,
    }
}

fn split_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = split_token(text);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }
    }

    #[test]
    fn real_challenges_are_read() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#
            ),
            [bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:a/b:pull,push")
            )]
        );
        assert_eq!(parse(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(
            parse(r#"Negotiate, Basic realm="x, y", bearer realm=https://a/t , service = "s\"q""#),
            [Challenge::Basic, bearer("https://a/t", Some("s\"q"), None)]
        );
    }

    #[test]
    fn broken_challenges_end_without_a_challenge_and_without_a_loop() {
        for bad in [
            "",
            "Bearer",
            "Bearer realm",
            "Digest x=y",
            "\"",
            "Bearer service=\"x",
            "=\"\"",
            "Negotiate ab==",
        ] {
            assert_eq!(parse(bad), [], "{bad}");
        }
        assert_eq!(parse(&format!("Bearer realm=\"{}\"", "a".repeat(9000))), []);
    }
}
