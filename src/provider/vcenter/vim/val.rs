//! What is sent: an ordered tree, without any wire format.
//!
//! Pure. The order of fields is the order in which they are pushed, and real servers
//! read a data object with a forward cursor: an inherited or earlier field that comes
//! late fails the whole call. So builders push fields in the order of the interface's
//! own definition, and nothing here ever sorts.

use secrecy::{ExposeSecret, SecretString};
use std::{borrow::Cow, fmt};

/// A name of a type or a field.
pub type Word = Cow<'static, str>;

/// A reference to a managed object: its type and its id within one vCenter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MoRef {
    /// The managed type: `VirtualMachine`.
    pub kind: String,
    /// The id: `vm-66`. Opaque, never parsed.
    pub value: String,
}

impl MoRef {
    /// A reference from its two parts.
    pub fn new(kind: impl Into<String>, value: impl Into<String>) -> Self {
        Self { kind: kind.into(), value: value.into() }
    }
}

impl fmt::Display for MoRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

/// A text that is shown to nobody but the server.
#[derive(Clone)]
pub struct Hidden(SecretString);

impl Hidden {
    /// The text itself, for the one place that writes it to the wire.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Hidden {}

/// One value of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Val {
    /// Text, a number, a boolean or an enum's word, where the type is known.
    Str(String),
    /// The same where the interface says `anyType`, so that the type is told.
    Typed {
        /// `string`, `int`, `long`, `boolean`, `dateTime`.
        xsd: &'static str,
        /// The value as it is spelt.
        text: String,
    },
    /// Text that is never shown.
    Secret {
        /// The type, where the interface says `anyType`.
        xsd: Option<&'static str>,
        /// The value.
        text: Hidden,
    },
    /// A reference.
    MoRef(MoRef),
    /// A data object.
    Obj {
        /// Its concrete type: needed where a field is polymorphic, and allowed everywhere.
        /// Empty where what was read is sent back and came without one.
        type_name: Word,
        /// Its fields, in the interface's order.
        fields: Vec<(Word, Val)>,
    },
    /// Several values of one field; an empty one is an unset field.
    Arr(Vec<Val>),
}

impl Val {
    /// A data object without fields.
    pub fn obj(type_name: impl Into<Word>) -> Self {
        Val::Obj { type_name: type_name.into(), fields: Vec::new() }
    }

    /// With one more field at the end. Only a data object has fields; anything else is
    /// left as it is.
    #[must_use]
    pub fn with(mut self, name: impl Into<Word>, value: impl Into<Val>) -> Self {
        if let Val::Obj { fields, .. } = &mut self {
            fields.push((name.into(), value.into()));
        }
        self
    }

    /// With one more field, when there is a value. Unset is absent, never empty.
    #[must_use]
    pub fn with_some(self, name: impl Into<Word>, value: Option<impl Into<Val>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Several values of one field.
    pub fn arr<V: Into<Val>>(values: impl IntoIterator<Item = V>) -> Self {
        Val::Arr(values.into_iter().map(Into::into).collect())
    }

    /// Text where the interface says `anyType`.
    pub fn any_text(text: impl Into<String>) -> Self {
        Val::Typed { xsd: "string", text: text.into() }
    }

    /// A number of 32 bits where the interface says `anyType`.
    pub fn any_int(number: i32) -> Self {
        Val::Typed { xsd: "int", text: number.to_string() }
    }

    /// A boolean where the interface says `anyType`.
    pub fn any_bool(value: bool) -> Self {
        Val::Typed { xsd: "boolean", text: value.to_string() }
    }

    /// Text that is never shown.
    pub fn secret(text: SecretString) -> Self {
        Val::Secret { xsd: None, text: Hidden(text) }
    }

    /// Text that is never shown, where the interface says `anyType`.
    pub fn any_secret(text: SecretString) -> Self {
        Val::Secret { xsd: Some("string"), text: Hidden(text) }
    }

    /// Every secret inside, for taking them out of what a server says.
    pub fn secrets<'a>(&'a self, found: &mut Vec<&'a str>) {
        match self {
            Val::Secret { text, .. } => found.push(text.expose()),
            Val::Obj { fields, .. } => fields.iter().for_each(|(_, it)| it.secrets(found)),
            Val::Arr(values) => values.iter().for_each(|it| it.secrets(found)),
            Val::Str(_) | Val::Typed { .. } | Val::MoRef(_) => {}
        }
    }
}

impl From<&str> for Val {
    fn from(text: &str) -> Self {
        Val::Str(text.to_owned())
    }
}

impl From<String> for Val {
    fn from(text: String) -> Self {
        Val::Str(text)
    }
}

impl From<MoRef> for Val {
    fn from(reference: MoRef) -> Self {
        Val::MoRef(reference)
    }
}

impl From<&MoRef> for Val {
    fn from(reference: &MoRef) -> Self {
        Val::MoRef(reference.clone())
    }
}

impl From<Vec<Val>> for Val {
    fn from(values: Vec<Val>) -> Self {
        Val::Arr(values)
    }
}

macro_rules! spelt_plainly {
    ($($kind:ty),*) => {
        $(impl From<$kind> for Val {
            fn from(value: $kind) -> Self {
                Val::Str(value.to_string())
            }
        })*
    };
}

spelt_plainly!(bool, i32, i64, u32, u64, usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_the_order_in_which_they_were_pushed() {
        let spec = Val::obj("ObjectSpec")
            .with("obj", MoRef::new("Folder", "group-1"))
            .with("skip", true)
            .with_some("selectSet", None::<Val>);
        let Val::Obj { fields, .. } = spec else { panic!("an object") };
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["obj", "skip"]);
    }

    #[test]
    fn a_secret_is_not_shown_and_is_found() {
        let option = Val::obj("OptionValue")
            .with("key", "guestinfo.userdata")
            .with("value", Val::any_secret("hunter2".into()));
        let spec = Val::obj("Spec").with("extraConfig", Val::arr([option]));
        assert!(!format!("{spec:?}").contains("hunter2"));
        let mut found = Vec::new();
        spec.secrets(&mut found);
        assert_eq!(found, ["hunter2"]);
    }
}
