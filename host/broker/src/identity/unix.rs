//! The peer at the other end of a UNIX socket, as the kernel knew it when it connected (`SO_PEERCRED`, unix(7)).
//!
//! The id is `uid:N`. Claims: `uid`, `gid`, `pid` from the kernel; `user` and `groups` (names) as `/etc/passwd` and
//! `/etc/group` have them for that uid, absent if they do not. Supplementary groups of the process itself are not asked:
//! `/proc` would answer for whoever has the pid by now. Who may call is for policy to say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use tokio::net::unix::UCred;

use super::refusal::{Refusal, RefusalKind};
use crate::limits::{ACCOUNT_FILE_BYTES_MAX, ACCOUNT_GROUPS_MAX};
use crate::peer::{Peer, PeerKind};

/// Who connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    uid: u32,
    gid: u32,
    pid: Option<i32>,
    user: Option<String>,
    groups: Vec<String>,
}

impl Credentials {
    /// Looks up the names of what the kernel says. Blocks on the file system.
    pub fn look_up(kernel: UCred) -> Self {
        Self::from_files(kernel, Path::new("/etc/passwd"), Path::new("/etc/group"))
    }

    fn from_files(kernel: UCred, passwd: &Path, group: &Path) -> Self {
        let user = user_of(&read(passwd), kernel.uid());
        let groups = groups_of(&read(group), kernel.gid(), user.as_deref());
        Self { uid: kernel.uid(), gid: kernel.gid(), pid: kernel.pid(), user, groups }
    }

    /// The user id.
    pub const fn uid(&self) -> u32 {
        self.uid
    }

    /// One line for the log.
    pub(crate) fn evidence(&self) -> String {
        let pid = self.pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
        format!("UNIX socket, uid {}, gid {}, pid {pid}", self.uid, self.gid)
    }

    pub(crate) fn peer(&self) -> Result<Peer, Refusal> {
        let mut claims = BTreeMap::from([
            ("uid".to_owned(), Value::from(self.uid)),
            ("gid".to_owned(), Value::from(self.gid)),
            ("groups".to_owned(), Value::from(self.groups.clone())),
        ]);
        if let Some(pid) = self.pid {
            claims.insert("pid".to_owned(), Value::from(pid));
        }
        if let Some(user) = &self.user {
            claims.insert("user".to_owned(), Value::from(user.clone()));
        }
        Peer::new(PeerKind::Unix, format!("uid:{}", self.uid), claims, self.evidence(), None).map_err(|e| {
            let remedy = "remove the account from groups in /etc/group";
            Refusal::new(RefusalKind::NoEvidence, e.to_string(), "an account within the limits", remedy)
        })
    }
}

/// What cannot be read names nobody.
fn read(path: &Path) -> String {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(ACCOUNT_FILE_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => text,
        Err(_) => String::new(),
    }
}

/// passwd(5): name:password:uid:...
fn user_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let found = fields.nth(1)?.parse::<u32>().ok()?;
        (found == uid && !name.is_empty()).then(|| name.to_owned())
    })
}

/// group(5): name:password:gid:user,user
fn groups_of(group: &str, gid: u32, user: Option<&str>) -> Vec<String> {
    let is_in = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let id = fields.nth(1)?.parse::<u32>().ok()?;
        let named = user
            .is_some_and(|user| fields.next().unwrap_or_default().split(',').any(|member| member == user));
        (id == gid || named).then(|| name.to_owned())
    };
    group.lines().filter_map(is_in).take(ACCOUNT_GROUPS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbad line\nci:x:1000:100::/home/ci:/bin/sh\n:x:1001:1::/:/\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\nsigners:x:200:anna,ci\nothers:x:300:cick,anna\nbad\n";

    #[test]
    fn names_come_from_the_account_files() {
        assert_eq!(user_of(PASSWD, 1000).as_deref(), Some("ci"));
        assert_eq!(user_of(PASSWD, 1001), None, "an empty name is none");
        assert_eq!(user_of(PASSWD, 4711), None);
        assert_eq!(groups_of(GROUP, 100, Some("ci")), ["users", "signers"]);
        assert_eq!(groups_of(GROUP, 300, None), ["others"]);
    }

    #[tokio::test]
    async fn the_peer_is_the_uid_of_the_kernel() {
        let (socket, _other) = tokio::net::UnixStream::pair().unwrap();
        let credentials = Credentials::look_up(socket.peer_cred().unwrap());
        let peer = credentials.peer().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!((peer.kind(), peer.id()), (PeerKind::Unix, format!("uid:{uid}").as_str()));
        assert_eq!(peer.claims().get("gid"), Some(&Value::from(rustix::process::getegid().as_raw())));
        assert_eq!(peer.claims().get("pid"), Some(&Value::from(std::process::id())));
        assert!(peer.evidence().contains(&format!("uid {uid}")), "{}", peer.evidence());
    }
}
