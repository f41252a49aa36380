//! XML as an ordered tree, with the attributes that SOAP messages use.

use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::{NsReader, XmlVersion};
use serde::{Deserialize, Serialize};

/// Namespace of `xsi:type`.
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// Namespace of the primitive types.
const SCHEMA: &str = "http://www.w3.org/2001/XMLSchema";
/// Deeper trees are refused, so that no request can exhaust the stack.
const DEPTH_MAX: usize = 64;

/// One element.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elem {
    /// Name without prefix.
    pub name: String,
    /// The attribute `type` without a namespace: the kind of a managed object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The attribute `type` of the schema namespace, such as `xsd:string` or `VirtualDisk`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ty: String,
    /// Its own text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Children, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kids: Vec<Elem>,
}

impl Elem {
    /// First child of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Elem> {
        self.kids.iter().find(|kid| kid.name == name)
    }

    /// All children of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Elem> {
        self.kids.iter().filter(move |kid| kid.name == name)
    }

    /// Text of a child.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name).map(|kid| kid.text.as_str())
    }

    /// A child as a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text_of(name)?.trim().parse().ok()
    }

    /// A child as a truth value.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.text_of(name).map(|text| matches!(text.trim(), "true" | "1"))
    }
}

/// Reads one document.
pub(crate) fn parse(text: &str) -> Result<Elem, String> {
    let mut reader = NsReader::from_str(text);
    let mut open: Vec<Elem> = Vec::new();
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) => {
                if open.len() == DEPTH_MAX {
                    return Err("too deep".to_owned());
                }
                open.push(begin(&reader, &start)?);
            }
            Event::Empty(start) => {
                let elem = begin(&reader, &start)?;
                match open.last_mut() {
                    Some(parent) => parent.kids.push(elem),
                    None => return Ok(elem),
                }
            }
            Event::End(_) => {
                let Some(elem) = open.pop() else { return Err("no element is open".to_owned()) };
                match open.last_mut() {
                    Some(parent) => parent.kids.push(elem),
                    None => return Ok(elem),
                }
            }
            Event::Text(text) => push(&mut open, &text.xml10_content()),
            Event::CData(text) => push(&mut open, &text.xml10_content()),
            Event::GeneralRef(entity) => {
                let known = match &*entity.xml10_content() {
                    "amp" => Some('&'),
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "quot" => Some('"'),
                    "apos" => Some('\''),
                    _ => entity.resolve_char_ref().map_err(|error| error.to_string())?,
                };
                push(&mut open, known.ok_or("undefined entity")?.encode_utf8(&mut [0; 4]));
            }
            Event::DocType(_) => return Err("no document types".to_owned()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => return Err("no element found".to_owned()),
        }
    }
}

fn push(open: &mut [Elem], text: &str) {
    if let Some(elem) = open.last_mut() {
        elem.text.push_str(text);
    }
}

fn begin(reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<Elem, String> {
    let mut elem = Elem { name: start.local_name().into_inner().to_owned(), ..Elem::default() };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let (space, local) = reader.resolver().resolve_attribute(attribute.key);
        if local.into_inner() != "type" {
            continue;
        }
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|error| error.to_string())?;
        match space {
            ResolveResult::Bound(space) if space.into_inner() == INSTANCE => {
                elem.ty = resolved(reader, &value);
            }
            ResolveResult::Bound(_) | ResolveResult::Unbound | ResolveResult::Unknown(_) => {
                elem.kind = value.into_owned();
            }
        }
    }
    Ok(elem)
}

/// A type's name: primitives with the prefix `xsd:`, all others without any.
fn resolved(reader: &NsReader<&[u8]>, name: &str) -> String {
    let Some((_, local)) = name.split_once(':') else { return name.to_owned() };
    let (space, _) = reader.resolver().resolve_element(quick_xml::name::QName(name));
    match space {
        ResolveResult::Bound(space) if space.into_inner() == SCHEMA => format!("xsd:{local}"),
        ResolveResult::Bound(_) | ResolveResult::Unbound | ResolveResult::Unknown(_) => {
            local.to_owned()
        }
    }
}

/// Text as it stands inside an element or an attribute.
pub(crate) fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_do_not_matter_but_namespaces_do() {
        let text = r#"<e:a xmlns:e="x" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"
            xmlns:s="http://www.w3.org/2001/XMLSchema"><b type="VirtualMachine" i:type="s:int">1 &amp; &#50;</b></e:a>"#;
        let tree = parse(text).expect("a tree");
        let b = tree.get("b").expect("b");
        assert_eq!((b.kind.as_str(), b.ty.as_str()), ("VirtualMachine", "xsd:int"));
        assert_eq!((tree.name.as_str(), b.text.as_str()), ("a", "1 & 2"));
        assert!(parse("<a><b></a>").is_err());
    }
}
