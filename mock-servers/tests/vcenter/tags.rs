//! Categories and tags, in both forms of their interface.

use std::time::Duration;

use base64::Engine as _;
use mock_servers::vcenter::{Options, Switches};
use serde_json::{Value, json};

use crate::client::{Api, Center, Reply, USER, start_without_login, world};

/// One form with its session.
struct Tags {
    api: Api,
    rest: bool,
}

async fn center(switches: Switches) -> Center {
    let mut options = Options::new(7);
    options.switches = switches;
    start_without_login(world(), options).await
}

async fn log_in(center: &Center, (user, password): (&str, &str), rest: bool) -> Reply {
    let secret = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let mut api = center.api.fresh();
    api.headers.push(("Authorization", format!("Basic {secret}")));
    let path = if rest { "/rest/com/vmware/cis/session" } else { "/api/session" };
    api.http("POST", path, String::new()).await.unwrap()
}

impl Tags {
    async fn of(center: &Center, user: (&str, &str), rest: bool) -> Self {
        let reply = log_in(center, user, rest).await;
        assert_eq!(reply.status, if rest { 200 } else { 201 }, "{}", reply.text);
        let told: Value = serde_json::from_str(&reply.text).unwrap();
        let token = if rest { &told["value"] } else { &told };
        let mut api = center.api.fresh();
        api.headers.push(("vmware-api-session-id", token.as_str().unwrap().to_owned()));
        Self { api, rest }
    }

    async fn post(&self, path: &str, action: &str, body: Value) -> (u16, Value) {
        let (base, mark) = match self.rest {
            true => ("/rest/com/vmware/cis/tagging", "~"),
            false => ("/api/cis/tagging", ""),
        };
        let query =
            if action.is_empty() { String::new() } else { format!("?{mark}action={action}") };
        let body = match (action, self.rest) {
            ("", true) => json!({ "create_spec": body }),
            _ => body,
        };
        let path = format!("{base}/{path}{query}");
        let reply = self.api.http("POST", &path, body.to_string()).await.unwrap();
        let told = serde_json::from_str(&reply.text).unwrap_or_default();
        (reply.status, told)
    }

    fn id(&self, id: &str) -> String {
        if self.rest { format!("id:{id}") } else { id.to_owned() }
    }

    fn value<'a>(&self, told: &'a Value) -> &'a str {
        if self.rest { &told["value"] } else { told }.as_str().unwrap_or_default()
    }

    /// What kind of error is told, in capitals.
    fn kind(&self, told: &Value) -> String {
        let key = if self.rest { "type" } else { "error_type" };
        told[key].as_str().unwrap_or_default().rsplit('.').next().unwrap_or_default().to_uppercase()
    }

    async fn category(&self, name: &str) -> (u16, Value) {
        let body = json!({
            "name": name,
            "description": "",
            "cardinality": "SINGLE",
            "associable_types": ["VirtualMachine"],
        });
        self.post("category", "", body).await
    }

    async fn tag(&self, category: &str, name: &str) -> String {
        let body = json!({ "name": name, "description": "", "category_id": category });
        let (_, told) = self.post("tag", "", body).await;
        self.value(&told).to_owned()
    }

    async fn attach(&self, tag: &str, vm: &str) -> (u16, Value) {
        let body = json!({ "object_id": { "id": vm, "type": "VirtualMachine" } });
        self.post(&format!("tag-association/{}", self.id(tag)), "attach", body).await
    }
}

#[tokio::test]
async fn both_forms_make_and_attach_and_keep_to_one_tag() {
    for rest in [false, true] {
        let center = center(Switches::default()).await;
        let tags = Tags::of(&center, USER, rest).await;
        let (_, made) = tags.category("tenant").await;
        let category = tags.value(&made).to_owned();
        let (status, again) = tags.category("Tenant").await;
        assert_eq!((status, tags.kind(&again).as_str()), (400, "ALREADY_EXISTS"));
        let (acme, beta) = (tags.tag(&category, "acme").await, tags.tag(&category, "beta").await);
        let vm = center.vm("old-print");
        for _ in 0..2 {
            assert_eq!(tags.attach(&acme, &vm).await.0, if rest { 200 } else { 204 });
        }
        let (status, told) = tags.attach(&beta, &vm).await;
        assert_eq!((status, tags.kind(&told).as_str()), (400, "INVALID_ARGUMENT"));
        assert_eq!(tags.attach("urn:none", &vm).await.0, 404);
        assert_eq!(tags.attach(&acme, "vm-404").await.0, 404);
        let body = json!({ "object_ids": [{ "id": vm, "type": "VirtualMachine" }] });
        let (_, told) = tags.post("tag-association", "list-attached-tags-on-objects", body).await;
        let told = if rest { &told["value"] } else { &told };
        assert_eq!(told[0]["tag_ids"], json!([acme]));
    }
}

#[tokio::test]
async fn in_the_other_readings_a_tag_takes_a_place_and_case_counts() {
    let center = center(Switches::flipped()).await;
    assert_eq!(log_in(&center, USER, false).await.status, 404, "there is no newer form");
    let tags = Tags::of(&center, USER, true).await;
    let (_, made) = tags.category("tenant").await;
    let category = tags.value(&made).to_owned();
    assert_eq!(tags.category("Tenant").await.0, 200);
    let (acme, beta) = (tags.tag(&category, "acme").await, tags.tag(&category, "beta").await);
    let vm = center.vm("old-print");
    tags.attach(&acme, &vm).await;
    assert_eq!(tags.attach(&beta, &vm).await.0, 200);
    let worn = center.control.inspect(|world| world.tags_of(&vm));
    assert_eq!(worn.into_iter().collect::<Vec<_>>(), ["tenant=beta"]);
}

#[tokio::test]
async fn sessions_end_and_rights_are_asked_for() {
    let center = center(Switches::default()).await;
    assert_eq!(log_in(&center, (USER.0, "wrong"), false).await.status, 401);
    let reader = Tags::of(&center, ("reader@vsphere.local", "sandbox-reader"), false).await;
    let (status, told) = reader.category("tenant").await;
    assert_eq!((status, reader.kind(&told).as_str()), (403, "UNAUTHORIZED"));
    center.control.advance(Duration::from_secs(1_900));
    assert_eq!(reader.category("tenant").await.0, 401);
    center.control.edit(|world| world.sessions_max = 0);
    assert_eq!(log_in(&center, USER, false).await.status, 503);
}

/// A server refuses what it does not expect as it refuses what it misses, and does nothing.
#[tokio::test]
async fn a_body_that_is_not_that_of_the_call_is_refused() {
    for rest in [false, true] {
        let center = center(Switches::default()).await;
        let tags = Tags::of(&center, USER, rest).await;
        let (_, made) = tags.category("tenant").await;
        let category = tags.value(&made).to_owned();
        let tag = tags.tag(&category, "acme").await;
        let vm = center.vm("old-print");
        let on = format!("tag-association/{}", tags.id(&tag));
        let object = json!({ "id": vm, "type": "VirtualMachine" });
        let whole = json!({ "name": "x", "description": "", "cardinality": "SINGLE", "associable_types": [] });
        let but = |name: &str, value: Value| {
            let mut body = whole.clone();
            body[name] = value;
            body
        };
        let without = |name: &str| {
            let mut body = whole.clone();
            body.as_object_mut().unwrap().remove(name);
            body
        };
        let wrong = [
            ("category", "", without("associable_types"), "INVALID_ARGUMENT"),
            ("category", "", without("cardinality"), "INVALID_ARGUMENT"),
            ("category", "", without("description"), "INVALID_ARGUMENT"),
            ("category", "", but("cardinality", json!("ONE")), "INVALID_ARGUMENT"),
            ("category", "", but("associable_types", json!("VirtualMachine")), "INVALID_ARGUMENT"),
            ("category", "", but("multiple", json!(true)), "UNEXPECTED_INPUT"),
            ("tag", "", json!({ "name": "x", "description": "" }), "INVALID_ARGUMENT"),
            (&on, "attach", json!({ "object_id": vm }), "INVALID_ARGUMENT"),
            (&on, "attach", json!({ "object_id": object, "tag": tag }), "UNEXPECTED_INPUT"),
            (&on, "detach", json!({}), "INVALID_ARGUMENT"),
            (
                "tag-association",
                "list-attached-tags-on-objects",
                json!({ "object_ids": object }),
                "INVALID_ARGUMENT",
            ),
        ];
        let there = || {
            center.control.inspect(|world| {
                let it = &world.tagging;
                format!("{:?} {:?} {:?}", it.categories, it.tags, it.attached)
            })
        };
        let before = there();
        for (path, action, body, kind) in wrong {
            let (status, told) = tags.post(path, action, body.clone()).await;
            assert_eq!((status, tags.kind(&told).as_str()), (400, kind), "{path} {action} {body}");
        }
        let path = if rest { "/rest/com/vmware/cis/tagging/tag" } else { "/api/cis/tagging/tag" };
        let reply = tags.api.http("POST", path, "{\"name\":".into()).await.unwrap();
        assert_eq!(reply.status, 400, "{}", reply.text);
        assert_eq!(there(), before);
    }
}
