//! What is written is read back, and nothing else is.

use super::*;
use crate::model::{DeviceName, InitSpec};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn seed() -> Seed {
    let nic = SeedNic {
        slot: "nic-4000".into(),
        mac: "00:50:56:0A:0B:0C".parse().ok(),
        ip: IpSetting::Static { address: "10.20.0.71".parse().unwrap(), prefix: 24 },
        gateway: "10.20.0.1".parse().ok(),
    };
    Seed {
        init: InitSpec {
            hostname: Some("web-1".into()),
            domain: Some("example.net".into()),
            user: Some("deploy".into()),
            ssh_keys: Some(vec!["ssh-ed25519 AAAA+/= deploy@host".into()]),
            dns: Some(vec!["10.20.0.2".parse().unwrap()]),
            ..InitSpec::default()
        },
        nics: [("eth0".into(), nic)].into(),
        slot: None,
        storage: None,
    }
}

#[test]
fn the_documents_of_a_small_machine_are_these() {
    let Documents { metadata, userdata } = documents(&seed(), "other", Some("$6$x"));
    let network = concat!(
        r#"{"ethernets":{"eth0":{"addresses":["10.20.0.71/24"],"dhcp4":false,"#,
        r#""match":{"macaddress":"00:50:56:0a:0b:0c"},"#,
        r#""nameservers":{"addresses":["10.20.0.2"],"search":["example.net"]},"#,
        r#""routes":[{"to":"0.0.0.0/0","via":"10.20.0.1"}]}},"version":2}"#,
    );
    let expected = concat!(
        "#cloud-config\n",
        r#"{"chpasswd":{"expire":false},"fqdn":"web-1.example.net","hostname":"web-1","#,
        r#""manage_etc_hosts":true,"user":{"hashed_passwd":"$6$x","lock_passwd":false,"#,
        r#""name":"deploy","ssh_authorized_keys":["ssh-ed25519 AAAA+/= deploy@host"]},"#,
        r#""users":["default"]}"#,
    );
    assert_eq!(userdata, expected);
    let id = &hex(&Sha256::digest(format!("{userdata}{network}")))[..16];
    let head = format!(r#"{{"instance-id":"nh-{id}","local-hostname":"web-1","network":"#);
    assert_eq!(metadata, format!("{head}{network}}}"));
    let yaml: serde_yaml::Value = serde_yaml::from_str(&userdata).unwrap();
    assert_eq!(yaml["user"]["name"], "deploy");
}

#[test]
fn a_dotted_host_name_is_the_full_one() {
    let mut seed = seed();
    seed.init.hostname = None;
    let found = documents(&seed, "web-9.lab.example", None);
    assert!(found.userdata.contains(r#""fqdn":"web-9.lab.example","hostname":"web-9""#));
    let seen = read(&found.metadata, &found.userdata).unwrap();
    assert_eq!(seen.init.hostname.as_deref(), Some("web-9.lab.example"));
    assert_eq!(seen.init.domain.as_deref(), Some("example.net"));
}

#[test]
fn root_is_not_made_and_may_log_in() {
    let mut seed = seed();
    seed.init.user = Some("root".into());
    let found = documents(&seed, "web-1", None).userdata;
    assert!(found.contains(r#""disable_root":false"#) && !found.contains(r#""users""#));
}

#[test]
fn without_a_user_the_default_one_gets_keys_and_password() {
    let mut seed = seed();
    seed.init.user = None;
    let found = documents(&seed, "web-1", Some("$6$x")).userdata;
    assert!(found.contains(r#""password":"$6$x""#) && found.contains(r#""users":["default"]"#));
    assert!(!found.contains(r#""user":"#));
}

#[test]
fn resolvers_without_an_addressed_card_are_not_lost() {
    let mut seed = seed();
    seed.nics.clear();
    let found = documents(&seed, "web-1", None);
    assert!(!found.metadata.contains("network"));
    let seen = read(&found.metadata, &found.userdata).unwrap();
    assert_eq!((seen.init.dns, seen.init.domain), (seed.init.dns, seed.init.domain));
}

#[test]
fn the_instance_is_a_new_one_when_anything_differs() {
    let id = |seed: &Seed, hash: Option<&str>| {
        let metadata = documents(seed, "web-1", hash).metadata;
        let found: Json = serde_json::from_str(&metadata).unwrap();
        found["instance-id"].as_str().unwrap().to_owned()
    };
    let edits: [fn(&mut Seed); 6] = [
        |it| it.init.hostname = Some("web-2".into()),
        |it| it.init.ssh_keys = None,
        |it| it.init.dns = None,
        |it| it.nics.get_mut("eth0").unwrap().ip = IpSetting::Dhcp,
        |it| it.nics.get_mut("eth0").unwrap().gateway = None,
        |it| it.nics.get_mut("eth0").unwrap().mac = "00:50:56:0A:0B:0D".parse().ok(),
    ];
    let mut ids = vec![id(&seed(), None), id(&seed(), Some("$6$x"))];
    ids.extend(edits.map(|edit| {
        let mut seed = seed();
        edit(&mut seed);
        id(&seed, None)
    }));
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count);
    assert_eq!(id(&seed(), None), id(&seed(), None));
}

#[test]
fn a_hash_is_not_shown() {
    let shown = format!("{:?}", documents(&seed(), "web-1", Some("$6$secret")));
    assert!(shown.contains("nh-") && !shown.contains("$6$"));
}

#[test]
fn other_documents_are_not_read() {
    let Documents { metadata, userdata } = documents(&seed(), "web-1", None);
    let long = format!("{metadata}{}", " ".repeat(DOCUMENT_MAX_FOR_TESTS));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let other_id = metadata.replace("nh-", "i-");
    let bad_card = metadata.replace("10.20.0.71/24", "10.20.0.71");
    for metadata in ["", "---", "instance-id: nh-1\n", &long, &deep, &other_id, &bad_card] {
        assert_eq!(read(metadata, &userdata), None, "{}", &metadata[..metadata.len().min(80)]);
    }
    for userdata in ["", "---", "#!/bin/sh\n", "#cloud-config\nuser: deploy\n", &deep] {
        assert_eq!(read(&metadata, userdata), None);
    }
}

const DOCUMENT_MAX_FOR_TESTS: usize = 600_000;

#[test]
fn a_password_is_hashed_the_same_way_each_time() {
    let machine = Uuid::from_u128(7);
    let hash = sha512_crypt(machine, "deploy", "hunter2").unwrap();
    assert_eq!(hash, sha512_crypt(machine, "deploy", "hunter2").unwrap());
    let others = [
        sha512_crypt(Uuid::from_u128(8), "deploy", "hunter2").unwrap(),
        sha512_crypt(machine, "ops", "hunter2").unwrap(),
        sha512_crypt(machine, "deploy", "hunter3").unwrap(),
    ];
    assert!(!others.contains(&hash));
    // Made by `openssl passwd -6 -salt rounds=5000$SALT hunter2`, which is another's work.
    assert_eq!(
        hash,
        "$6$rounds=5000$ZwPLWQv2QldNO3/L$Fdo11Rv3/cpBQhuEThm.qmgw7QzCPDNC4o8398N7zUNtAWvH2tLr9siMB.YBATdSjfUk8DuSXrxBGapWHrVKi."
    );
}

fn text() -> impl Strategy<Value = String> {
    "[ -~\u{7f}-\u{9f}\u{e4}\u{2028}\u{1f600}]{1,24}"
}

fn label() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z]{1,4})?"
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn nic() -> impl Strategy<Value = SeedNic> {
    let ip = prop_oneof![
        Just(IpSetting::Dhcp),
        Just(IpSetting::None),
        (address(), 0..=32_u8).prop_map(|(address, prefix)| IpSetting::Static { address, prefix }),
    ];
    (any::<[u8; 6]>(), ip, prop::option::of(address())).prop_map(|(mac, ip, gateway)| SeedNic {
        slot: "nic-4000".into(),
        mac: Some(MacAddress(mac)),
        ip,
        gateway,
    })
}

fn any_seed() -> impl Strategy<Value = Seed> {
    let init = (
        prop::option::of(label()),
        prop::option::of(label()),
        prop::option::of(prop_oneof![text(), Just("root".to_owned())]),
        prop::option::of(prop::collection::vec(text(), 0..3)),
        prop::option::of(prop::collection::vec(address(), 0..3)),
    )
        .prop_map(|(hostname, domain, user, ssh_keys, dns)| InitSpec {
            hostname,
            domain,
            user,
            ssh_keys,
            dns,
            ..InitSpec::default()
        });
    let nics = prop::collection::vec(nic(), 0..4).prop_map(|all| {
        let named = all.into_iter().enumerate();
        named.map(|(n, nic)| (DeviceName::from(format!("eth{n}").as_str()), nic)).collect()
    });
    (init, nics).prop_map(|(init, nics)| Seed { init, nics, slot: None, storage: None })
}

proptest! {
    #[test]
    fn what_was_put_in_is_read_back(seed in any_seed(), hash in prop::option::of(text())) {
        let found = documents(&seed, "fallback", hash.as_deref());
        let seen = read(&found.metadata, &found.userdata).unwrap();
        let mut init = seed.init.clone();
        init.hostname.get_or_insert_with(|| "fallback".into());
        prop_assert_eq!(seen.init, init);
        let by_mac: BTreeMap<_, _> =
            seed.nics.values().map(|it| (it.mac.unwrap(), (it.ip, it.gateway))).collect();
        prop_assert_eq!(seen.by_mac, by_mac);
        // And by a reader of YAML, with the same result as by one of JSON.
        for document in [&found.metadata, found.userdata.strip_prefix(HEAD).unwrap()] {
            let yaml: Json = serde_yaml::from_str(document).unwrap();
            prop_assert_eq!(yaml, serde_json::from_str::<Json>(document).unwrap());
        }
    }

    #[test]
    fn no_text_breaks_the_reader(metadata in ".{0,200}", userdata in "(#cloud-config\n)?.{0,200}") {
        let _ = read(&metadata, &userdata);
    }
}
