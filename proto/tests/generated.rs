//! Regenerates the Rust code from the `.proto` files and compares it with what is committed.
//!
//! Pure Rust: no `protoc`. `PROKURA_BLESS=1 cargo test -p prokura-proto` writes instead of comparing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

const PROTO_FILES: [&str; 2] = ["plugin/v1/plugin.proto", "broker/v1/broker.proto"];

#[test]
fn the_committed_code_is_generated_from_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gen-{}", std::process::id()));
    fs::create_dir_all(&out).unwrap();
    generate(root, &out);
    let generated = rust_files(&out);
    fs::remove_dir_all(&out).unwrap();
    assert!(!generated.is_empty());

    let committed_dir = root.join("src/gen");
    #[expect(clippy::disallowed_methods, reason = "the switch of this test")]
    let bless = std::env::var_os("PROKURA_BLESS").is_some_and(|v| v == "1");
    if bless {
        fs::create_dir_all(&committed_dir).unwrap();
        for (name, text) in &generated {
            fs::write(committed_dir.join(name), text).unwrap();
        }
    }
    let committed = rust_files(&committed_dir);
    let names = |files: &[(String, String)]| files.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(&committed), names(&generated), "files in src/gen");
    for ((name, found), (_, expected)) in committed.iter().zip(&generated) {
        let line = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
        assert!(
            found == expected,
            "src/gen/{name} differs from what the .proto files generate (first at line {:?}); \
             run PROKURA_BLESS=1 cargo test -p prokura-proto and commit the result",
            line.map(|l| l + 1)
        );
    }
}

fn generate(root: &Path, out: &Path) {
    let descriptors = protox::compile(PROTO_FILES, [root]).unwrap();
    tonic_prost_build::configure()
        .out_dir(out)
        .emit_rerun_if_changed(false)
        .btree_map(".")
        .skip_debug(["prokura.plugin.v1.KeyReference"])
        .compile_fds(descriptors)
        .unwrap();
}

fn rust_files(dir: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap()))
        .collect();
    files.sort();
    files
}
