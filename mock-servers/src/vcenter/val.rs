//! Values of answers, and how they are written.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::schema::{primitive, schema, split_path};
use super::xml::{Elem, escape};

/// Names and types, mostly constants.
pub(crate) type Word = Cow<'static, str>;

/// A value with its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Val {
    /// A primitive or an enumeration, with its type.
    Text(Word, String),
    /// A managed object: kind and id.
    Ref(Word, String),
    /// A data object. Its fields are written in the order of the schema.
    Obj(Word, Vec<(Word, Val)>),
    /// Several, with the type of the elements.
    Arr(Word, Vec<Val>),
    /// What was sent, given back as it came.
    Raw(Elem),
}

/// A text.
pub(crate) fn text(value: impl Into<String>) -> Val {
    Val::Text("string".into(), value.into())
}

/// A truth value.
pub(crate) fn flag(value: bool) -> Val {
    Val::Text("boolean".into(), value.to_string())
}

/// A number of 32 bits.
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn int(value: impl ToString) -> Val {
    Val::Text("int".into(), value.to_string())
}

/// A number of 64 bits.
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn long(value: impl ToString) -> Val {
    Val::Text("long".into(), value.to_string())
}

/// A number of 16 bits.
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn short(value: impl ToString) -> Val {
    Val::Text("short".into(), value.to_string())
}

/// A time in milliseconds since the epoch.
pub(crate) fn time(ms: u64) -> Val {
    Val::Text("dateTime".into(), super::time::format(ms))
}

/// A word of an enumeration.
pub(crate) fn word(ty: &'static str, value: &str) -> Val {
    Val::Text(ty.into(), value.to_owned())
}

/// A data object.
pub(crate) fn obj(ty: &'static str, fields: Vec<(&'static str, Val)>) -> Val {
    let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
    Val::Obj(ty.into(), fields)
}

/// Several of a type.
pub(crate) fn arr(ty: &'static str, items: Vec<Val>) -> Val {
    Val::Arr(ty.into(), items)
}

/// Several references.
pub(crate) fn refs(items: Vec<Val>) -> Val {
    arr("ManagedObjectReference", items)
}

impl Val {
    /// The part of it that the rest of a path names. An element that is not there is none.
    pub(crate) fn dig(&self, path: &str) -> Option<Val> {
        let steps = split_path(path)?;
        let mut at = self.clone();
        for (number, step) in steps.iter().enumerate() {
            if number > 0 {
                let Val::Obj(_, fields) = at else { return None };
                at = fields.into_iter().find(|(name, _)| *name == step.name)?.1;
            }
            if let Some(key) = &step.key {
                let Val::Arr(_, items) = at else { return None };
                at = items.into_iter().find(|item| item.has_key(key))?;
            }
        }
        Some(at)
    }

    fn has_key(&self, wanted: &str) -> bool {
        match self {
            Val::Obj(_, fields) => fields.iter().any(|(name, value)| {
                name == "key" && matches!(value, Val::Text(_, key) if key == wanted)
            }),
            Val::Ref(_, id) => id == wanted,
            Val::Text(..) | Val::Arr(..) | Val::Raw(_) => false,
        }
    }
}

/// Writes a value as an element. `declared` is the type that the reader expects there.
pub(crate) fn write(out: &mut String, name: &str, value: &Val, declared: &str) {
    match value {
        Val::Text(ty, text) => {
            open(out, name, None, if declared == "anyType" { Some(ty) } else { None });
            escape(out, text);
        }
        Val::Ref(kind, id) => {
            let ty: Word = "ManagedObjectReference".into();
            let shown = if declared == "ManagedObjectReference" { None } else { Some(&ty) };
            open(out, name, Some(kind), shown);
            escape(out, id);
        }
        Val::Obj(ty, fields) => {
            open(out, name, None, if declared == ty { None } else { Some(ty) });
            write_fields(out, ty, fields);
        }
        Val::Arr(ty, items) => {
            let list: Word = format!("ArrayOf{}{}", ty[..1].to_uppercase(), &ty[1..]).into();
            open(out, name, None, Some(&list));
            for item in items {
                write(out, ty, item, ty);
            }
        }
        Val::Raw(elem) => {
            let ty: Word = elem.ty.clone().into();
            let kind: Word = elem.kind.clone().into();
            let some = |word: &Word| if word.is_empty() { None } else { Some(word.clone()) };
            let raw_type = some(&ty)
                .map(|ty| ty.strip_prefix("xsd:").map_or(ty.clone(), |it| it.to_owned().into()));
            open(out, name, some(&kind).as_ref(), raw_type.as_ref());
            if elem.kids.is_empty() {
                escape(out, &elem.text);
            }
            for kid in &elem.kids {
                write(out, &kid.name, &Val::Raw(kid.clone()), "");
            }
        }
    }
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

fn write_fields(out: &mut String, ty: &str, fields: &[(Word, Val)]) {
    let order = schema().fields(ty).unwrap_or_default();
    debug_assert!(
        fields.iter().all(|(name, _)| order.iter().any(|field| field.name == name)),
        "{ty}: {fields:?}"
    );
    for field in order {
        let Some((_, value)) = fields.iter().find(|(name, _)| name == field.name) else { continue };
        match value {
            Val::Arr(_, items) if field.array => {
                for item in items {
                    write(out, field.name, item, field.ty);
                }
            }
            other => write(out, field.name, other, field.ty),
        }
    }
}

fn open(out: &mut String, name: &str, kind: Option<&Word>, ty: Option<&Word>) {
    out.push('<');
    out.push_str(name);
    if let Some(kind) = kind {
        out.push_str(" type=\"");
        escape(out, kind);
        out.push('"');
    }
    if let Some(ty) = ty {
        out.push_str(" xsi:type=\"");
        if primitive(ty) {
            out.push_str("xsd:");
        }
        escape(out, ty);
        out.push('"');
    }
    out.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_in_the_order_of_the_schema() {
        let value = obj("OptionValue", vec![("value", text("<1>")), ("key", text("a"))]);
        let mut out = String::new();
        write(&mut out, "x", &value, "OptionValue");
        assert_eq!(out, "<x><key>a</key><value xsi:type=\"xsd:string\">&lt;1&gt;</value></x>");
        let list = arr("OptionValue", vec![value]);
        assert_eq!(list.dig("extraConfig[\"a\"].value"), Some(text("<1>")));
        assert_eq!(list.dig("extraConfig[\"b\"].value"), None);
    }
}
