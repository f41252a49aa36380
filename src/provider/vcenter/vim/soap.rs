//! SOAP, as the interface speaks it.
//!
//! Pure. Whatever a server sends is read within bounds: depth, elements and names in
//! scope are limited, document types are refused, and only the five entities of XML
//! itself and character references are known, so that nothing can expand.

use super::{
    codec::{Codec, DecodeError, EncodeError, Request},
    fault::{Fault, bounded},
    node::Node,
    val::Val,
};
use quick_xml::{
    NsReader, XmlVersion,
    escape::partial_escape,
    events::{BytesStart, Event},
    name::{Namespace, ResolveResult},
};

/// The prefix of a data type is not always `xsi`, so it is told by this.
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">";
/// Chains of backings and trees of snapshots are the deepest that is known: the product
/// allows 32 in a row, each two elements deep, below about ten of the message itself.
const DEPTH_MAX: usize = 200;
/// A page of 500 machines with all their devices has about 150,000.
const ELEMENTS_MAX: usize = 1_000_000;
/// An answer declares three to six names; one that declares many makes each look-up long.
const NAMESPACES_MAX: usize = 64;
/// An element has up to two types and what it declares.
const ATTRIBUTES_MAX: usize = 16;

/// The SOAP format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Soap;

impl Codec for Soap {
    fn content_type(&self) -> &'static str {
        "text/xml; charset=utf-8"
    }

    fn encode(&self, request: &Request<'_>) -> Result<Vec<u8>, EncodeError> {
        let mut out = String::with_capacity(1024);
        out.push_str(HEAD);
        if let Some(operation) = request.operation {
            out.push_str("<soapenv:Header><operationID xmlns=\"urn:vim25\">");
            text(&mut out, "operationID", operation)?;
            out.push_str("</operationID></soapenv:Header>");
        }
        let method = checked(request.method)?;
        out.push_str("<soapenv:Body><");
        out.push_str(method);
        out.push_str(" xmlns=\"urn:vim25\">");
        element(&mut out, "_this", &Val::MoRef(request.this.clone()))?;
        for (name, value) in request.args {
            element(&mut out, name, value)?;
        }
        out.push_str("</");
        out.push_str(method);
        out.push_str("></soapenv:Body></soapenv:Envelope>");
        Ok(out.into_bytes())
    }

    fn decode(&self, method: &str, status: u16, body: &[u8]) -> Result<Node, DecodeError> {
        let document = parse(body).map_err(DecodeError::Unreadable)?;
        let found = match (document.name.as_str(), document.child("Body")) {
            ("Envelope", Some(_)) => document.children.into_iter().find(|it| it.name == "Body"),
            _ => None,
        };
        let answer = found.and_then(|body| body.children.into_iter().next());
        let answer =
            answer.ok_or_else(|| DecodeError::Unreadable("not a message of SOAP".into()))?;
        if answer.name == "Fault" {
            return Err(DecodeError::Fault(Box::new(fault(answer))));
        }
        let expected = answer.name.strip_suffix("Response") == Some(method);
        if status == 200 && expected {
            return Ok(answer);
        }
        let name = bounded(&answer.name);
        let problem = format!("`{name}` with status {status} is no answer to `{method}`");
        Err(DecodeError::Unreadable(problem))
    }
}

/// One value as one element, or as one for each item of an array.
fn element(out: &mut String, name: &str, value: &Val) -> Result<(), EncodeError> {
    if let Val::Arr(values) = value {
        return values.iter().try_for_each(|value| element(out, name, value));
    }
    let name = checked(name)?;
    out.push('<');
    out.push_str(name);
    match value {
        Val::Str(content) => {
            out.push('>');
            text(out, name, content)?;
        }
        Val::Typed { xsd, text: content } => {
            typed(out, xsd)?;
            text(out, name, content)?;
        }
        Val::Secret { xsd, text: content } => {
            match xsd {
                Some(xsd) => typed(out, xsd)?,
                None => out.push('>'),
            }
            text(out, name, content.expose())?;
        }
        Val::MoRef(reference) => {
            out.push_str(" type=\"");
            out.push_str(checked(&reference.kind)?);
            out.push_str("\">");
            text(out, name, &reference.value)?;
        }
        Val::Obj { type_name, fields } => {
            // What was read without a type is of the type that its field has.
            if !type_name.is_empty() {
                out.push_str(" xsi:type=\"");
                out.push_str(checked(type_name)?);
                out.push('"');
            }
            out.push('>');
            fields.iter().try_for_each(|(name, value)| element(out, name, value))?;
        }
        // Taken care of above; an array inside of an array has no spelling of its own.
        Val::Arr(_) => out.push('>'),
    }
    out.push_str("</");
    out.push_str(name);
    out.push('>');
    Ok(())
}

fn typed(out: &mut String, xsd: &str) -> Result<(), EncodeError> {
    out.push_str(" xsi:type=\"xsd:");
    out.push_str(checked(xsd)?);
    out.push_str("\">");
    Ok(())
}

/// Names are ours or come from earlier answers, so they are looked at before they
/// become markup.
fn checked(name: &str) -> Result<&str, EncodeError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let starts = name.bytes().next().is_some_and(|it| it.is_ascii_alphabetic() || it == b'_');
    match starts && name.bytes().all(plain) {
        true => Ok(name),
        false => Err(EncodeError::Name(name.chars().take(100).collect())),
    }
}

/// Escapes. A line feed is sent as it is, but a carriage return has to be a reference:
/// every reader turns a bare one into a line feed.
fn text(out: &mut String, place: &str, content: &str) -> Result<(), EncodeError> {
    if content.chars().any(|character| !is_carried(character)) {
        return Err(EncodeError::Character(place.to_owned()));
    }
    let mut parts = content.split('\r');
    out.push_str(&partial_escape(parts.next().unwrap_or_default()));
    for part in parts {
        out.push_str("&#13;");
        out.push_str(&partial_escape(part));
    }
    Ok(())
}

/// Whether XML 1.0 can carry a character at all, also as a reference.
fn is_carried(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => true,
        '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => true,
    }
}

/// The type comes with the first element of the detail; without one nobody can tell.
fn fault(node: Node) -> Fault {
    let said = node.text_at("faultstring").unwrap_or_default().to_owned();
    let code = node.word_at("faultcode").unwrap_or("unknown fault");
    let code = code.rsplit(':').next().unwrap_or(code).to_owned();
    let detail = node.children.into_iter().find(|it| it.name == "detail");
    match detail.and_then(|detail| detail.children.into_iter().next()) {
        Some(fields) => Fault::new(&said, fields),
        None => Fault::untyped(&code, &said),
    }
}

/// The document as a tree. Iterative, so that depth costs no stack while reading.
///
/// # Errors
/// In words, without any of the document's text.
pub fn parse(body: &[u8]) -> Result<Node, String> {
    let body = std::str::from_utf8(body).map_err(|_| "the answer is not UTF-8")?;
    let mut reader = NsReader::from_str(body.strip_prefix('\u{feff}').unwrap_or(body));
    reader.resolver_mut().set_max_namespace_bindings(NAMESPACES_MAX);
    reader.config_mut().expand_empty_elements = true;
    let (mut open, mut root): (Vec<Node>, Option<Node>) = (Vec::new(), None);
    let mut elements = 0;
    loop {
        let at = reader.buffer_position();
        let broken = |_| format!("the answer is broken XML near byte {at}");
        match reader.read_event().map_err(broken)? {
            Event::Start(start) => {
                elements += 1;
                if root.is_some() || open.len() >= DEPTH_MAX || elements > ELEMENTS_MAX {
                    return Err("the answer is larger or deeper than any that is known".into());
                }
                open.push(opened(&reader, &start)?);
            }
            Event::End(_) => close(&mut open, &mut root)?,
            Event::Text(content) => said(&mut open, &content.xml10_content())?,
            Event::CData(content) => said(&mut open, &content.xml10_content())?,
            Event::GeneralRef(reference) => {
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character,
                    Ok(None) => named(&reference.xml10_content())?,
                    Err(_) => return Err("the answer refers to what is no character".into()),
                };
                said(&mut open, character.encode_utf8(&mut [0; 4]))?;
            }
            Event::DocType(_) => return Err("the answer brings a document type".into()),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            // Never with `expand_empty_elements`.
            Event::Empty(_) => return Err("an element was neither opened nor closed".into()),
            Event::Eof => break,
        }
    }
    match (open.is_empty(), root) {
        (true, Some(root)) => Ok(root),
        _ => Err("the answer ends before it is complete".into()),
    }
}

fn opened(reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<Node, String> {
    let mut node = Node::new(start.local_name().as_ref());
    // Checks for duplicates compare each attribute with all before it.
    for (index, attribute) in start.attributes().with_checks(false).enumerate() {
        if index >= ATTRIBUTES_MAX {
            return Err("an element has more attributes than any that is known".into());
        }
        let attribute = attribute.map_err(|_| "an attribute cannot be read")?;
        if attribute.key.local_name().as_ref() != "type" {
            continue;
        }
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|_| "an attribute cannot be read")?;
        match reader.resolver().resolve_attribute(attribute.key).0 {
            ResolveResult::Bound(Namespace(INSTANCE)) => {
                let name = value.rsplit(':').next().unwrap_or_default();
                node.data_type = Some(name.to_owned());
            }
            ResolveResult::Unbound => node.ref_type = Some(value.into_owned()),
            ResolveResult::Bound(_) | ResolveResult::Unknown(_) => {}
        }
    }
    Ok(node)
}

/// What stands between elements is white space; a value's text has no elements beside it.
fn close(open: &mut Vec<Node>, root: &mut Option<Node>) -> Result<(), String> {
    let mut node = open.pop().ok_or("an element ends that was not opened")?;
    if !node.children.is_empty() {
        node.text = String::new();
    }
    match open.last_mut() {
        Some(parent) => parent.children.push(node),
        None => *root = Some(node),
    }
    Ok(())
}

fn said(open: &mut [Node], content: &str) -> Result<(), String> {
    match open.last_mut() {
        Some(node) => node.text.push_str(content),
        None if content.trim().is_empty() => {}
        None => return Err("the answer is not XML".into()),
    }
    Ok(())
}

/// XML's own entities. Others need a document type, and there is none.
fn named(name: &str) -> Result<char, String> {
    match name {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err("the answer names an entity that is not XML's own".into()),
    }
}

#[cfg(test)]
#[path = "soap_tests.rs"]
mod tests;
