use super::{refusal::Presented, *};
use crate::settings::Problems;
use std::{fs, path::PathBuf};

const GOOD: &str = r#"
guest = ["secret:deploy", "env:GUEST"]
marker_key = "secret:mark"

[hypervisors.pve-paris]
hosts = ["pve1.example.net:8006", "PVE2.example.net:8006"]
identity = "pve-paris/sha256:01"
pins = ["sha256:AA:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
secrets = ["env:PVE_TOKEN"]

[hypervisors.pve-lab]
hosts = ["127.0.0.1:8006"]
identity = "pve-lab/sha256:02"
ca_file = "lab.pem"
secrets = ["secret:lab"]

[secrets.deploy]
cmd = ["pass", "show", "deploy"]
[secrets.mark]
file = "mark.key"
[secrets.lab]
env = "LAB_TOKEN"
[secrets.alias]
env = "PVE_TOKEN"

[store]
path = "/var/lib/novahost"
"#;

fn parse(text: &str) -> Result<Trust, Problems> {
    Trust::parse(
        text,
        Path::new("/home/ann/.config/novahost/trust.toml"),
        Some(Path::new("/srv/tree")),
    )
}

fn good() -> Trust {
    parse(GOOD).unwrap()
}

fn at(text: &str) -> Endpoint {
    text.parse().unwrap()
}

fn secret(text: &str) -> SecretRef {
    SecretRef { source: file::reference(text).unwrap(), version: 1 }
}

fn paris() -> HypervisorName {
    "pve-paris".into()
}

#[test]
fn a_whole_file_is_read() {
    let trust = good();
    let binding = &trust.hypervisors()["pve-paris"];
    assert_eq!(binding.hosts, [at("pve1.example.net:8006"), at("pve2.example.net:8006")]);
    assert_eq!(binding.pins, ["a".repeat(64)]);
    assert!(binding.settles_tls());
    let lab = &trust.hypervisors()["pve-lab"];
    assert_eq!(lab.ca_file.as_deref(), Some(Path::new("/home/ann/.config/novahost/lab.pem")));
    assert_eq!(trust.store(), Some(Path::new("/var/lib/novahost")));
    assert_eq!(trust.marker_key(), Some(&SecretSource::Secret("mark".into())));
    let value = trust.value_of(&SecretSource::Secret("deploy".into()), trust.folder()).unwrap();
    assert_eq!(value, SecretValue::Command(["pass", "show", "deploy"].map(String::from).into()));
}

#[test]
fn a_repointed_endpoint_is_refused_before_any_socket() {
    let trust = good();
    for stolen in ["evil.example:8006", "pve1.example.net:8007", "127.0.0.1:8006", "localhost:8006"]
    {
        let refused = trust.may_connect(&paris(), &at(stolen)).unwrap_err();
        assert!(matches!(refused, Refusal::OtherHost { .. }), "{stolen}: {refused}");
        assert!(refused.to_string().contains(stolen), "{refused}");
    }
    assert!(matches!(
        trust.may_connect(&paris(), &at("PVE1.example.net:8006")),
        Ok(Connection::Bound(_))
    ));
}

#[test]
fn a_new_name_for_a_host_of_an_attacker_gets_nothing() {
    let refused = good().may_connect(&"pve-new".into(), &at("evil.example:8006")).unwrap_err();
    assert!(matches!(refused, Refusal::NoEntry { .. }));
}

#[test]
fn a_hypervisor_credential_in_a_guest_field_is_refused_under_any_spelling() {
    let trust = good();
    for stolen in ["env:PVE_TOKEN", "secret:alias", "secret:lab", "env:LAB_TOKEN", "secret:mark"] {
        let refused = trust.may_use_in_guest(&secret(stolen)).unwrap_err();
        assert!(matches!(refused, Refusal::Reserved { .. }), "{stolen}: {refused}");
        assert_eq!(refused.lines_to_add(&trust, &[], &Presented::default()), None);
    }
}

#[test]
fn a_secret_that_nobody_listed_goes_nowhere() {
    let trust = good();
    for stolen in ["env:AWS_SECRET_ACCESS_KEY", "file:.git/config", "secret:unknown"] {
        assert!(
            matches!(trust.may_use_in_guest(&secret(stolen)), Err(Refusal::NotForGuests { .. })),
            "{stolen}"
        );
        let bound = trust.may_connect(&paris(), &at("pve1.example.net:8006")).unwrap();
        assert!(trust.may_use_secret(&paris(), &bound, &secret(stolen)).is_err(), "{stolen}");
    }
    assert!(trust.may_use_in_guest(&secret("secret:deploy")).is_ok());
    assert!(trust.may_use_in_guest(&secret("env:GUEST")).is_ok());
}

#[test]
fn one_hypervisor_does_not_get_the_secret_of_another() {
    let trust = good();
    let bound = trust.may_connect(&paris(), &at("pve1.example.net:8006")).unwrap();
    assert!(trust.may_use_secret(&paris(), &bound, &secret("env:PVE_TOKEN")).is_ok());
    for foreign in ["secret:lab", "secret:deploy", "secret:mark"] {
        assert!(trust.may_use_secret(&paris(), &bound, &secret(foreign)).is_err(), "{foreign}");
    }
    let lab = HypervisorName::from("pve-lab");
    assert!(trust.may_use_secret(&lab, &bound, &secret("env:PVE_TOKEN")).is_err());
}

#[test]
fn loopback_needs_no_entry_but_takes_no_secret_of_others() {
    let (trust, name) = (good(), HypervisorName::from("simulator"));
    let local = trust.may_connect(&name, &at("127.0.0.1:39001")).unwrap();
    assert_eq!(local, Connection::Loopback);
    assert!(trust.may_use_secret(&name, &local, &secret("env:SIM_TOKEN")).is_ok());
    for stolen in ["env:PVE_TOKEN", "env:LAB_TOKEN", "secret:deploy", "secret:mark", "env:GUEST"] {
        assert!(trust.may_use_secret(&name, &local, &secret(stolen)).is_err(), "{stolen}");
    }
}

#[test]
fn without_a_file_only_loopback_is_reached() {
    let trust = Trust::none();
    assert!(trust.may_connect(&paris(), &at("[::1]:8006")).is_ok());
    assert!(trust.may_connect(&paris(), &at("10.0.0.1:8006")).is_err());
    assert!(trust.may_use_in_guest(&secret("env:ANY")).is_err());
}

#[test]
fn the_sandbox_stays_on_this_machine() {
    let trust = Trust::sandbox();
    assert!(trust.may_connect(&paris(), &at("127.0.0.1:8006")).is_ok());
    let refused = trust.may_connect(&paris(), &at("pve1.example.net:8006")).unwrap_err();
    assert!(matches!(refused, Refusal::OutsideSandbox { .. }));
    assert_eq!(refused.lines_to_add(&trust, &[], &Presented::default()), None);
}

#[test]
fn another_installation_behind_the_name_is_not_believed() {
    let trust = good();
    assert!(trust.may_believe(&paris(), "pve-paris/sha256:01").is_ok());
    assert!(matches!(
        trust.may_believe(&paris(), "pve-paris/sha256:99"),
        Err(Refusal::OtherIdentity { .. })
    ));
    // A name without a bound identity must not be the one of another.
    assert!(matches!(
        trust.may_believe(&"copy".into(), "pve-lab/sha256:02"),
        Err(Refusal::IdentityOfAnother { .. })
    ));
}

#[test]
fn two_names_of_one_installation_are_found() {
    let text = GOOD.replace("pve-lab/sha256:02", "pve-paris/sha256:01");
    let problems = parse(&text).unwrap_err();
    assert!(
        problems.to_string().contains("`pve-lab` and `pve-paris` have one identity"),
        "{problems}"
    );

    let (a, b, c) = ("a".into(), "b".into(), "c".into());
    assert_eq!(
        one_identity_twice([(&a, "x"), (&b, ""), (&c, "")]),
        None,
        "not learnt is not equal"
    );
    assert_eq!(one_identity_twice([(&a, "x"), (&b, "y"), (&c, "x")]), Some((&a, &c)));
}

#[test]
fn every_problem_has_its_line() {
    let text = "guest = [\"env:T\", \"nothing\", \"secret:none\"]\n\
                marker_kay = \"env:K\"\n\
                [hypervisors.a]\n\
                hosts = [\"a\"]\n\
                pins = [\"sha256:12\"]\n\
                secrets = [\"env:T\"]\n\
                verify = false\n\
                [hypervisors.b]\n\
                [secrets.x]\n\
                env = \"A\"\n\
                file = \"b\"\n\
                [secrets.y]\n\
                value = \"hunter2\"\n\
                [secrets.z]\n\
                cmd = [\"./get\"]\n";
    let problems = parse(text).unwrap_err();
    let shown = problems.to_string();
    let lines: Vec<_> = problems.0.iter().map(|it| it.line).collect();
    assert_eq!(lines, [1, 1, 1, 2, 4, 5, 7, 8, 9, 12, 13, 15], "{shown}");
    assert!(shown.contains("did you mean `marker_key`?"), "{shown}");
    assert!(shown.contains("`verify` is not known"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_value_in_the_place_of_a_table_is_not_repeated() {
    for text in
        ["[secrets]\nx = \"hunter2\"\n", "marker_key = [\"hunter2\"]\n", "store = \"hunter2\"\n"]
    {
        let shown = parse(text).unwrap_err().to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn the_marker_key_is_for_nothing_else() {
    let text = "marker_key = \"env:K\"\n[hypervisors.a]\nhosts = [\"a:1\"]\nsecrets = [\"secret:k\"]\n\
                [secrets.k]\nenv = \"K\"\n";
    assert!(parse(text).unwrap_err().to_string().contains("the marker key is for nothing else"));
}

#[test]
fn nothing_in_the_file_leads_below_the_tree() {
    let text = "[hypervisors.a]\nhosts = [\"a:1\"]\nca_file = \"/srv/tree/ca.pem\"\n\
                [secrets.f]\nfile = \"/srv/tree/token\"\n\
                [secrets.c]\ncmd = [\"/srv/tree/run\"]\n[store]\npath = \"/srv/tree/x\"\n";
    let problems = parse(text).unwrap_err();
    assert_eq!(problems.0.iter().map(|it| it.line).collect::<Vec<_>>(), [3, 5, 7, 9]);
}

#[test]
fn the_lines_to_add_make_the_refusal_a_yes() {
    let presented = Presented { identity: Some("lab/sha256:03".into()), pin: Some("b".repeat(64)) };
    let (name, endpoint) = (HypervisorName::from("lab.two"), at("lab:8006"));
    let trust = Trust::none();
    let refused = trust.may_connect(&name, &endpoint).unwrap_err();
    let lines = refused.lines_to_add(&trust, &["env:LAB2".into()], &presented).unwrap();
    let trust = parse(&lines).unwrap();
    let bound = trust.may_connect(&name, &endpoint).unwrap();
    assert!(trust.may_use_secret(&name, &bound, &secret("env:LAB2")).is_ok());
    assert!(trust.may_believe(&name, "lab/sha256:03").is_ok());
    assert_eq!(trust.hypervisors()["lab.two"].pins, ["b".repeat(64)]);

    let refused = trust.may_connect(&name, &at("lab-b:8006")).unwrap_err();
    let lines = refused.lines_to_add(&trust, &[], &presented).unwrap();
    assert!(lines.contains("hosts = [\"lab:8006\", \"lab-b:8006\"]"), "{lines}");

    let refused = trust.may_use_in_guest(&secret("env:G")).unwrap_err();
    let lines = refused.lines_to_add(&trust, &[], &presented).unwrap();
    assert!(parse(&lines).unwrap().may_use_in_guest(&secret("env:G")).is_ok(), "{lines}");
}

#[test]
fn lines_to_add_cannot_be_made_to_say_more() {
    let trust = Trust::none();
    let refused = trust.may_connect(&"x]\nguest = [\"env:T\"]\n[y".into(), &at("h:1")).unwrap_err();
    let lines = refused
        .lines_to_add(
            &trust,
            &["env:A\"]\n[store]\npath=\"/\u{1b}[2J\u{202e}".into()],
            &Presented::default(),
        )
        .unwrap();
    assert!(!lines.chars().any(|c| c != '\n' && crate::model::is_active(c)), "{lines:?}");
    let read = parse(&lines).unwrap();
    assert!(read.guest.is_empty() && read.store().is_none());
}

/// A folder with a tree and a trust file beside it.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(world.path("tree/sub")).unwrap();
        fs::create_dir_all(world.path("home/novahost")).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, format!("[store]\npath = \"/{}\"\n", name.len())).unwrap();
        chmod(&path, mode);
        path
    }

    fn sources(&self) -> Sources {
        Sources {
            root: self.path("tree"),
            flag: None,
            variable: None,
            user: Some(self.path("home/novahost/trust.toml")),
            system: self.path("etc.toml"),
        }
    }
}

#[cfg(unix)]
fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_nearest_file_counts() {
    let world = World::new();
    let mut sources = world.sources();
    assert_eq!(Trust::load(&sources).unwrap(), Trust::none());
    for (name, set) in [
        ("etc.toml", None),
        ("home/novahost/trust.toml", None),
        ("by-variable.toml", Some(false)),
        ("by-flag.toml", Some(true)),
    ] {
        let path = world.write(name, 0o640);
        match set {
            Some(true) => sources.flag = Some(path.clone()),
            Some(false) => sources.variable = Some(path.clone()),
            None => {}
        }
        let trust = Trust::load(&sources).unwrap();
        assert_eq!(trust.file(), Some(path.canonicalize().unwrap().as_path()));
    }
}

#[test]
fn a_file_that_was_named_must_exist() {
    let world = World::new();
    world.write("etc.toml", 0o600);
    let sources = Sources { flag: Some(world.path("none.toml")), ..world.sources() };
    assert!(matches!(Trust::load(&sources), Err(TrustError::Read { .. })));
}

#[cfg(unix)]
#[test]
fn a_file_below_the_root_is_refused_also_through_links() {
    let world = World::new();
    let inside = world.write("tree/sub/trust.toml", 0o600);
    let outside = world.write("outside.toml", 0o600);
    let link_out = world.path("tree/link.toml");
    std::os::unix::fs::symlink(&outside, &link_out).unwrap();
    let link_in = world.path("link-in.toml");
    std::os::unix::fs::symlink(&inside, &link_in).unwrap();
    for path in [inside, link_out, link_in, world.path("tree/../tree/sub/trust.toml")] {
        let sources = Sources { flag: Some(path.clone()), ..world.sources() };
        let error = Trust::load(&sources).unwrap_err();
        assert!(matches!(error, TrustError::BelowRoot { .. }), "{}: {error}", path.display());
        assert!(error.to_string().contains("move them out of the tree"));
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_or_change_is_refused_with_the_command() {
    let world = World::new();
    for mode in [0o644, 0o660, 0o604, 0o602, 0o750, 0o777] {
        let path = world.write("trust.toml", mode);
        let sources = Sources { flag: Some(path.clone()), ..world.sources() };
        let text = Trust::load(&sources).unwrap_err().to_string();
        assert!(
            text.ends_with(&format!("run: chmod 0640 {}", path.canonicalize().unwrap().display())),
            "{text}"
        );
    }
    for mode in [0o640, 0o600, 0o400, 0o440] {
        let path = world.write("trust.toml", mode);
        assert!(Trust::load(&Sources { flag: Some(path.clone()), ..world.sources() }).is_ok());
        fs::remove_file(path).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_file_of_somebody_else_is_refused() {
    let world = World::new();
    let path = world.write("trust.toml", 0o600);
    // Only root can give a file away; elsewhere the rule cannot be tried.
    if std::os::unix::fs::chown(&path, Some(4242), None).is_ok() {
        let sources = Sources { flag: Some(path), ..world.sources() };
        assert!(matches!(Trust::load(&sources), Err(TrustError::Owner { owner: 4242, .. })));
    }
}

#[test]
fn the_usual_places_follow_the_environment() {
    let sources = Sources::usual("/srv/tree".into(), None, |name| match name {
        "XDG_CONFIG_HOME" => Some("relative".into()),
        "HOME" => Some("/home/ann".into()),
        "NOVAHOST_TRUST" => Some(String::new()),
        _ => None,
    });
    assert_eq!(sources.user, Some("/home/ann/.config/novahost/trust.toml".into()));
    assert_eq!(sources.variable, None);
}

fn entry(name: &str) -> NewEntry {
    NewEntry {
        name: name.into(),
        hosts: vec![at("pve9.example.net:8006")],
        identity: Some("nine/sha256:09".into()),
        pins: vec!["c".repeat(64)],
        secrets: vec!["env:NINE".into()],
    }
}

#[cfg(unix)]
#[test]
fn an_entry_is_added_and_the_rest_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let path = world.path("new/novahost/trust.toml");
    add_entry(&path, &entry("nine")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let sources = Sources { flag: Some(path.clone()), ..world.sources() };
    assert!(Trust::load(&sources).unwrap().hypervisors().contains_key("nine"));

    let with_comment = format!("# mine\n{}", fs::read_to_string(&path).unwrap().trim_end());
    fs::write(&path, &with_comment).unwrap();
    let other = NewEntry { identity: None, ..entry("ten") };
    add_entry(&path, &other).unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with(&format!("{with_comment}\n\n[hyp")));
    assert!(Trust::load(&sources).unwrap().hypervisors().contains_key("ten"));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside");
}

#[test]
fn an_entry_that_is_there_or_would_spoil_the_file_is_not_added() {
    let world = World::new();
    let path = world.path("trust.toml");
    add_entry(&path, &entry("nine")).unwrap();
    let before = fs::read_to_string(&path).unwrap();
    assert!(matches!(add_entry(&path, &entry("nine")), Err(AddError::Exists { .. })));
    // The same installation under a second name.
    assert!(matches!(add_entry(&path, &entry("ten")), Err(AddError::Problems(_))));
    let odd = NewEntry { secrets: vec!["hunter2".into()], identity: None, ..entry("odd") };
    assert!(matches!(add_entry(&path, &odd), Err(AddError::Reference)));
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}
