//! Every single byte of a log is watched over.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::audit::verify;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else if !entry.path().ends_with("lock") {
            found.push(entry.path());
        }
    }
}

/// Flips one bit of every `step`th byte of every file, one at a time; returns how many were flipped.
fn flip_each(home: &Path, step: usize) -> usize {
    let (directory, verifier) = (home.join("log"), verifier(home));
    assert_eq!(verify(&directory, &verifier).unwrap().problems, []);
    let mut found = Vec::new();
    files(&directory, &mut found);
    let mut flipped = 0;
    for path in found {
        let whole = fs::read(&path).unwrap();
        for place in (0..whole.len()).step_by(step) {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << (place % 8);
            fs::write(&path, bytes).unwrap();
            let report = verify(&directory, &verifier);
            let noticed = report.is_err() || report.is_ok_and(|report| !report.problems.is_empty());
            assert!(noticed, "byte {place} of {} was flipped unnoticed", path.display());
            flipped += 1;
        }
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(verify(&directory, &verifier).unwrap().problems, []);
    flipped
}

#[tokio::test]
async fn every_flipped_byte_of_a_small_log_is_found() {
    let home = home();
    let options = Options { segment_bytes: 4096, ..SMALL };
    for n in 0..3 {
        let log = Log::open(&home.path().join("log"), key(home.path()), options).unwrap();
        sign(&log, n).await;
        log.close().unwrap();
    }
    let flipped = flip_each(home.path(), 1);
    println!("{flipped} bytes flipped, each found");
    assert!(flipped > 10_000);
}

#[tokio::test]
async fn flipped_bytes_of_a_log_with_full_tiles_are_found() {
    let home = home();
    let log = open(home.path());
    sign_all(&log, 0..150).await;
    log.close().unwrap();
    let flipped = flip_each(home.path(), 2003);
    println!("{flipped} bytes flipped, each found");
}

/// All of the larger log; an hour in a debug build.
#[tokio::test]
#[ignore = "by name only: takes long; run with --ignored"]
async fn every_flipped_byte_of_a_log_with_full_tiles_is_found() {
    let home = home();
    let log = open(home.path());
    sign_all(&log, 0..150).await;
    log.close().unwrap();
    println!("{} bytes flipped, each found", flip_each(home.path(), 1));
}

#[tokio::test]
async fn files_missing_added_and_cut_are_found() {
    let home = home();
    let log = open(home.path());
    sign_all(&log, 0..150).await;
    log.close().unwrap();
    let (directory, verifier) = (home.path().join("log"), verifier(home.path()));
    let said = |what: &str| {
        let problems = verify(&directory, &verifier).unwrap().problems;
        assert!(!problems.is_empty(), "{what} was not noticed");
    };
    for path in ["tile/0/000", "tile/entries/000", "tile/1/000.p/1", "tile/0/001.p/44"] {
        let path = directory.join(path);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        said("a cut file");
        fs::write(&path, [whole.as_slice(), &[0]].concat()).unwrap();
        said("a file that is too long");
        fs::write(&path, [whole.as_slice(), &whole[..32]].concat()).unwrap();
        said("a hash too many");
        fs::remove_file(&path).unwrap();
        said("a missing file");
        fs::write(&path, whole).unwrap();
    }
    for path in ["tile/0/002", "tile/notes", "tile/entries/001.p/45", "tile/5/000"] {
        fs::create_dir_all(directory.join(path).parent().unwrap()).unwrap();
        fs::write(directory.join(path), [7; 32]).unwrap();
        said(path);
        fs::remove_file(directory.join(path)).unwrap();
    }
}
