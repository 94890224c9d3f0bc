//! Pod Security `restricted`, and a root file system that nobody writes to.

use k8s_openapi::api::core::v1::{Capabilities, PodSecurityContext, SeccompProfile, SecurityContext};

/// A user and group without rights of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub(super) user: i64,
    pub(super) group: i64,
}

/// Whom the images run as.
pub(super) const BIRBNEST: Account = Account {
    user: 65_532,
    group: 65_532,
};

/// Whom the PostgreSQL image runs as: it refuses a user without a name.
pub(super) const POSTGRES: Account = Account {
    user: 101,
    group: 103,
};

pub(super) fn pod(account: Account) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(account.user),
        run_as_group: Some(account.group),
        fs_group: Some(account.group),
        // A volume that already belongs to the group is not walked through at every start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

pub(super) fn container() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}
