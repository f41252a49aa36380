use super::*;
use proptest::prelude::*;
use regex_lite::Regex;

fn bytes(text: &str) -> Result<Bytes, ScalarError> {
    text.parse()
}

#[test]
fn sizes_are_read_in_powers_of_1024_and_shown_exactly() {
    for (text, expected, long, compact) in [
        ("512MiB", 512 << 20, "512 MiB", "512MiB"),
        ("4GiB", 4 << 30, "4 GiB", "4GiB"),
        ("4 GiB", 4 << 30, "4 GiB", "4GiB"),
        ("4096MiB", 4 << 30, "4 GiB", "4GiB"),
        ("1025MiB", 1025 << 20, "1025 MiB", "1025MiB"),
        ("2TiB", 2 << 40, "2 TiB", "2TiB"),
        ("0MiB", 0, "0 B", "0MiB"),
        ("9999PiB", 9999 << 50, "10238976 TiB", "9999PiB"),
    ] {
        let size = bytes(text).expect(text);
        assert_eq!(
            (size.0, size.to_string().as_str(), size.compact().as_str()),
            (expected, long, compact)
        );
    }
    assert_eq!(Bytes(1).to_string(), "1 B");
    let (size, echo) = Bytes::parse("4G").expect("a short form");
    assert_eq!((size, echo.as_deref()), (Bytes::gib(4), Some("`4G` is read as 4GiB")));
    assert_eq!(Bytes::parse("4GiB"), Ok((Bytes::gib(4), None)));
}

#[test]
fn a_refused_size_says_what_to_write() {
    for (text, message, help) in [
        ("4", "the size `4` has no unit", "write `4GiB` or `4MiB`"),
        ("4GB", "sizes are in powers of 1024, `GB` is not one of their units", "write `4GiB`"),
        ("4gib", "sizes are in powers of 1024, `gib` is not one of their units", "write `4GiB`"),
        ("1.5GiB", "the size `1.5GiB` is not a whole number", "write `1536MiB`"),
        (
            "lots",
            "expected a size, found `lots`",
            "write a whole number and a unit: `512MiB`, `4GiB`, `2TiB`",
        ),
        (
            "-4GiB",
            "expected a size, found `-4GiB`",
            "write a whole number and a unit: `512MiB`, `4GiB`, `2TiB`",
        ),
        (
            "04GiB",
            "the size `04GiB` begins with a zero",
            "write a whole number and a unit: `512MiB`, `4GiB`, `2TiB`",
        ),
    ] {
        assert_eq!(bytes(text), Err(ScalarError::new(message, help)), "{text}");
    }
    assert_eq!(bytes("99999999PiB"), Err(ScalarError::bare("the size `99999999PiB` is too large")));
}

#[test]
fn durations_percentages_and_ranges() {
    let seconds = |text: &str| text.parse::<Seconds>().map(|length| length.0);
    assert_eq!(
        (seconds("90s"), seconds("5m"), seconds("2h"), seconds("7d")),
        (Ok(90), Ok(300), Ok(7200), Ok(604_800))
    );
    assert_eq!(seconds("90").expect_err("no unit").help.as_deref(), Some("write `90s` or `90m`"));
    assert!(seconds("é").is_err() && seconds("").is_err() && seconds("1.5h").is_err());
    assert_eq!(
        [90, 300, 7200, 604_800, 0].map(|n| Seconds(n).to_string()),
        ["90s", "5m", "2h", "7d", "0s"]
    );
    assert_eq!("10%".parse(), Ok(Percent(10)));
    assert!("10".parse::<Percent>().is_err() && "1001%".parse::<Percent>().is_err());
    assert_eq!("20000-29999".parse(), Ok(IdRange { first: 20000, last: 29999 }));
    let error = "3-1".parse::<IdRange>().expect_err("it descends");
    assert_eq!(error.help.as_deref(), Some("write `1-3`"));
}

#[test]
fn zones_are_those_of_the_bundled_database() {
    let zone = |text: &str| text.parse::<ZoneName>().map(|zone| zone.to_string());
    assert_eq!(zone("Europe/Paris").as_deref(), Ok("Europe/Paris"));
    assert_eq!(zone("europe/paris").as_deref(), Ok("Europe/Paris"));
    assert_eq!(zone("UTC").as_deref(), Ok("UTC"));
    for text in ["", "CEST/Nowhere", "../etc/passwd", "+01:00"] {
        assert!(zone(text).is_err(), "{text}");
    }
}

#[test]
fn macs_have_one_canonical_form() {
    let mac = parse_mac;
    assert_eq!(mac("bc:24:11:0a:0b:0c").expect("a MAC").to_string(), "BC:24:11:0A:0B:0C");
    assert_eq!(mac("BC-24-11-0A-0B-0C"), mac("bc:24:11:0a:0b:0c"));
    assert!(mac("01:00:5e:00:00:01").expect_err("multicast").message.contains("multicast"));
    for text in [
        "",
        "bc:24:11:0a:0b",
        "bc:24:11:0a:0b:0c:0d",
        "bc:24:11:0a:0b:+c",
        "bc24.110a.0b0c",
        "bc:24:11-0a:0b:0c",
    ] {
        assert!(mac(text).is_err(), "{text}");
    }
    let json = serde_json::to_string(&mac("bc:24:11:0a:0b:0c").expect("a MAC")).expect("JSON");
    assert_eq!(json, "\"BC:24:11:0A:0B:0C\"");
    assert!(serde_json::from_str::<MacAddress>("\"x\"").is_err());
}

#[test]
fn ranges_of_addresses_have_one_family_and_ascend() {
    let range: IpRange = "10.20.0.71-10.20.0.73".parse().expect("a range");
    assert_eq!(range.len(), 3);
    assert_eq!(range.nth(2), Some("10.20.0.73".parse().expect("an address")));
    assert_eq!(range.nth(3), None);
    assert!(range.contains("10.20.0.72".parse().expect("an address")));
    assert!(!range.contains("::1".parse().expect("an address")));
    assert_eq!(
        "10.0.0.2-10.0.0.1".parse::<IpRange>().expect_err("descends").help.as_deref(),
        Some("write `10.0.0.1-10.0.0.2`")
    );
    assert!("10.0.0.1-::1".parse::<IpRange>().is_err() && "10.0.0.1".parse::<IpRange>().is_err());
}

#[test]
fn names_follow_their_rule() {
    for text in ["a", "web-1", "db.example.net", "0", &"a".repeat(63)] {
        assert!(text.parse::<Name>().is_ok(), "{text}");
    }
    for text in ["", "-a", "a-", ".a", "a.", "A", "a_b", "a b", "é", &"a".repeat(64)] {
        assert!(text.parse::<Name>().is_err(), "{text}");
    }
    let error = "Web_1".parse::<Name>().expect_err("capitals");
    assert!(error.help.expect("help").starts_with("write `web-1`"));
}

#[test]
fn references_to_secrets_and_nothing_else() {
    assert_eq!("env:PW".parse(), Ok(SecretSource::Env("PW".into())));
    assert_eq!("file:a/b".parse(), Ok(SecretSource::File("a/b".into())));
    assert_eq!("secret:alice-hash".parse(), Ok(SecretSource::Secret("alice-hash".into())));
    for text in [
        "hunter2",
        "",
        "env:",
        "env:1A",
        "env:A B",
        "secret:-",
        "file:",
        "file:a\nb",
        "ENV:PW",
        "vault:x",
    ] {
        let error = text.parse::<SecretSource>().expect_err(text).to_string();
        assert!(!error.contains("hunter2") && !error.contains("1A"), "{error}");
    }
}

/// Texts near what is accepted, so that both verdicts occur often.
fn near() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{0,17} ?[KMGTPkB]?(i?B)?",
        "[0-9]{0,10}[smhd]?",
        "[0-9]{0,4}%?",
        "(0?[0-9]{1,3}\\.){3}[0-9]{1,3}",
        "[0-9]{0,10}-[0-9]{0,10}",
        "[a-zA-Z0-9._-]{0,65}",
        "[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){4,6}",
        "(env:|file:|secret:|)[A-Za-z0-9_. -]{0,8}",
        "\\PC{0,8}",
    ]
}

proptest! {
    #[test]
    fn patterns_and_parsers_give_one_verdict(text in near()) {
        let matches = |pattern: &str| Regex::new(pattern).expect("a pattern").is_match(&text);
        prop_assert_eq!(matches(BYTES_PATTERN), text.parse::<Bytes>().is_ok(), "size {}", text);
        prop_assert_eq!(matches(SECONDS_PATTERN), text.parse::<Seconds>().is_ok(), "duration {}", text);
        prop_assert_eq!(matches(PERCENT_PATTERN), text.parse::<Percent>().is_ok(), "percentage {}", text);
        prop_assert_eq!(matches(NAME_PATTERN), text.parse::<Name>().is_ok(), "name {}", text);
        prop_assert_eq!(matches(MAC_PATTERN), parse_mac(&text).is_ok(), "MAC {}", text);
        prop_assert_eq!(matches(IPV4_PATTERN), text.parse::<std::net::Ipv4Addr>().is_ok(), "address {}", text);
        prop_assert!(matches(ID_RANGE_PATTERN) || text.parse::<IdRange>().is_err(), "ids {}", text);
    }

    #[test]
    fn shown_sizes_are_read_back(count in 1u64..1 << 40) {
        let size = Bytes(count << 10);
        prop_assert_eq!(size.compact().parse(), Ok(size));
        prop_assert_eq!(size.to_string().parse(), Ok(size));
    }
}
