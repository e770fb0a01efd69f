//! What is known of particular libraries and cannot be asked of them, each with its source. One table.

use std::path::Path;
use std::time::Duration;

/// How a library differs from what the standard lets one expect. The default is a library that does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Processes must not log in at the same time.
    pub takes_turns: bool,
    /// Read-only sessions are refused; only read-write ones exist.
    pub only_read_write: bool,
    /// An initialisation that fails leaves a descriptor open for good: not a second one in the same process.
    pub leaks_in_vain: bool,
    /// Most sessions, where the token says more than is true or nothing.
    pub sessions_max: Option<usize>,
    /// Idle sessions are dropped sooner than a signer's pauses last: keep them alive this often, in seconds.
    pub keep_alive_seconds: Option<u64>,
    /// What an operator must know when the library shows no token.
    pub hint: Option<&'static str>,
}

/// One row: how the library is recognised, what it does, and who says so.
struct Row {
    /// Part of its file name.
    file: &'static str,
    /// Beginning of its `manufacturerID`, for libraries that are renamed.
    manufacturer: &'static str,
    quirks: Quirks,
    /// For people; a test wants one for each row.
    #[cfg_attr(not(test), expect(dead_code, reason = "for people"))]
    source: &'static str,
}

/// For libraries whose manufacturer makes several.
const NOBODY: &str = "(told by its file name alone)";

const NONE: Quirks = Quirks {
    takes_turns: false,
    only_read_write: false,
    leaks_in_vain: false,
    sessions_max: None,
    keep_alive_seconds: None,
    hint: None,
};

const TABLE: &[Row] = &[
    Row {
        // Rewrites the file of a token at each login; who reads it meanwhile finds half a token.
        file: "softhsm",
        manufacturer: "SoftHSM",
        quirks: Quirks { takes_turns: true, hint: Some("SOFTHSM2_CONF names its configuration"), ..NONE },
        source: "https://github.com/softhsm/SoftHSMv2/issues/757",
    },
    Row {
        // SoftHSM served over a socket: the server starts a process for each of ours, and they meet as above.
        file: "p11-kit-client",
        manufacturer: NOBODY,
        // Its C_Initialize forgets the socket of a server that hangs up before it answers (seen in 0.24.1 to 0.26.4).
        quirks: Quirks {
            takes_turns: true,
            leaks_in_vain: true,
            hint: Some("P11_KIT_SERVER_ADDRESS names the server"),
            ..NONE
        },
        source: "https://github.com/softhsm/SoftHSMv2/issues/757, \
                 https://github.com/p11-glue/p11-kit/blob/0.24.1/p11-kit/rpc-client.c (rpc_C_Initialize)",
    },
    Row {
        // At most 16 sessions with the device, each dropped after 30 seconds without a command.
        file: "yubihsm_pkcs11",
        manufacturer: NOBODY,
        quirks: Quirks {
            sessions_max: Some(16),
            keep_alive_seconds: Some(20),
            hint: Some("YUBIHSM_PKCS11_CONF names its configuration"),
            ..NONE
        },
        source: "https://docs.yubico.com/software/yubihsm-2/concepts/hsm2-concept-session.html",
    },
    Row {
        // 16 sessions for all slots together, though each token says 16.
        file: "ykcs11",
        manufacturer: NOBODY,
        quirks: Quirks { sessions_max: Some(4), ..NONE },
        source: "https://github.com/Yubico/yubico-piv-tool/issues/573",
    },
    Row {
        // "Read Only Session is not supported in SDK 5".
        file: "cloudhsm_pkcs11",
        manufacturer: NOBODY,
        quirks: Quirks { only_read_write: true, ..NONE },
        source: "https://docs.aws.amazon.com/cloudhsm/latest/userguide/ki-pkcs11-sdk.html",
    },
    Row {
        // Takes its parameters from `pReserved`; from the environment only since NSS 3.92.
        file: "softokn3",
        manufacturer: "Mozilla Foundation",
        quirks: Quirks {
            hint: Some(
                "NSS is told where its database is by init-args=\"configdir='sql:/DIRECTORY'\" (x-init-reserved of \
                 p11-kit)",
            ),
            ..NONE
        },
        source: "https://github.com/nss-dev/nss/commit/c0bbdc4ed7b3520c44600f0e254887d2ae938325",
    },
    Row {
        // Firewalls on the way to the HSM drop idle connections, and the next call hangs for minutes.
        file: "nethsm_pkcs11",
        manufacturer: "Nitrokey",
        quirks: Quirks {
            keep_alive_seconds: Some(60),
            hint: Some("P11NETHSM_CONFIG_FILE names its configuration"),
            ..NONE
        },
        source: "https://github.com/Nitrokey/nethsm-pkcs11/issues/156",
    },
];

impl Quirks {
    /// What is known of the library with this file name and `manufacturerID`.
    pub fn of(path: &Path, manufacturer: &str) -> Self {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let row = TABLE.iter().find(|row| file.contains(row.file));
        let row = row.or_else(|| TABLE.iter().find(|row| manufacturer.starts_with(row.manufacturer)));
        row.map(|row| row.quirks).unwrap_or_default()
    }

    /// What is known by the file name alone, before the library is loaded.
    pub fn of_file(path: &Path) -> Self {
        Self::of(path, "")
    }

    /// How often idle sessions are kept alive if the operator says nothing.
    pub fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive_seconds.map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_by_file_or_manufacturer() {
        let of = |file: &str, manufacturer: &str| Quirks::of(Path::new(file), manufacturer);
        assert!(of("/usr/lib/softhsm/libsofthsm2.so", "").takes_turns);
        assert!(of("/opt/renamed.so", "SoftHSM").takes_turns);
        assert!(of("/opt/cloudhsm/lib/libcloudhsm_pkcs11.so", "").only_read_write);
        assert_eq!(of("/usr/lib/yubihsm_pkcs11.so", "").sessions_max, Some(16));
        assert!(of("/usr/lib/libsoftokn3.so", "").hint.is_some_and(|hint| hint.contains("init-args")));
        assert_eq!(of("/opt/vendor/libcs_pkcs11.so", "Vendor"), Quirks::default());
        assert_eq!(of("/opt/vendor/libcs_pkcs11.so", ""), Quirks::default());
    }

    #[test]
    fn each_row_has_an_effect_and_a_source() {
        for row in TABLE {
            assert_ne!(row.quirks, Quirks::default(), "{}", row.file);
            assert!(row.source.starts_with("https://"), "{}", row.file);
        }
    }
}
