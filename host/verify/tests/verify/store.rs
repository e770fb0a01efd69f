//! Trust stores: what may be in them, and how it gets in and out.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use prokura_verify::{StoreType, TrustStore};

use crate::minting::{fill_store, self_issued, self_signed_and_dependent, wabbit};

const CA: StoreType = StoreType::Ca;

#[test]
fn certificates_are_read_from_pem_bundles_and_der_under_any_file_name() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, c) = (wabbit(), wabbit(), wabbit());
    let bundle = format!("# two roots\n{}between\r\n{}", a.root_pem, b.root_pem);
    let (alone, _) = self_signed_and_dependent();
    fill_store(
        dir.path(),
        "ca/acme",
        &[("bundle.txt", bundle.as_bytes()), ("c", &c.root), ("d.crt", &alone)],
    );
    let found = TrustStore::new(dir.path()).certificates(CA, "acme").unwrap();
    let found: Vec<_> = found.iter().map(|c| c.der().to_vec()).collect();
    assert_eq!(found, [a.root, b.root, c.root, alone], "in the order of the file names");
}

#[test]
fn unusable_stores_are_refused_by_rule() {
    let dir = tempfile::tempdir().unwrap();
    let store = TrustStore::new(dir.path());
    let ca = dir.path().join("x509/ca");
    let root = wabbit().root;
    let (alone, dependent) = self_signed_and_dependent();
    for (name, file, bytes, words) in [
        (
            "garbage",
            "x",
            b"hello".as_slice(),
            "failed to read the trusted certificate \"x\" in trust store garbage of type ca",
        ),
        ("nothing", "x", b"", "failed to read the trusted certificate \"x\""),
        ("cut", "x", &root[..100], "failed to read the trusted certificate \"x\""),
        (
            "key",
            "x",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "failed to read the trusted certificate \"x\"",
        ),
        ("leaf", "x", &dependent, "is not a CA certificate or self-signed signing certificate"),
        ("self-issued", "x", &self_issued(), "is not a CA certificate or self-signed signing certificate"),
        ("huge", "x", &[b' '; 1024 * 1024 + 1], "more than 1048576 bytes"),
    ] {
        fill_store(dir.path(), &format!("ca/{name}"), &[("good", root.as_slice()), (file, bytes)]);
        let error = store.certificates(CA, name).unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
    fs::create_dir(ca.join("empty")).unwrap();
    fill_store(dir.path(), "ca/nested", &[("good", &root)]);
    fs::create_dir(ca.join("nested/sub")).unwrap();
    fill_store(dir.path(), "ca/linked", &[("good", &root)]);
    symlink(ca.join("linked/good"), ca.join("linked/link")).unwrap();
    symlink(ca.join("linked"), ca.join("symlink")).unwrap();
    fs::write(ca.join("file"), &root).unwrap();
    fill_store(dir.path(), "tsa/alone", &[("alone", &alone)]);
    for (store_type, name, words) in [
        (CA, "absent", "the trust store \"absent\" of type \"ca\" does not exist"),
        (CA, "empty", "no x509 certificates were found in trust store \"empty\" of type \"ca\""),
        (
            CA,
            "nested",
            "trusted certificate \"sub\" in trust store nested of type ca is not a regular file (directories or symlinks are not supported)",
        ),
        (CA, "linked", "trusted certificate \"link\" in trust store linked of type ca is not a regular file"),
        (CA, "symlink", "the trust store symlink of type ca with path"),
        (CA, "file", "is not a regular directory (symlinks are not supported)"),
        (CA, "..", "trust store name needs to follow [a-zA-Z0-9_.-]+ format, \"..\" is invalid"),
        (CA, "a/b", "trust store name needs to follow"),
        (CA, "", "trust store name needs to follow"),
        (StoreType::SigningAuthority, "garbage", "of type \"signingAuthority\" does not exist"),
        (StoreType::Tsa, "alone", "is not a root CA certificate"),
    ] {
        let error = store.certificates(store_type, name).unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[test]
fn certificates_are_added_listed_shown_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (source, store) = (tempfile::tempdir().unwrap(), TrustStore::new(dir.path()));
    let file = source.path().join("root.pem");
    let signer = wabbit();
    fs::write(&file, &signer.root_pem).unwrap();
    let added = store.add(CA, "acme", &file).unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(added.as_path()), mode(added.parent().unwrap())), (0o600, 0o700));
    assert_eq!(store.certificates(CA, "acme").unwrap()[0].der(), signer.root);
    let error = store.add(CA, "acme", &file).unwrap_err().to_string();
    assert!(error.contains("certificate already exists in the Trust Store"), "{error}");
    store.add(StoreType::Tsa, "acme", &file).unwrap();

    let leaf = source.path().join("leaf.crt");
    fs::write(&leaf, &signer.leaf).unwrap();
    let error = store.add(CA, "new", &leaf).unwrap_err().to_string();
    assert!(
        error.contains("leaf.crt can not be added") && error.contains("is not a CA certificate"),
        "{error}"
    );
    assert!(!dir.path().join("x509/ca/new").exists(), "nothing is written");
    let error = store.add(CA, "new", source.path()).unwrap_err().to_string();
    assert!(error.contains("it is not a regular file"), "{error}");
    let error = store.add(CA, "n/w", &file).unwrap_err().to_string();
    assert!(error.contains("trust store name needs to follow"), "{error}");

    let listed = |store_type, name| store.list(store_type, name).unwrap().len();
    assert_eq!((listed(None, None), listed(Some(CA), None), listed(None, Some("acme"))), (2, 1, 2));
    assert_eq!((listed(Some(StoreType::SigningAuthority), None), listed(None, Some("other"))), (0, 0));
    assert_eq!(store.show(CA, "acme", "root.pem").unwrap()[0].subject(), "CN=Test Root,C=US");
    fs::write(dir.path().join("x509/ca/acme/leaf.crt"), &signer.leaf).unwrap();
    assert!(store.certificates(CA, "acme").is_err() && store.show(CA, "acme", "leaf.crt").is_ok());
    store.delete(CA, "acme", "leaf.crt").unwrap();
    let error = store.show(CA, "acme", "none").unwrap_err().to_string();
    assert!(error.contains("certificate \"none\" does not exist in trust store \"acme\""), "{error}");
    for outside in ["../acme/root.pem", "..", ""] {
        let error = store.delete(CA, "acme", outside).unwrap_err().to_string();
        assert!(error.contains("is no file name"), "{error}");
    }
    store.delete(CA, "acme", "root.pem").unwrap();
    assert!(!dir.path().join("x509/ca/acme").exists(), "an empty store is no store");
    store.delete_all(StoreType::Tsa, "acme").unwrap();
    let error = store.delete_all(StoreType::Tsa, "acme").unwrap_err().to_string();
    assert!(error.contains("does not exist"), "{error}");
    assert_eq!(listed(None, None), 0);
}
