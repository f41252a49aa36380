//! The bodies of the fuzz targets, tried on the corpus and on random changes of it.

use proptest::{prelude::*, sample::Index};
use std::{path::PathBuf, sync::LazyLock};

#[path = "../fuzz/bodies.rs"]
mod bodies;

/// Seeds that are changed: larger ones say nothing new and cost time.
const SEED_BYTES_MAX: u64 = 8 << 10;

/// The corpus of one target, in a stable order.
fn corpus(of: &str) -> Vec<Vec<u8>> {
    let folder = crate::scratch::repository().join("fixtures/hostile").join(of);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn seeds(of: &str) -> Vec<Vec<u8>> {
    let mut all = corpus(of);
    all.retain(|it| it.len() as u64 <= SEED_BYTES_MAX);
    assert!(!all.is_empty());
    all
}

static YAML: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let project = std::fs::read(crate::scratch::repository().join("tests/it/small.yaml")).unwrap();
    seeds("yaml").into_iter().chain([project]).collect()
});
static REPLIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| seeds("replies"));
static PLANS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| corpus("plans"));
static MARKERS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| seeds("markers"));

/// Pieces that parsers stumble over.
const PIECES: [&[u8]; 20] = [
    b"\0",
    b"\xff",
    b"\n",
    b"\r",
    b"\t",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"{",
    b"[",
    b"\"",
    b"'",
    b"|\n",
    b"9999999999999999999999",
    b"\\ud800",
    "\u{202e}".as_bytes(),
    "\u{a0}".as_bytes(),
    b"null",
    b"novahost/1 ",
];

/// One change of a text.
#[derive(Clone, Debug)]
enum Change {
    Drop(Index, u8),
    Insert(Index, usize),
    Set(Index, u8),
    Repeat(Index, u8),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), 1..40_u8).prop_map(|(at, count)| Change::Drop(at, count)),
        (any::<Index>(), 0..PIECES.len()).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), 1..60_u8).prop_map(|(at, count)| Change::Repeat(at, count)),
        any::<Index>().prop_map(Change::Cut),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            bytes.push(b' ');
        }
        let length = bytes.len();
        match change {
            Change::Drop(at, count) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + usize::from(*count)));
            }
            Change::Insert(at, piece) => {
                let at = at.index(length);
                bytes.splice(at..at, PIECES[*piece].iter().copied());
            }
            Change::Set(at, byte) => bytes[at.index(length)] = *byte,
            Change::Repeat(at, count) => {
                let at = at.index(length);
                let piece = bytes[at..length.min(at + usize::from(*count))].to_vec();
                bytes.splice(at..at, piece);
            }
            Change::Cut(at) => bytes.truncate(at.index(length)),
        }
    }
    bytes
}

fn some() -> impl Strategy<Value = (Index, Vec<Change>)> {
    (any::<Index>(), prop::collection::vec(change(), 1..8))
}

#[test]
fn the_bodies_hold_for_the_corpus() {
    corpus("yaml").iter().filter(|it| it.len() < 64 << 10).for_each(|it| bodies::yaml(it));
    corpus("replies").iter().for_each(|it| bodies::reply(it));
    corpus("plans").iter().for_each(|it| bodies::plan(it));
    corpus("markers").iter().for_each(|it| bodies::marker(it));
    assert!(novahost::report::parse_plan(bodies::PLAN).is_ok(), "the whole plan is no plan");
}

#[test]
fn deep_and_broken_json_is_refused() {
    for open in ["[", "{\"data\":", "{\"a\":["] {
        let deep = open.repeat(100_000);
        bodies::reply(deep.as_bytes());
        bodies::plan(deep.as_bytes());
    }
    for text in [
        "{\"data\":\"\\ud800\"}",
        "{\"data\":[{\"key\":\"\\udfff\\ud800\",\"value\":1e999}]}",
        "{\"data\":\"\u{0}\"}",
    ] {
        bodies::reply(text.as_bytes());
    }
    bodies::reply(b"{\"data\":\"\xff\xfe\xc3(\"}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_yaml_is_read_or_refused((seed, changes) in some()) {
        bodies::yaml(&changed(seed.get(&YAML).clone(), &changes));
    }

    #[test]
    fn any_reply_is_read_or_refused((seed, changes) in some()) {
        bodies::reply(&changed(seed.get(&REPLIES).clone(), &changes));
    }

    #[test]
    fn a_plan_that_is_taken_is_the_one_of_its_id((seed, changes) in some()) {
        bodies::plan(&changed(seed.get(&PLANS).clone(), &changes));
    }

    #[test]
    fn what_is_read_as_a_marker_is_what_we_print((seed, changes) in some()) {
        bodies::marker(&changed(seed.get(&MARKERS).clone(), &changes));
    }

    #[test]
    fn one_digit_of_a_plan_is_enough_to_refuse_it(at in any::<Index>(), digit in b'0'..=b'9') {
        let body = bodies::PLAN.find("\"body\"").unwrap()..bodies::PLAN.find("\"envelope\"").unwrap();
        let digits: Vec<usize> =
            body.filter(|at| bodies::PLAN.as_bytes()[*at].is_ascii_digit()).collect();
        let at = *at.get(&digits);
        prop_assume!(bodies::PLAN.as_bytes()[at] != digit);
        let mut text = bodies::PLAN.as_bytes().to_vec();
        text[at] = digit;
        let text = String::from_utf8(text).unwrap();
        prop_assert!(novahost::report::parse_plan(&text).is_err());
        bodies::plan(text.as_bytes());
    }
}
