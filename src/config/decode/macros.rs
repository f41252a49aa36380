//! The tables themselves: records, choices, texts by pattern, and forms by shape.

/// A mapping with known keys.
///
/// ```ignore
/// record! {
///     /// A disk of a machine.
///     pub struct RawDisk {
///         /// Size; grows only.
///         size: Option<Spanned<Bytes>>,
///         /// The product; `type` is not a Rust name.
///         kind as "type": Product,
///         /// Whether it is backed up.
///         backup: bool = true,
///     }
///     later { ssd, discard }
/// }
/// ```
///
/// A record is read to its end whatever is wrong with its parts; it is handed on only when each field has a value. Wrap a
/// field in [`Lenient`](super::Lenient) where the rest is worth checking without it.
///
/// A field is required unless its type has an absent value (`Option`, `Vec`, `BTreeMap`) or a default stands after `=`.
/// Fields under `later` are known to the language and not to this version: an error of their own.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                $field:ident $(as $key:literal)? : $ty:ty $(= $default:expr)?
            ),* $(,)?
        }
        $(later { $($later:ident),* $(,)? })?
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $( $(#[doc = $field_doc])* pub $field: $ty, )*
        }

        impl $name {
            /// The fields that are read, with their doc comments.
            pub const FIELDS: &'static [$crate::config::decode::FieldDoc] = &[
                $( $crate::config::decode::FieldDoc {
                    name: $crate::config::decode::record!(@key $field $($key)?),
                    doc: concat!($($field_doc, "\n",)* ""),
                }, )*
            ];

            /// Fields of the language that this version does not support.
            pub const LATER: &'static [&'static str] = &[$($(stringify!($later)),*)?];
        }

        impl $crate::config::decode::Decode for $name {
            #[allow(unused_mut, unused_variables)]
            fn decode(
                node: &$crate::config::yaml::Node,
                cx: &mut $crate::config::decode::Cx<'_>,
            ) -> Option<Self> {
                let entries = cx.mapping(node, "a mapping")?;
                $( let mut $field: Option<Option<$ty>> = None; )*
                for entry in entries {
                    match &*entry.key {
                        $( key if key == $crate::config::decode::record!(@key $field $($key)?) => {
                            $field = Some(cx.field(entry));
                        } )*
                        _ => cx.unknown_field(entry, Self::FIELDS, Self::LATER),
                    }
                }
                // Every field is settled before the first `?`, so that all problems are found.
                $( let $field: Option<$ty> = $field.unwrap_or_else(|| {
                    let absent = $crate::config::decode::record!(@absent $ty $(, $default)?);
                    if absent.is_none() {
                        cx.missing_field(node, $crate::config::decode::record!(@key $field $($key)?));
                    }
                    absent
                }); )*
                // A record with an unknown key is handed on all the same: that is reported, and what refers to the
                // record would otherwise be reported as a second problem.
                Some(Self { $( $field: $field.or_else(<$ty as $crate::config::decode::Decode>::after_error)?, )* })
            }

            #[allow(unused_mut, unused_variables)]
            fn schema(defs: &mut $crate::config::decode::Defs) -> serde_json::Value {
                defs.named(stringify!($name), |defs| {
                    let mut properties = serde_json::Map::new();
                    let mut required: Vec<&str> = Vec::new();
                    $( {
                        let key = $crate::config::decode::record!(@key $field $($key)?);
                        let schema = <$ty as $crate::config::decode::Decode>::schema(defs);
                        let doc = concat!($($field_doc, "\n",)* "");
                        properties.insert(key.to_owned(), $crate::config::decode::described(schema, doc));
                        let absent: Option<$ty> = $crate::config::decode::record!(@absent $ty $(, $default)?);
                        if absent.is_none() {
                            required.push(key);
                        }
                    } )*
                    let schema = serde_json::json!({
                        "type": "object",
                        "properties": properties,
                        "required": required,
                        "additionalProperties": false,
                    });
                    $crate::config::decode::described(schema, concat!($($doc, "\n",)* ""))
                })
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@absent $ty:ty) => { <$ty as $crate::config::decode::Decode>::absent() };
    (@absent $ty:ty, $default:expr) => { Some::<$ty>($default) };
}

/// One word of several.
///
/// ```ignore
/// choice! {
///     /// What the machine boots with.
///     pub enum Firmware {
///         /// Legacy.
///         Bios = "bios",
///         /// UEFI.
///         Uefi = "uefi",
///     }
///     later { "secure-boot" }
/// }
/// ```
#[allow(unused_macros, reason = "the tables of later sections use it")]
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        $vis:vis enum $name:ident {
            $( $(#[doc = $variant_doc:literal])* $variant:ident = $word:literal ),* $(,)?
        }
        $(later { $($later:literal),* $(,)? })?
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $name {
            $( $(#[doc = $variant_doc])* #[serde(rename = $word)] $variant, )*
        }

        impl $name {
            /// All of them, as written in YAML.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// As written in YAML.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::config::decode::Decode for $name {
            fn decode(
                node: &$crate::config::yaml::Node,
                cx: &mut $crate::config::decode::Cx<'_>,
            ) -> Option<Self> {
                let expected = format!("one of {}", Self::WORDS.join(", "));
                let text = cx.text(node, &expected)?;
                match text {
                    $( $word => Some(Self::$variant), )*
                    _ => {
                        cx.unknown_word(node, text, Self::WORDS, &[$($($later),*)?]);
                        None
                    }
                }
            }

            fn schema(defs: &mut $crate::config::decode::Defs) -> serde_json::Value {
                let words = defs.or_member(serde_json::json!({ "type": "string", "enum": Self::WORDS }));
                $crate::config::decode::described(words, concat!($($doc, "\n",)* ""))
            }
        }
    };
}

/// A text that matches a pattern, as a type of its own.
///
/// ```ignore
/// pattern! {
///     /// The project's name.
///     pub struct ProjectName = "^[a-z0-9-]{1,32}$", "1 to 32 small letters, digits and `-`";
/// }
/// ```
#[allow(unused_macros, reason = "the tables of later sections use it")]
macro_rules! pattern {
    ($( $(#[doc = $doc:literal])* $vis:vis struct $name:ident = $pattern:literal, $rule:literal; )*) => { $(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        $vis struct $name(std::sync::Arc<str>);

        impl $name {
            /// What it must match.
            pub const PATTERN: &'static str = $pattern;

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::config::scalar::ScalarError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                static REGEX: std::sync::LazyLock<Option<regex_lite::Regex>> =
                    std::sync::LazyLock::new(|| regex_lite::Regex::new($pattern).ok());
                if REGEX.as_ref().is_some_and(|regex| regex.is_match(text)) {
                    return Ok(Self(std::sync::Arc::from(text)));
                }
                let shown: String = text.chars().take(80).collect();
                Err(Self::Err::new(format!("`{shown}` cannot stand here"), concat!("expected ", $rule)))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::config::scalar::ScalarError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0.as_ref().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl $crate::config::decode::Decode for $name {
            fn decode(
                node: &$crate::config::yaml::Node,
                cx: &mut $crate::config::decode::Cx<'_>,
            ) -> Option<Self> {
                $crate::config::decode::text_value(node, cx, $rule)
            }

            fn schema(defs: &mut $crate::config::decode::Defs) -> serde_json::Value {
                $crate::config::decode::described(defs.text($pattern), concat!($($doc, "\n",)* ""))
            }
        }
    )* };
}

/// Forms that are told apart by the shape of the node: `bool`, `number`, `text`, `list`, `mapping`.
///
/// ```ignore
/// either! {
///     /// Whether and how a machine starts with its host.
///     pub enum Autostart {
///         /// Yes or no.
///         bool Flag(bool),
///         /// With order and delay.
///         mapping Ordered(RawAutostart),
///     }
/// }
/// ```
#[allow(unused_macros, reason = "the tables of later sections use it")]
macro_rules! either {
    (
        $(#[doc = $doc:literal])*
        $vis:vis enum $name:ident {
            $( $(#[doc = $variant_doc:literal])* $shape:ident $variant:ident($ty:ty) ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        $vis enum $name {
            $( $(#[doc = $variant_doc])* $variant($ty), )*
        }

        impl $crate::config::decode::Decode for $name {
            fn decode(
                node: &$crate::config::yaml::Node,
                cx: &mut $crate::config::decode::Cx<'_>,
            ) -> Option<Self> {
                use $crate::config::yaml::Value;
                $(
                    if $crate::config::decode::either!(@is $shape node) {
                        return <$ty as $crate::config::decode::Decode>::decode(node, cx).map(Self::$variant);
                    }
                )*
                let shapes: &[&str] = &[$($crate::config::decode::either!(@word $shape)),*];
                cx.wrong_type(node, &shapes.join(" or "));
                None
            }

            fn schema(defs: &mut $crate::config::decode::Defs) -> serde_json::Value {
                let forms = vec![$(
                    $crate::config::decode::described(
                        <$ty as $crate::config::decode::Decode>::schema(defs),
                        concat!($($variant_doc, "\n",)* ""),
                    )
                ),*];
                let schema = serde_json::json!({ "anyOf": forms });
                $crate::config::decode::described(schema, concat!($($doc, "\n",)* ""))
            }
        }
    };
    (@is bool $node:ident) => { matches!($node.value, Value::Bool(_)) };
    (@is number $node:ident) => { matches!($node.value, Value::Int(_) | Value::Float(_)) };
    (@is text $node:ident) => { matches!($node.value, Value::Str(_)) };
    (@is list $node:ident) => { matches!($node.value, Value::Seq(_)) };
    (@is mapping $node:ident) => { matches!($node.value, Value::Map(_)) };
    (@word bool) => { "`true` or `false`" };
    (@word number) => { "a number" };
    (@word text) => { "a text" };
    (@word list) => { "a list" };
    (@word mapping) => { "a mapping" };
}

#[allow(unused_imports, reason = "the tables of later sections use them")]
pub(crate) use {choice, either, pattern, record};
