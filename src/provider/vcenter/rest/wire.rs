//! Requests and answers as the interface spells them. Pure.
//!
//! Servers since 7.0 U2 speak the form below `/api`: plain JSON. Older ones speak the form
//! below `/rest`: arguments of a creation are wrapped in `create_spec`, ids in a path begin
//! with `id:`, actions with `~`, and every answer is wrapped in `value`.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value as Json, json};

/// Which of the two is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Below `/api`.
    Api,
    /// Below `/rest`.
    Rest,
}

/// Where sessions are made and ended.
impl Form {
    /// The path of sessions.
    pub fn session(self) -> &'static str {
        match self {
            Form::Api => "/api/session",
            Form::Rest => "/rest/com/vmware/cis/session",
        }
    }

    fn base(self) -> &'static str {
        match self {
            Form::Api => "/api/cis/tagging",
            Form::Rest => "/rest/com/vmware/cis/tagging",
        }
    }

    fn one(self, resource: &str, id: &str) -> String {
        let mark = match self {
            Form::Api => "",
            Form::Rest => "id:",
        };
        format!("{}/{resource}/{mark}{id}", self.base())
    }

    fn action(self, path: &str, action: &str) -> String {
        let mark = match self {
            Form::Api => "",
            Form::Rest => "~",
        };
        format!("{path}?{mark}action={action}")
    }

    fn all(self, resource: &str) -> String {
        format!("{}/{resource}", self.base())
    }
}

/// One question or order; nothing else is ever sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The ids of all categories that the account sees.
    Categories,
    /// One category.
    Category(String),
    /// The ids of the tags of a category.
    TagsOf(String),
    /// One tag.
    Tag(String),
    /// The tags of these machines.
    Worn(Vec<String>),
    /// Makes a category.
    MakeCategory {
        /// Its name.
        name: String,
        /// For people.
        description: String,
    },
    /// Makes a tag in a category.
    MakeTag {
        /// The category's id.
        category: String,
        /// Its name.
        name: String,
        /// For people.
        description: String,
    },
    /// Puts a tag on a machine.
    Attach {
        /// The tag's id.
        tag: String,
        /// The machine.
        machine: String,
    },
    /// Takes a tag off a machine.
    Detach {
        /// The tag's id.
        tag: String,
        /// The machine.
        machine: String,
    },
}

/// A request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whether it is a `POST`; a `GET` otherwise.
    pub post: bool,
    /// Path and query.
    pub path: String,
    /// What goes along.
    pub body: Option<Json>,
}

fn machine(id: &str) -> Json {
    json!({ "id": id, "type": "VirtualMachine" })
}

impl Ask {
    /// The request in one of the forms.
    pub fn write(&self, form: Form) -> Written {
        let get = |path| Written { post: false, path, body: None };
        let post = |path, body| Written { post: true, path, body: Some(body) };
        let make = |resource: &str, spec: Json| match form {
            Form::Api => post(form.all(resource), spec),
            Form::Rest => post(form.all(resource), json!({ "create_spec": spec })),
        };
        let association =
            |tag: &str, action| form.action(&form.one("tag-association", tag), action);
        match self {
            Ask::Categories => get(form.all("category")),
            Ask::Category(id) => get(form.one("category", id)),
            Ask::Tag(id) => get(form.one("tag", id)),
            Ask::TagsOf(category) => {
                let path = match form {
                    Form::Api => form.all("tag"),
                    Form::Rest => form.one("tag", category),
                };
                let path = form.action(&path, "list-tags-for-category");
                post(path, json!({ "category_id": category }))
            }
            Ask::Worn(machines) => {
                let path =
                    form.action(&form.all("tag-association"), "list-attached-tags-on-objects");
                let machines: Vec<Json> = machines.iter().map(|id| machine(id)).collect();
                post(path, json!({ "object_ids": machines }))
            }
            Ask::MakeCategory { name, description } => make(
                "category",
                json!({
                    "name": name,
                    "description": description,
                    "cardinality": "SINGLE",
                    "associable_types": ["VirtualMachine"],
                }),
            ),
            Ask::MakeTag { category, name, description } => make(
                "tag",
                json!({ "name": name, "description": description, "category_id": category }),
            ),
            Ask::Attach { tag, machine: id } => {
                post(association(tag, "attach"), json!({ "object_id": machine(id) }))
            }
            Ask::Detach { tag, machine: id } => {
                post(association(tag, "detach"), json!({ "object_id": machine(id) }))
            }
        }
    }

    /// Whether every id in it can stand in a path: they come from the server.
    pub fn is_sound(&self) -> bool {
        match self {
            Ask::Category(id) | Ask::TagsOf(id) | Ask::Tag(id) => is_id(id),
            Ask::Attach { tag, .. } | Ask::Detach { tag, .. } => is_id(tag),
            Ask::MakeTag { category, .. } => is_id(category),
            Ask::Categories | Ask::Worn(_) | Ask::MakeCategory { .. } => true,
        }
    }
}

/// `urn:vmomi:InventoryServiceTag:UUID:GLOBAL`.
fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":._-".contains(&byte);
    !text.is_empty() && text.len() <= 256 && text.bytes().all(fits)
}

/// A category.
#[derive(Clone, Debug, Deserialize)]
pub struct CategoryInfo {
    /// Its name.
    pub name: String,
    /// `SINGLE` or `MULTIPLE`.
    #[serde(default)]
    pub cardinality: String,
    /// The kinds of objects that can have its tags; empty for all.
    #[serde(default)]
    pub associable_types: Option<Vec<String>>,
}

/// A tag.
#[derive(Clone, Debug, Deserialize)]
pub struct TagInfo {
    /// Its name.
    pub name: String,
    /// Its category.
    pub category_id: String,
}

/// The tags of one machine.
#[derive(Clone, Debug, Deserialize)]
pub struct WornTags {
    /// The machine.
    pub object_id: ObjectId,
    /// Its tags.
    #[serde(default)]
    pub tag_ids: Option<Vec<String>>,
}

/// An object of the inventory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectId {
    /// Its managed object id.
    pub id: String,
}

/// Reads an answer. A list without entries may be left out by the older form.
pub fn read<T: DeserializeOwned>(form: Form, body: &[u8]) -> Result<T, serde_json::Error> {
    match form {
        Form::Api => serde_json::from_slice(body),
        Form::Rest => {
            let mut whole: Json = serde_json::from_slice(body)?;
            let value = whole.get_mut("value").map(Json::take).unwrap_or_default();
            serde_json::from_value(value)
        }
    }
}

/// What kind of error the server names, in capitals whichever form it is told in, and its
/// words.
pub fn trouble(body: &[u8]) -> (String, String) {
    let whole: Json = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| whole.get(key).and_then(Json::as_str);
    let kind = text("error_type").or_else(|| text("type")).unwrap_or_default();
    let kind = kind.rsplit('.').next().unwrap_or_default().to_ascii_uppercase();
    let messages = whole.get("messages").or_else(|| whole.get("value")?.get("messages"));
    let words: Vec<&str> = messages
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(|it| it.get("default_message")?.as_str())
        .collect();
    (kind, words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urn() -> String {
        "urn:vmomi:InventoryServiceTag:1-2:GLOBAL".to_owned()
    }

    #[test]
    fn each_form_spells_paths_its_own_way() {
        let path = |ask: &Ask, form| ask.write(form).path;
        let tag = Ask::Tag(urn());
        assert_eq!(path(&tag, Form::Api), format!("/api/cis/tagging/tag/{}", urn()));
        assert_eq!(
            path(&tag, Form::Rest),
            format!("/rest/com/vmware/cis/tagging/tag/id:{}", urn())
        );
        let attach = Ask::Attach { tag: urn(), machine: "vm-1".into() };
        assert!(path(&attach, Form::Api).ends_with(&format!("/{}?action=attach", urn())));
        assert!(path(&attach, Form::Rest).ends_with(&format!("/id:{}?~action=attach", urn())));
        let make = Ask::MakeCategory { name: "tenant".into(), description: String::new() };
        let spec = |form| make.write(form).body.unwrap();
        assert_eq!(spec(Form::Api), spec(Form::Rest)["create_spec"]);
        assert_eq!(spec(Form::Api)["cardinality"], "SINGLE");
    }

    #[test]
    fn answers_are_unwrapped_and_empty_lists_may_be_left_out() {
        let ids = |form, body: &str| read::<Option<Vec<String>>>(form, body.as_bytes()).unwrap();
        assert_eq!(ids(Form::Api, r#"["a"]"#), Some(vec!["a".to_owned()]));
        assert_eq!(ids(Form::Rest, r#"{"value":["a"]}"#), Some(vec!["a".to_owned()]));
        assert_eq!(ids(Form::Rest, "{}"), None);
        assert!(read::<Vec<String>>(Form::Api, b"<html>").is_err());
    }

    #[test]
    fn errors_are_named_alike_in_both_forms() {
        let api =
            br#"{"error_type":"ALREADY_EXISTS","messages":[{"default_message":"It is there."}]}"#;
        let rest = br#"{"type":"com.vmware.vapi.std.errors.already_exists","value":{"messages":[{"default_message":"It is there."}]}}"#;
        let wanted = ("ALREADY_EXISTS".to_owned(), "It is there.".to_owned());
        assert_eq!(trouble(api), wanted);
        assert_eq!(trouble(rest), wanted);
        assert_eq!(trouble(b""), (String::new(), String::new()));
    }

    #[test]
    fn an_id_that_would_change_a_path_is_not_sent() {
        for bad in ["", "a/b", "a?b", "a b", "../tag"] {
            assert!(!Ask::Tag(bad.to_owned()).is_sound(), "{bad}");
        }
        assert!(Ask::Tag(urn()).is_sound());
    }
}
