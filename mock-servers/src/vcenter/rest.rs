//! The JSON interface, in both of its forms: as servers since 7.0 U2 speak it below `/api`,
//! and as all have spoken it below `/rest`.

use std::sync::Arc;

use base64::Engine as _;
use hyper::header::HeaderMap;
use serde_json::{Value as Json, json};

use super::rest_body as body;
use super::server::Shared;
use super::tagging::{Category, No, Tag};
use crate::harness::{Actor, Arrival};

/// The header that carries a session.
const SESSION: &str = "vmware-api-session-id";

/// Which form a request is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Api,
    Rest,
}

/// A request, as far as it was understood.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) verb: String,
    pub(crate) path: String,
    form: Form,
    call: Option<Call>,
    id: String,
    basic: Option<(String, String)>,
    token: String,
    body: Json,
    /// Why the body is not one of this call.
    bad: Option<No>,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    LogIn,
    LogOut,
    Categories,
    Category,
    MakeCategory,
    Tag,
    TagsOf,
    MakeTag,
    Worn,
    Attach,
    Detach,
}

impl Call {
    /// Whether the body is one of this call. Those that read nothing of it are sent without.
    fn check(self, form: Form, given: &[u8]) -> Result<(), No> {
        let spec = (form == Form::Rest).then_some("create_spec");
        match (self, form) {
            (Self::MakeCategory, _) => body::check(given, spec, body::CATEGORY),
            (Self::MakeTag, _) => body::check(given, spec, body::TAG),
            (Self::TagsOf, Form::Api) => body::check(given, None, body::OF_CATEGORY),
            (Self::Attach | Self::Detach, _) => body::check(given, None, body::ON_ONE),
            (Self::Worn, _) => body::check(given, None, body::ON_MANY),
            // The id lies in the path; VMware's own client repeats it in the body.
            (Self::TagsOf, Form::Rest) if !given.is_empty() => {
                body::check(given, None, body::OF_CATEGORY)
            }
            (Self::TagsOf, Form::Rest)
            | (Self::LogIn | Self::LogOut | Self::Categories | Self::Category | Self::Tag, _) => {
                body::check(given, None, &[])
            }
        }
    }
}

/// What is answered.
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) text: String,
    /// Refused for its session.
    pub(crate) no_session: bool,
}

impl Asked {
    /// Whether a path is one of this interface.
    pub(crate) fn is_at(path: &str) -> bool {
        path.starts_with("/api/") || path.starts_with("/rest/")
    }

    /// Reads a request.
    pub(crate) fn read(
        verb: &str,
        (path, query): (&str, &str),
        head: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let (form, rest) = match path.strip_prefix("/api/") {
            Some(rest) => (Form::Api, rest),
            None => (Form::Rest, path.strip_prefix("/rest/com/vmware/").unwrap_or("")),
        };
        let mark = if form == Form::Api { "action=" } else { "~action=" };
        let action = query.split('&').find_map(|it| it.strip_prefix(mark)).unwrap_or("");
        let of = |name: &str| head.get(name).and_then(|it| it.to_str().ok()).unwrap_or("");
        let basic = of("authorization").strip_prefix("Basic ").and_then(|it| {
            let plain = base64::engine::general_purpose::STANDARD.decode(it).ok()?;
            let plain = String::from_utf8(plain).ok()?;
            plain.split_once(':').map(|(name, word)| (name.to_owned(), word.to_owned()))
        });
        let (call, id) = route(form, verb, rest, action);
        let mut asked = Self {
            verb: verb.to_owned(),
            path: match query {
                "" => path.to_owned(),
                query => format!("{path}?{query}"),
            },
            form,
            call,
            id,
            basic,
            token: of(SESSION).to_owned(),
            body: serde_json::from_slice(body).unwrap_or_default(),
            bad: call.and_then(|call| call.check(form, body).err()),
        };
        if call == Some(Call::TagsOf) && form == Form::Api {
            asked.id = asked.body["category_id"].as_str().unwrap_or("").to_owned();
        }
        asked
    }

    /// The call's name in logs; empty where there is none.
    pub(crate) fn name(&self) -> &'static str {
        match self.call {
            Some(Call::LogIn) => "tags.login",
            Some(Call::LogOut) => "tags.logout",
            Some(Call::Categories) => "tags.categories",
            Some(Call::Category) => "tags.category",
            Some(Call::MakeCategory) => "tags.make-category",
            Some(Call::Tag) => "tags.tag",
            Some(Call::TagsOf) => "tags.of-category",
            Some(Call::MakeTag) => "tags.make-tag",
            Some(Call::Worn) => "tags.worn",
            Some(Call::Attach) => "tags.attach",
            Some(Call::Detach) => "tags.detach",
            None => "",
        }
    }

    /// Whether it is meant to change something.
    pub(crate) fn mutates(&self) -> bool {
        matches!(self.call, Some(Call::MakeCategory | Call::MakeTag | Call::Attach | Call::Detach))
    }

    /// What it is sent for, without any credential.
    pub(crate) fn text(&self) -> String {
        if self.body.is_null() { String::new() } else { self.body.to_string() }
    }

    fn machine(&self) -> Option<&str> {
        self.body.get("object_id")?.get("id")?.as_str()
    }

    /// The request in neutral words.
    pub(crate) fn arrival(&self, n: u64, by: String) -> Arrival {
        let call = match self.call {
            Some(Call::LogIn) => "log-in",
            Some(Call::LogOut) => "log-out",
            Some(Call::MakeCategory) => "make-label",
            Some(Call::MakeTag) => "make-label-value",
            Some(Call::Attach) => "label",
            Some(Call::Detach) => "unlabel",
            Some(Call::Categories | Call::Category | Call::Tag | Call::TagsOf | Call::Worn) => {
                "read-labels"
            }
            None => "read-other",
        };
        let object = self.machine().map(|id| format!("vm/{id}"));
        Arrival { n, by, call, mutates: self.mutates(), object, text: self.text() }
    }

    /// Who sends it, by his own word.
    pub(crate) fn by(&self, cookies: &std::collections::BTreeMap<String, String>) -> String {
        match &self.basic {
            Some((name, _)) => name.clone(),
            None => cookies.get(&self.token).cloned().unwrap_or_default(),
        }
    }
}

/// The call of a path. Ids begin with `id:` in the older form.
fn route(form: Form, verb: &str, rest: &str, action: &str) -> (Option<Call>, String) {
    let session = if form == Form::Api { "session" } else { "cis/session" };
    if rest == session {
        let call = match verb {
            "POST" => Some(Call::LogIn),
            "DELETE" => Some(Call::LogOut),
            _ => None,
        };
        return (call, String::new());
    }
    let Some(rest) = rest.strip_prefix("cis/tagging/") else { return (None, String::new()) };
    let (resource, id) = match rest.split_once('/') {
        None => (rest, None),
        Some((resource, id)) if form == Form::Api => (resource, Some(id)),
        Some((resource, id)) => match id.strip_prefix("id:") {
            Some(id) => (resource, Some(id)),
            None => return (None, String::new()),
        },
    };
    let call = match (verb, resource, id.is_some(), action) {
        ("GET", "category", false, "") => Some(Call::Categories),
        ("GET", "category", true, "") => Some(Call::Category),
        ("POST", "category", false, "") => Some(Call::MakeCategory),
        ("GET", "tag", true, "") => Some(Call::Tag),
        ("POST", "tag", false, "") => Some(Call::MakeTag),
        ("POST", "tag", given, "list-tags-for-category") if given == (form == Form::Rest) => {
            Some(Call::TagsOf)
        }
        ("POST", "tag-association", false, "list-attached-tags-on-objects") => Some(Call::Worn),
        ("POST", "tag-association", true, "attach") => Some(Call::Attach),
        ("POST", "tag-association", true, "detach") => Some(Call::Detach),
        _ => None,
    };
    (call, id.unwrap_or("").to_owned())
}

/// The answer to a request.
pub(crate) async fn answer(shared: &Arc<Shared>, asked: &Asked, n: u64) -> Told {
    let plain = |status: u16| Told { status, text: String::new(), no_session: status == 401 };
    let mut delay = None;
    let told = {
        let mut core = shared.core();
        let hidden = asked.form == Form::Api && core.switches.old_rest_only;
        match asked.call.filter(|_| !hidden) {
            None => plain(404),
            Some(Call::LogIn) => {
                let (name, password) = asked.basic.clone().unwrap_or_default();
                match core.tag_log_in(&name, &password) {
                    Ok(token) => done(asked, Call::LogIn, json!(token)),
                    Err(status) => {
                        delay = (status == 401).then_some(core.timing.login_delay);
                        plain(status)
                    }
                }
            }
            Some(call) => match core.tag_user(&asked.token) {
                None => plain(401),
                Some(_) if call == Call::LogOut => {
                    core.tag_log_out(&asked.token);
                    done(asked, call, Json::Null)
                }
                Some(user) => {
                    let told = match serve(&mut core, &user, call, asked) {
                        Ok(value) => done(asked, call, value),
                        Err(no) => refused(asked, &no),
                    };
                    if asked.mutates() {
                        core.note(Some(n), &Actor::Client(user));
                    }
                    told
                }
            },
        }
    };
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    told
}

fn serve(
    core: &mut super::server::Core,
    user: &str,
    call: Call,
    asked: &Asked,
) -> Result<Json, No> {
    if let Some(bad) = &asked.bad {
        return Err(bad.clone());
    }
    let spec = match asked.form {
        Form::Api => &asked.body,
        Form::Rest => &asked.body["create_spec"],
    };
    let field = |name: &str| spec[name].as_str().unwrap_or_default().to_owned();
    let kind = asked.body["object_id"]["type"].as_str().unwrap_or_default();
    let object = (kind, asked.machine().unwrap_or_default());
    Ok(match call {
        Call::LogIn | Call::LogOut => Json::Null,
        Call::Categories => json!(core.categories(user)),
        Call::Category => {
            let it = core.category(user, &asked.id)?;
            json!({
                "id": asked.id,
                "name": it.name,
                "description": it.description,
                "cardinality": if it.multiple { "MULTIPLE" } else { "SINGLE" },
                "associable_types": it.kinds,
                "used_by": [],
            })
        }
        Call::Tag => {
            let it = core.tag(user, &asked.id)?;
            json!({
                "id": asked.id,
                "name": it.name,
                "description": it.description,
                "category_id": it.category,
                "used_by": [],
            })
        }
        Call::TagsOf => json!(core.tags_of_category(user, &asked.id)?),
        Call::MakeCategory => {
            let kinds = spec["associable_types"].as_array().cloned().unwrap_or_default();
            let category = Category {
                name: field("name"),
                description: field("description"),
                multiple: match field("cardinality").as_str() {
                    "SINGLE" => false,
                    "MULTIPLE" => true,
                    other => {
                        return Err(No(400, "invalid_argument", format!("'{other}' is none.")));
                    }
                },
                kinds: kinds.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
            };
            json!(core.make_category(user, category)?)
        }
        Call::MakeTag => {
            let tag = Tag {
                name: field("name"),
                description: field("description"),
                category: field("category_id"),
            };
            json!(core.make_tag(user, tag)?)
        }
        Call::Worn => {
            let objects = asked.body["object_ids"].as_array().cloned().unwrap_or_default();
            let one = |it: &Json| {
                let id = it["id"].as_str()?;
                let tags = core.tags_on(user, id);
                // Objects without tags are left out.
                (!tags.is_empty()).then(|| json!({ "object_id": it, "tag_ids": tags }))
            };
            Json::Array(objects.iter().filter_map(one).collect())
        }
        Call::Attach => {
            core.attach(user, &asked.id, object)?;
            Json::Null
        }
        Call::Detach => {
            core.detach(user, &asked.id, object)?;
            Json::Null
        }
    })
}

fn done(asked: &Asked, call: Call, value: Json) -> Told {
    let made = matches!(call, Call::LogIn | Call::MakeCategory | Call::MakeTag);
    let (status, text) = match (asked.form, value) {
        (Form::Api, Json::Null) => (204, String::new()),
        (Form::Api, value) => (if made { 201 } else { 200 }, value.to_string()),
        (Form::Rest, Json::Null) => (200, String::new()),
        (Form::Rest, value) => (200, json!({ "value": value }).to_string()),
    };
    Told { status, text, no_session: false }
}

fn refused(asked: &Asked, No(status, kind, text): &No) -> Told {
    let messages =
        json!([{ "id": format!("cis.tagging.{kind}.error"), "default_message": text, "args": [] }]);
    let body = match asked.form {
        Form::Api => json!({ "error_type": kind.to_ascii_uppercase(), "messages": messages }),
        Form::Rest => json!({
            "type": format!("com.vmware.vapi.std.errors.{kind}"),
            "value": { "messages": messages },
        }),
    };
    Told { status: *status, text: body.to_string(), no_session: false }
}
