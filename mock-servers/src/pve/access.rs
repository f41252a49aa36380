//! Users, tokens, roles and the evaluation of access control lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::schema::Release;

/// Privileges that only the built-in administrator role has.
const ROOT_ONLY: [&str; 6] = [
    "Permissions.Modify",
    "Realm.Allocate",
    "Sys.AccessNetwork",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
];
const VM_USER: &[&str] = &[
    "VM.Audit",
    "VM.Backup",
    "VM.Config.CDROM",
    "VM.Config.Cloudinit",
    "VM.Console",
    "VM.PowerMgmt",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
];
const VM_ADMIN: &[&str] = &[
    "VM.Allocate",
    "VM.Clone",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.GuestAgent.Unrestricted",
    "VM.Migrate",
    "VM.Monitor",
    "VM.Replicate",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
];
/// Built-in roles as (name, parts); each part is a list of privileges.
const ROLES: &[(&str, &[&[&str]])] = &[
    ("NoAccess", &[]),
    ("PVEVMUser", &[VM_USER]),
    ("PVEVMAdmin", &[VM_USER, VM_ADMIN]),
    ("PVETemplateUser", &[&["VM.Audit", "VM.Clone"]]),
    (
        "PVEAuditor",
        &[&[
            "Datastore.Audit",
            "Mapping.Audit",
            "Pool.Audit",
            "SDN.Audit",
            "Sys.Audit",
            "VM.Audit",
            "VM.GuestAgent.Audit",
        ]],
    ),
    ("PVEDatastoreUser", &[DATASTORE_USER]),
    ("PVEDatastoreAdmin", &[DATASTORE_USER, &["Datastore.Allocate", "Datastore.AllocateTemplate"]]),
    ("PVEPoolUser", &[&["Pool.Audit"]]),
    ("PVEPoolAdmin", &[&["Pool.Audit", "Pool.Allocate"]]),
    ("PVESDNUser", &[SDN_USER]),
    ("PVESDNAdmin", &[SDN_USER, &["SDN.Allocate"]]),
    ("PVESysAdmin", &[&["Sys.Audit", "Sys.Console", "Sys.Syslog"]]),
    ("PVEUserAdmin", &[&["User.Modify", "Group.Allocate", "Realm.AllocateUser"]]),
    ("PVEMappingUser", &[MAPPING_USER]),
    ("PVEMappingAdmin", &[MAPPING_USER, &["Mapping.Modify"]]),
];
const DATASTORE_USER: &[&str] = &["Datastore.Audit", "Datastore.AllocateSpace"];
const SDN_USER: &[&str] = &["SDN.Audit", "SDN.Use"];
const MAPPING_USER: &[&str] = &["Mapping.Audit", "Mapping.Use"];

/// The built-in roles of a release with their privileges.
#[must_use]
pub fn roles(release: Release) -> BTreeMap<String, BTreeSet<String>> {
    let exists = |privilege: &str| match release {
        Release::V8_4 => !privilege.starts_with("VM.GuestAgent.") && privilege != "VM.Replicate",
        Release::V9_2 => privilege != "VM.Monitor",
    };
    let mut roles = BTreeMap::new();
    let mut everything = BTreeSet::new();
    for (name, parts) in ROLES {
        let privileges: BTreeSet<String> = parts
            .iter()
            .flat_map(|part| part.iter())
            .filter(|privilege| exists(privilege))
            .map(|privilege| (*privilege).to_owned())
            .collect();
        everything.extend(privileges.iter().cloned());
        roles.insert((*name).to_owned(), privileges);
    }
    let mut admin = everything.clone();
    admin.remove("Mapping.Modify");
    roles.insert("PVEAdmin".to_owned(), admin);
    everything.extend(ROOT_ONLY.map(str::to_owned));
    roles.insert("Administrator".to_owned(), everything);
    roles
}

/// Whether `privilege` exists in a release.
#[must_use]
pub fn valid_privilege(release: Release, privilege: &str) -> bool {
    roles(release).get("Administrator").is_some_and(|all| all.contains(privilege))
}

/// Whom an entry of the access control list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AclKind {
    /// A user, `name@realm`.
    User,
    /// A group.
    Group,
    /// An API token, `name@realm!token`.
    Token,
}

/// One role given to one user, group or token on one path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AclEntry {
    /// Path of the object, such as `/vms/100`.
    pub path: String,
    /// What `who` names.
    #[serde(default = "user_kind")]
    pub kind: AclKind,
    /// User, group or token.
    pub who: String,
    /// Role given.
    pub role: String,
    /// Whether the role also holds below the path.
    #[serde(default = "yes")]
    pub propagate: bool,
}

/// An API token of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Token {
    /// The secret value.
    pub secret: String,
    /// Whether the token has only what entries of its own give it.
    pub privsep: bool,
    /// Unix time after which it is refused; 0 means never.
    pub expire: u64,
    /// Free text.
    pub comment: Option<String>,
}

impl Default for Token {
    fn default() -> Self {
        Self { secret: String::new(), privsep: true, expire: 0, comment: None }
    }
}

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// Whether the account may be used.
    pub enable: bool,
    /// Unix time after which it is refused; 0 means never.
    pub expire: u64,
    /// Groups the user is in.
    pub groups: BTreeSet<String>,
    /// Password; none means that tickets are not given.
    pub password: Option<String>,
    /// API tokens by their id.
    pub tokens: BTreeMap<String, Token>,
    /// E-mail address.
    pub email: Option<String>,
    /// First name.
    pub firstname: Option<String>,
    /// Last name.
    pub lastname: Option<String>,
    /// Free text.
    pub comment: Option<String>,
}

impl Default for User {
    fn default() -> Self {
        Self {
            enable: true,
            expire: 0,
            groups: BTreeSet::new(),
            password: None,
            tokens: BTreeMap::new(),
            email: None,
            firstname: None,
            lastname: None,
            comment: None,
        }
    }
}

fn yes() -> bool {
    true
}

fn user_kind() -> AclKind {
    AclKind::User
}

/// Who a request is made by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// User, `name@realm`.
    pub user: String,
    /// Token id, when the request came with a token.
    #[serde(default)]
    pub token: Option<String>,
}

impl Identity {
    /// A user that logged in with a password.
    #[must_use]
    pub fn user(user: impl Into<String>) -> Self {
        Self { user: user.into(), token: None }
    }

    /// A token of a user.
    #[must_use]
    pub fn token(user: impl Into<String>, token: impl Into<String>) -> Self {
        Self { user: user.into(), token: Some(token.into()) }
    }

    /// Whether this is root itself; a token of root is not.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.user == ROOT && self.token.is_none()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        self.token.as_ref().map_or(Ok(()), |token| write!(f, "!{token}"))
    }
}

const ROOT: &str = "root@pam";

/// Everything that decides about access.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// Users by `name@realm`.
    pub users: BTreeMap<String, User>,
    /// Groups.
    pub groups: BTreeSet<String>,
    /// Roles beside the built-in ones.
    pub custom_roles: BTreeMap<String, BTreeSet<String>>,
    /// The access control list.
    pub acl: Vec<AclEntry>,
}

/// Roles in effect on a path, each with whether it propagates.
type Effective<'a> = BTreeMap<&'a str, bool>;

/// Whose entries count on a walk down a path.
#[derive(Clone, Copy)]
enum Walker<'a> {
    User(&'a str),
    Token(&'a str),
}

impl Access {
    /// All roles of a release: the built-in and the custom ones.
    #[must_use]
    pub fn all_roles(&self, release: Release) -> BTreeMap<String, BTreeSet<String>> {
        let mut all = roles(release);
        for (name, privileges) in &self.custom_roles {
            all.entry(name.clone()).or_insert_with(|| privileges.clone());
        }
        all
    }

    /// The privileges of `who` on `path`, each with whether it propagates. `pool_of` tells the
    /// pool that a path such as `/vms/100` or `/storage/local` is a member of.
    pub fn privileges(
        &self,
        release: Release,
        who: &Identity,
        path: &str,
        pool_of: &dyn Fn(&str) -> Option<String>,
    ) -> BTreeMap<String, bool> {
        let pool = pool_of(path);
        let of_user = || self.user_privileges(release, &who.user, path, pool.as_deref());
        let Some(token) = &who.token else {
            return of_user();
        };
        let Some(info) = self.users.get(&who.user).and_then(|user| user.tokens.get(token)) else {
            return BTreeMap::new();
        };
        if !info.privsep {
            return of_user();
        }
        let name = who.to_string();
        let mut own = self.walker_privileges(release, Walker::Token(&name), path, pool.as_deref());
        if who.user == ROOT {
            return own;
        }
        let user = of_user();
        own.retain(|privilege, propagates| match user.get(privilege) {
            Some(user_propagates) => {
                *propagates = *propagates && *user_propagates;
                true
            }
            None => false,
        });
        own
    }

    fn user_privileges(
        &self,
        release: Release,
        user: &str,
        path: &str,
        pool: Option<&str>,
    ) -> BTreeMap<String, bool> {
        if user == ROOT {
            let all = roles(release).remove("Administrator").unwrap_or_default();
            return all.into_iter().map(|privilege| (privilege, true)).collect();
        }
        self.walker_privileges(release, Walker::User(user), path, pool)
    }

    fn walker_privileges(
        &self,
        release: Release,
        walker: Walker<'_>,
        path: &str,
        pool: Option<&str>,
    ) -> BTreeMap<String, bool> {
        let mut held = self.walk(walker, path);
        if let Some(pool) = pool {
            let from_pool = self.walk(walker, &format!("/pool/{pool}"));
            if !held.contains_key("NoAccess") {
                if from_pool.contains_key("NoAccess") {
                    held.clear();
                }
                for role in from_pool.into_keys() {
                    // What comes from a pool never goes further down.
                    held.entry(role).or_insert(false);
                }
            }
        }
        let all = self.all_roles(release);
        let mut privileges = BTreeMap::new();
        for (role, propagates) in held {
            for privilege in all.get(role).into_iter().flatten() {
                *privileges.entry(privilege.clone()).or_insert(false) |= propagates;
            }
        }
        privileges
    }

    /// Roles on a path without those from pools: on the way down each level that has an entry
    /// replaces what the levels above gave.
    fn walk(&self, walker: Walker<'_>, path: &str) -> Effective<'_> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut held = Effective::new();
        for depth in 0..=parts.len() {
            let level = format!("/{}", parts[..depth].join("/"));
            let last = depth == parts.len();
            let here = |kind: AclKind, named: &dyn Fn(&str) -> bool| -> Effective<'_> {
                self.acl
                    .iter()
                    .filter(|e| e.kind == kind && e.path == level && named(&e.who))
                    .filter(|e| last || e.propagate)
                    .map(|e| (e.role.as_str(), e.propagate))
                    .collect()
            };
            let found = match walker {
                Walker::Token(token) => here(AclKind::Token, &|who| who == token),
                Walker::User(user) => {
                    let own = here(AclKind::User, &|who| who == user);
                    if own.is_empty() {
                        let groups = self.users.get(user).map(|u| &u.groups);
                        here(AclKind::Group, &|who| groups.is_some_and(|g| g.contains(who)))
                    } else {
                        own
                    }
                }
            };
            if !found.is_empty() {
                held = found;
            }
        }
        if let Some(propagates) = held.get("NoAccess").copied() {
            held = Effective::from([("NoAccess", propagates)]);
        }
        held
    }

    /// Whether the account can be used at all.
    fn check_user(&self, user: &str, now: u64) -> Result<&User, String> {
        let Some(account) = self.users.get(user) else {
            return Err(format!("no such user ('{user}')"));
        };
        if !account.enable {
            return Err(format!("user '{user}' is disabled"));
        }
        if expired(account.expire, now) {
            return Err(format!("user '{user}' access expired"));
        }
        Ok(account)
    }

    /// Checks a token and its secret at Unix time `now`.
    ///
    /// # Errors
    /// With the detailed reason, which newer servers keep to themselves.
    pub fn check_token(
        &self,
        user: &str,
        token: &str,
        secret: &str,
        now: u64,
    ) -> Result<Identity, String> {
        let account = self.check_user(user, now)?;
        let Some(info) = account.tokens.get(token) else {
            return Err(format!("no such token '{token}' for user '{user}'"));
        };
        if expired(info.expire, now) {
            return Err(format!("token '{token}' access expired"));
        }
        if info.secret != secret {
            return Err("invalid token value!".to_owned());
        }
        Ok(Identity::token(user, token))
    }

    /// Checks a user and password at Unix time `now`.
    ///
    /// # Errors
    /// With the detailed reason; the ticket call itself only says `authentication failure`.
    pub fn check_password(&self, user: &str, password: &str, now: u64) -> Result<Identity, String> {
        let account = self.check_user(user, now)?;
        if account.password.as_deref() != Some(password) {
            return Err("invalid credentials".to_owned());
        }
        Ok(Identity::user(user))
    }
}

fn expired(expire: u64, now: u64) -> bool {
    expire != 0 && expire < now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: AclKind, who: &str, role: &str, propagate: bool) -> AclEntry {
        AclEntry { path: path.into(), kind, who: who.into(), role: role.into(), propagate }
    }

    fn fixture(acl: Vec<AclEntry>) -> Access {
        let user = |groups: &[&str]| User {
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            password: Some("pw".into()),
            tokens: [
                ("sep", Token { secret: "s1".into(), ..Token::default() }),
                ("full", Token { secret: "s2".into(), privsep: false, ..Token::default() }),
            ]
            .map(|(id, token)| (id.to_owned(), token))
            .into(),
            ..User::default()
        };
        Access {
            users: [("u@pve".to_owned(), user(&["g", "h"])), (ROOT.to_owned(), user(&[]))].into(),
            groups: ["g", "h"].map(str::to_owned).into(),
            custom_roles: [("Mine".to_owned(), ["VM.Audit".to_owned()].into())].into(),
            acl,
        }
    }

    fn names(access: &Access, who: &Identity, path: &str, pool: Option<&str>) -> Vec<String> {
        let pool = |_: &str| pool.map(str::to_owned);
        access.privileges(Release::V9_2, who, path, &pool).into_keys().collect()
    }

    const AUDIT_CLONE: [&str; 2] = ["VM.Audit", "VM.Clone"];

    #[test]
    fn built_in_roles() {
        let nine = roles(Release::V9_2);
        assert_eq!(nine.len(), 17);
        let count = |role: &str| nine[role].len();
        assert_eq!(count("PVEVMUser"), 10);
        assert_eq!(count("PVEVMAdmin"), 10 + 13);
        assert_eq!(count("PVEAuditor"), 7);
        assert_eq!(count("NoAccess"), 0);
        assert!(!nine["PVEAdmin"].contains("Mapping.Modify"));
        assert!(!nine["PVEAdmin"].contains("Sys.Modify"));
        assert_eq!(count("Administrator"), count("PVEAdmin") + 7);
        assert!(!valid_privilege(Release::V9_2, "VM.Monitor"));
        assert!(valid_privilege(Release::V9_2, "VM.GuestAgent.Audit"));

        let eight = roles(Release::V8_4);
        for role in ["PVEVMAdmin", "PVEAdmin", "Administrator"] {
            assert!(eight[role].contains("VM.Monitor"), "{role}");
        }
        let agent = |p: &String| p.starts_with("VM.GuestAgent") || p == "VM.Replicate";
        assert!(!eight["Administrator"].iter().any(agent));
        assert!(!eight["PVEVMUser"].contains("VM.Monitor"));
    }

    #[test]
    fn deeper_levels_replace() {
        let user = Identity::user("u@pve");
        let access = fixture(vec![
            entry("/", AclKind::User, "u@pve", "Administrator", true),
            entry("/vms", AclKind::User, "u@pve", "PVETemplateUser", true),
        ]);
        assert_eq!(names(&access, &user, "/vms/100", None), AUDIT_CLONE);
        assert_eq!(names(&access, &user, "/vms", None), AUDIT_CLONE);
        assert!(names(&access, &user, "/nodes/pve1", None).contains(&"Sys.Modify".to_owned()));
    }

    #[test]
    fn entries_without_propagation_hold_on_their_level_only() {
        let user = Identity::user("u@pve");
        let access = fixture(vec![
            entry("/vms", AclKind::User, "u@pve", "PVETemplateUser", false),
            entry("/", AclKind::User, "u@pve", "PVEPoolUser", true),
        ]);
        assert_eq!(names(&access, &user, "/vms", None), AUDIT_CLONE);
        assert_eq!(names(&access, &user, "/vms/100", None), ["Pool.Audit"]);
        let held = access.privileges(Release::V9_2, &user, "/vms", &|_| None);
        assert!(!held["VM.Clone"]);
    }

    #[test]
    fn users_beat_groups_and_groups_add_up() {
        let user = Identity::user("u@pve");
        let mut acl = vec![
            entry("/vms", AclKind::Group, "g", "PVETemplateUser", true),
            entry("/vms", AclKind::Group, "h", "PVEPoolUser", true),
            entry("/vms", AclKind::Group, "other", "PVESDNUser", true),
        ];
        assert_eq!(
            names(&fixture(acl.clone()), &user, "/vms/1", None),
            ["Pool.Audit", "VM.Audit", "VM.Clone"]
        );
        acl.push(entry("/vms", AclKind::User, "u@pve", "Mine", true));
        assert_eq!(names(&fixture(acl), &user, "/vms/1", None), ["VM.Audit"]);
    }

    #[test]
    fn no_access_cancels() {
        let user = Identity::user("u@pve");
        let access = fixture(vec![
            entry("/vms", AclKind::User, "u@pve", "PVETemplateUser", true),
            entry("/vms", AclKind::User, "u@pve", "NoAccess", true),
            entry("/pool/p", AclKind::User, "u@pve", "PVEVMUser", true),
        ]);
        assert!(names(&access, &user, "/vms/1", None).is_empty());
        assert!(names(&access, &user, "/vms/1", Some("p")).is_empty());
    }

    #[test]
    fn pools_add_to_their_members() {
        let user = Identity::user("u@pve");
        let mut acl = vec![
            entry("/vms/100", AclKind::User, "u@pve", "Mine", true),
            entry("/pool/a", AclKind::User, "u@pve", "PVETemplateUser", true),
        ];
        let access = fixture(acl.clone());
        let held = access.privileges(Release::V9_2, &user, "/vms/100", &|_| Some("a/b".into()));
        assert_eq!(
            held.into_iter().collect::<Vec<_>>(),
            [("VM.Audit".to_owned(), true), ("VM.Clone".to_owned(), false)]
        );
        assert_eq!(names(&access, &user, "/vms/100", None), ["VM.Audit"]);
        acl.push(entry("/pool/a/b", AclKind::User, "u@pve", "NoAccess", true));
        assert!(names(&fixture(acl), &user, "/vms/100", Some("a/b")).is_empty());
    }

    #[test]
    fn separated_tokens_have_the_intersection() {
        let token = Identity::token("u@pve", "sep");
        let mut acl = vec![entry("/vms", AclKind::User, "u@pve", "PVETemplateUser", true)];
        assert!(names(&fixture(acl.clone()), &token, "/vms/1", None).is_empty());
        acl.push(entry("/", AclKind::Token, "u@pve!sep", "PVEAuditor", true));
        assert_eq!(names(&fixture(acl.clone()), &token, "/vms/1", None), ["VM.Audit"]);
        let full = Identity::token("u@pve", "full");
        assert_eq!(names(&fixture(acl.clone()), &full, "/vms/1", None), AUDIT_CLONE);
        let gone = Identity::token("u@pve", "gone");
        assert!(names(&fixture(acl), &gone, "/vms/1", None).is_empty());
    }

    #[test]
    fn root_and_its_tokens() {
        let access = fixture(vec![
            entry("/", AclKind::User, ROOT, "NoAccess", true),
            entry("/", AclKind::Token, "root@pam!sep", "PVETemplateUser", true),
        ]);
        let all: Vec<String> = roles(Release::V9_2)["Administrator"].iter().cloned().collect();
        let root = Identity::user(ROOT);
        let full = Identity::token(ROOT, "full");
        assert_eq!(names(&access, &root, "/vms/1", None), all);
        assert_eq!(names(&access, &full, "/vms/1", None), all);
        assert!(root.is_root() && !full.is_root());
        assert_eq!(full.to_string(), "root@pam!full");
        let separated = Identity::token(ROOT, "sep");
        assert_eq!(names(&access, &separated, "/vms/1", None), AUDIT_CLONE);
    }

    #[test]
    fn credentials() {
        let mut access = fixture(Vec::new());
        assert_eq!(access.check_token("u@pve", "sep", "s1", 5).unwrap().to_string(), "u@pve!sep");
        let fail = |access: &Access, user: &str, token: &str, secret: &str| {
            access.check_token(user, token, secret, 100).unwrap_err()
        };
        assert_eq!(fail(&access, "x@pve", "t", ""), "no such user ('x@pve')");
        assert_eq!(fail(&access, "u@pve", "t", ""), "no such token 't' for user 'u@pve'");
        assert_eq!(fail(&access, "u@pve", "sep", "s2"), "invalid token value!");
        assert!(access.check_password("u@pve", "pw", 5).is_ok());
        assert!(access.check_password("u@pve", "", 5).is_err());

        let user = access.users.get_mut("u@pve").unwrap();
        user.tokens.get_mut("sep").unwrap().expire = 50;
        assert_eq!(fail(&access, "u@pve", "sep", "s1"), "token 'sep' access expired");
        access.users.get_mut("u@pve").unwrap().enable = false;
        assert_eq!(fail(&access, "u@pve", "sep", "s1"), "user 'u@pve' is disabled");
    }

    #[test]
    fn absent_fields_take_sensible_values() {
        let text = r#"{"users":{"a@pve":{"tokens":{"t":{"secret":"x"}}}},
            "acl":[{"path":"/","who":"a@pve","role":"PVEAdmin"}]}"#;
        let access: Access = serde_json::from_str(text).unwrap();
        assert!(access.users["a@pve"].enable && access.users["a@pve"].tokens["t"].privsep);
        assert_eq!(access.acl[0], entry("/", AclKind::User, "a@pve", "PVEAdmin", true));
    }
}
