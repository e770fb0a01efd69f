//! Hands the compiler's version to `prokura version`.

use std::env;

#[expect(
    clippy::disallowed_methods,
    reason = "a build script learns from its environment and asks the compiler"
)]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PROKURA_GIT_COMMIT");
    let asked = env::var_os("RUSTC")
        .and_then(|rustc| std::process::Command::new(rustc).arg("--version").output().ok())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    // "rustc 1.95.0 (59807616e 2026-04-14)"
    let version = asked.as_deref().and_then(|text| text.split_whitespace().nth(1)).unwrap_or("unknown");
    println!("cargo::rustc-env=PROKURA_RUST_VERSION={version}");
}
