//! A file of its own, end to end: the whole set of tests, on both back ends, is integration/tests/broker_state.rs.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::peer::PeerKind;

#[tokio::test]
async fn an_answer_is_remembered_and_the_file_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let config = Config::Sqlite { directory: directory.path().join("state") };
    let caller = Caller { kind: PeerKind::Unix, id: "uid:1" };
    let signed = Signed { caller, key_name: "k" };
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let (lease, ttl) = (Duration::from_secs(60), Duration::from_secs(86_400));

    let store = Store::open(&config).await.unwrap();
    let Begun::New(claim) = store.begin(caller, "a", [1; 32], now, lease, ttl).await.unwrap() else {
        panic!()
    };
    assert_eq!(store.finish(&claim, vec![7], Some(signed), now).await.unwrap(), Finished::Recorded);
    assert_eq!(Store::open(&config).await.err().map(|e| e.trouble()), Some(Trouble::InUse));
    store.close().await;

    let store = Store::open(&config).await.unwrap();
    let begun = store.begin(caller, "a", [1; 32], now, lease, ttl).await.unwrap();
    assert!(matches!(begun, Begun::Done(answer) if answer == [7]));
    assert_eq!(store.usage(signed, now).await.unwrap().peer, Windows { hour: 1, day: 1 });
    for file in std::fs::read_dir(directory.path().join("state")).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.file_name());
    }
}
