//! `key`: the key list.

use serde_json::Value;

use crate::home::{Home, stderr};

#[test]
fn the_key_list_is_kept_as_notation_keeps_it() {
    let home = Home::new();
    assert_eq!(home.ok(&["key", "ls"]), "NAME   KEY PATH   CERTIFICATE PATH   ID   PLUGIN NAME   \n");
    home.plugin("plug");
    assert_eq!(home.ok(&["key", "add", "--plugin", "plug", "--id", "../k/1", "one"]), "one\n");
    assert_eq!(
        home.ok(&[
            "key",
            "add",
            "--plugin",
            "plug",
            "--id",
            "k2",
            "--plugin-config",
            "a=b=c",
            "--plugin-config",
            "client_secret=canary-917352",
            "--default",
            "two"
        ]),
        "two: marked as default\n"
    );
    let expected = "\
NAME    KEY PATH   CERTIFICATE PATH   ID       PLUGIN NAME   \n\
one                                   ../k/1   plug          \n\
* two                                 k2       plug          \n";
    assert_eq!(home.ok(&["key", "list"]), expected);
    let json = home.json(&["key", "list"]);
    assert_eq!(json["default"], "two");
    assert_eq!(json["keys"][1]["pluginConfigNames"], serde_json::json!(["a", "client_secret"]));
    let config = serde_json::json!({"a": "b=c", "client_secret": "***"});
    assert_eq!(json["keys"][1]["pluginConfig"], config);
    assert!(json["keys"][0].get("pluginConfig").is_none() && !json.to_string().contains("917352"), "{json}");
    let file: Value =
        serde_json::from_slice(&std::fs::read(home.config("signingkeys.json")).unwrap()).unwrap();
    assert_eq!(file["keys"][1]["pluginConfig"]["a"], "b=c");

    assert_eq!(home.ok(&["key", "set", "--default", "one"]), "one: marked as default\n");
    let output = home.run(&["key", "update", "one"]);
    assert!(output.status.success() && stderr(&output).contains("--default flag is not set"));
    let error = home.fails(2, &["key", "add", "--plugin", "plug", "--id", "x", "one"]);
    assert!(error.contains("signing key with name \"one\" already exists"), "{error}");
    assert!(home.fails(2, &["key", "delete", "two", "none"]).contains("signing key none not found"));
    assert_eq!(home.json(&["key", "list"])["keys"].as_array().unwrap().len(), 2, "a failed delete deleted");
    assert_eq!(
        home.ok(&["key", "delete", "one"]),
        "Removed default key one from Notation signing key list. The source key still exists.\n"
    );
    assert_eq!(home.json(&["key", "delete", "two"])["deleted"][0]["name"], "two");
}

#[test]
fn key_add_refuses_what_is_missing() {
    let home = Home::new();
    assert!(home.fails(2, &["key", "add", "--id", "i", "n"]).contains("--plugin"));
    home.plugin("plug");
    assert!(home.fails(2, &["key", "add", "--plugin", "plug", "n"]).contains("missing key id"));
    assert!(
        home.fails(2, &["key", "add", "--plugin", "plug", "--id", "i"])
            .contains("either missing key name or unnecessary parameters passed")
    );
    assert!(
        home.fails(2, &["key", "add", "--plugin", "absent", "--id", "i", "n"]).contains("notation-absent")
    );
    assert!(!home.config("signingkeys.json").exists());
}

#[test]
fn a_damaged_key_list_is_refused_and_left_alone() {
    let home = Home::new();
    home.plugin("plug");
    home.ok(&["key", "add", "--plugin", "plug", "--id", "i", "one"]);
    let path = home.config("signingkeys.json");
    let whole = std::fs::read(&path).unwrap();
    let half = &whole[..whole.len() / 2];
    std::fs::write(&path, half).unwrap();
    for arguments in [
        &["key", "list"][..],
        &["key", "add", "--plugin", "plug", "--id", "i", "two"],
        &["key", "delete", "one"],
        &["sign", "localhost:1/x:v1"],
    ] {
        let error = home.fails(2, arguments);
        assert!(error.contains("signingkeys.json is cut short") && error.contains("line "), "{error}");
        assert!(error.contains("restore it from a backup"), "{error}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), half);

    std::fs::rename(&path, home.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(home.path().join("elsewhere"), &path).unwrap();
    assert!(home.fails(2, &["key", "list"]).contains("is not a regular file (symlinks are not supported)"));
}

#[test]
fn keys_must_exist_and_a_default_must_be_set() {
    let home = Home::new();
    let error = home.fails(2, &["sign", "localhost:1/x:v1"]);
    assert!(
        error.contains("default signing key not set. Please set default signing key or specify a key name")
    );
    assert!(
        home.fails(2, &["sign", "-k", "none", "localhost:1/x:v1"]).contains("signing key none not found")
    );
}

#[test]
fn a_value_in_a_damaged_file_is_not_repeated() {
    let home = Home::new();
    std::fs::create_dir_all(home.config("")).unwrap();
    for canary in ["917352", "\"canary917352\"", "{\"917352\": 1}"] {
        let keys = format!(
            r#"{{"default":"k","keys":[{{"name":"k","id":"i","pluginName":"p","pluginConfig":{canary_config}}}]}}"#,
            canary_config =
                if canary.starts_with('"') { canary.to_owned() } else { format!("{{\"pin\":{canary}}}") }
        );
        std::fs::write(home.config("signingkeys.json"), keys).unwrap();
        std::fs::write(home.config("config.json"), format!(r#"{{"insecureRegistries":{canary}}}"#)).unwrap();
        for (arguments, file) in [
            (&["key", "list"][..], "signingkeys.json"),
            (&["sign", "localhost:1/x:v1"], ".json"),
            (&["list", "localhost:1/x:v1"], "config.json"),
        ] {
            let error = home.fails(2, &[arguments, &["-d"]].concat());
            assert!(!error.contains("917352"), "{arguments:?}: {error}");
            assert!(error.contains(&format!("{file} is malformed")), "{arguments:?}: {error}");
            assert!(error.contains("wrong type at line "), "{arguments:?}: {error}");
        }
    }
}

/// Whoever gives a secret in plugin config is told, whatever the verb; what only sounds like one, or says where it is, is
/// not warned of.
#[test]
fn every_verb_that_starts_a_plugin_warns_of_secrets_in_its_config() {
    let home = Home::new();
    let certificate = home.test_certificate();
    home.script("dead", "exit 7");
    let name = ["--subject", "CN=x,O=o,ST=s,C=c"];
    let key = ["--plugin", "dead", "--id", "k"];
    std::fs::write(home.path().join("f"), "x").unwrap();
    let layout = home.layout();
    for verb in [
        vec!["key", "discover", "--plugin", "dead"],
        vec!["key", "create", "--plugin", "dead", "--key-spec", "EC-256", "n"],
        [&["cert", "request"], &key[..], &name].concat(),
        [&["cert", "self-sign"], &key[..], &name].concat(),
        [&["cert", "install", &certificate], &key[..]].concat(),
        [&["sign", "--oci-layout", &layout], &key[..]].concat(),
        [&["blob", "sign", "f"], &key[..]].concat(),
    ] {
        let with = |config: &[&str]| {
            let output = home.run(&[&verb, config].concat());
            assert_eq!(output.status.code(), Some(3), "{verb:?}: {}", stderr(&output));
            stderr(&output)
        };
        let warned = with(&["--plugin-config", "client_secret=canary-917352", "--plugin-config", "a=b"]);
        assert!(
            warned
                .starts_with("Warning: plugin config \"client_secret\" is given on the command line, where"),
            "{verb:?}: {warned}"
        );
        assert!(!warned.contains("917352") && warned.matches("Warning:").count() == 1, "{verb:?}: {warned}");
        let quiet = with(&["--plugin-config", "client_secret_file=x"]);
        assert!(!quiet.contains("Warning:"), "{verb:?}: {quiet}");
    }
    home.ok(&["key", "add", "--plugin", "dead", "--id", "k", "--plugin-config", "pin=917352", "stored"]);
    let warned = home.fails(3, &[&["cert", "request", "--key", "stored"], &name[..]].concat());
    assert!(warned.contains("\"pin\" is given in signingkeys.json in plain text"), "{warned}");
}

#[test]
fn what_is_wrong_with_the_request_is_said_before_a_plugin_starts() {
    let home = Home::new();
    home.script("dead", "exit 1");
    let key = ["--plugin", "dead", "--id", "k"];
    home.ok(&[&["key", "add"], &key[..], &["taken"]].concat());
    let create = ["key", "create", "--plugin", "dead", "--key-spec", "EC-256", "--add", "taken", "n"];
    let refused = home.fails(2, &create);
    assert!(refused.contains("no key was made: signing key with name \"taken\" already exists"), "{refused}");
    let taken = home.test_certificate();
    for verb in ["request", "self-sign"] {
        let subject = ["--subject", "CN=x,O=y,ST=z,C=XX", "--file"];
        let refused = home.fails(2, &[&["cert", verb], &key[..], &subject, &[&taken]].concat());
        assert!(refused.contains("already exists and is not overwritten"), "{refused}");
        let refused = home.fails(2, &[&["cert", verb], &key[..], &subject, &["/proc/none/x.pem"]].concat());
        assert!(refused.contains("cannot write /proc/none/x.pem"), "{refused}");
        let refused = home.fails(2, &[&["cert", verb], &key[..], &["--subject", "CN=x,O=y,ST=z"]].concat());
        assert!(refused.contains("lacks C"), "{refused}");
    }
    let file = |name: &str, bytes: &[u8]| {
        let path = home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pem = std::fs::read(taken).unwrap();
    let large = [&pem[..], &vec![b'\n'; 4 * 1024 * 1024]].concat();
    for (path, words) in [
        (file("large.pem", &large), "expected at most 4194304"),
        (file("text.pem", b"no certificate"), "expected PEM"),
        (home.path().join("absent.pem").to_str().unwrap().to_owned(), "No such file"),
    ] {
        let refused = home.fails(2, &[&["cert", "install", &path], &key[..]].concat());
        assert!(refused.contains(words), "{words}: {refused}");
    }
}

#[test]
fn a_relative_path_in_the_key_list_means_the_same_file_from_everywhere() {
    let home = Home::new();
    home.script("dead", "exit 1");
    let config = ["--plugin-config", "token-file=./token", "--plugin-config", "ca_certs=ca.pem"];
    home.ok(&[&["key", "add", "--plugin", "dead", "--id", "k"], &config[..], &["relative"]].concat());
    let here = home.path().canonicalize().unwrap();
    let stored = std::fs::read_to_string(home.config("signingkeys.json")).unwrap();
    for file in ["token", "ca.pem"] {
        assert!(stored.contains(here.join(file).to_str().unwrap()), "{stored}");
    }
}
