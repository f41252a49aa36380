//! What the WSDL says of types and methods, and the check of requests against it.
//!
//! The real server reads a data object with a cursor that only goes forward: an element out of its
//! place, an unknown one or a second one ends the whole call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::fault::Fault;
use super::xml::Elem;

/// One element of a type, one argument of a method, or one property of a managed object.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) ty: &'static str,
    pub(crate) array: bool,
    pub(crate) required: bool,
}

#[derive(Debug, Default)]
struct Type {
    base: &'static str,
    /// Own and inherited ones, inherited first.
    fields: Vec<Field>,
}

/// The whole table.
pub(crate) struct Schema {
    types: BTreeMap<&'static str, Type>,
    objects: BTreeMap<&'static str, Type>,
    methods: BTreeMap<&'static str, Vec<Field>>,
    enums: BTreeMap<&'static str, Vec<&'static str>>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::read(include_str!("schema.txt")));

/// The table.
pub(crate) fn schema() -> &'static Schema {
    &SCHEMA
}

impl Schema {
    fn read(text: &'static str) -> Self {
        let mut own: BTreeMap<(&str, &str), (&'static str, Vec<Field>)> = BTreeMap::new();
        let mut schema = Self {
            types: BTreeMap::new(),
            objects: BTreeMap::new(),
            methods: BTreeMap::new(),
            enums: BTreeMap::new(),
        };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let (Some(what), Some(name)) = (words.next(), words.next()) else { continue };
            match what {
                "enum" => {
                    schema.enums.insert(name, words.collect());
                }
                "method" => {
                    schema.methods.insert(name, words.filter_map(field).collect());
                }
                _ => {
                    let base = words.next().unwrap_or("-");
                    own.insert((what, name), (base, words.filter_map(field).collect()));
                }
            }
        }
        let keys: Vec<(&'static str, &'static str)> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                Some((words.next()?, words.next()?))
            })
            .filter(|(what, _)| matches!(*what, "type" | "object"))
            .collect();
        for (what, name) in keys {
            let mut chain = Vec::new();
            let mut at = name;
            while let Some((base, fields)) = own.get(&(what, at)) {
                chain.push(fields.clone());
                at = base;
            }
            let base = own.get(&(what, name)).map_or("-", |(base, _)| *base);
            let all = Type { base, fields: chain.into_iter().rev().flatten().collect() };
            let into = if what == "type" { &mut schema.types } else { &mut schema.objects };
            into.insert(name, all);
        }
        schema
    }

    /// The elements of a type, in their order.
    pub(crate) fn fields(&self, ty: &str) -> Option<&[Field]> {
        self.types.get(ty).map(|ty| ty.fields.as_slice())
    }

    /// The properties of a kind of managed object.
    pub(crate) fn properties(&self, kind: &str) -> Option<&[Field]> {
        self.objects.get(kind).map(|kind| kind.fields.as_slice())
    }

    /// Whether a kind of managed object is another one, or a kind of it.
    pub(crate) fn object_is(&self, kind: &str, wanted: &str) -> bool {
        is(&self.objects, kind, wanted)
    }

    /// Whether a type is another one, or a kind of it.
    pub(crate) fn is_type(&self, ty: &str, wanted: &str) -> bool {
        is(&self.types, ty, wanted)
    }

    /// Whether there is such a method.
    pub(crate) fn has_method(&self, method: &str) -> bool {
        self.methods.contains_key(method)
    }

    /// Checks the arguments of a call.
    pub(crate) fn check_call(&self, call: &Elem) -> Result<(), Fault> {
        let Some(fields) = self.methods.get(call.name.as_str()) else {
            return Err(unexpected(&call.name, "SOAP body"));
        };
        let args = Elem {
            kids: call.kids.iter().filter(|kid| kid.name != "_this").cloned().collect(),
            ..Elem::default()
        };
        if call.kids.first().is_none_or(|kid| kid.name != "_this" || kid.kind.is_empty()) {
            return Err(Fault::client(format!(
                "Required parameter _this is missing\n\nwhile parsing call information for method {}",
                call.name
            )));
        }
        if call.all("_this").count() > 1 {
            return Err(unexpected("_this", &call.name));
        }
        self.check_fields(&args, fields, &format!("call information for method {}", call.name))
    }

    /// Checks a data object of a type.
    pub(crate) fn check_object(&self, elem: &Elem, ty: &str) -> Result<(), Fault> {
        self.check_value(elem, ty)
    }

    fn check_fields(&self, elem: &Elem, fields: &[Field], of: &str) -> Result<(), Fault> {
        let mut at = 0;
        let mut seen = BTreeSet::new();
        for kid in &elem.kids {
            let found = fields[at..].iter().position(|field| field.name == kid.name);
            let Some(ahead) = found else {
                return Err(unexpected(&kid.name, of));
            };
            let before = at;
            at += ahead;
            let field = &fields[at];
            if !seen.insert(field.name) && !field.array && before == at {
                return Err(Fault::client(format!(
                    "Single property {} provided multiple times\n\nwhile parsing {of}",
                    field.name
                )));
            }
            self.check_value(kid, field.ty)?;
        }
        match fields.iter().find(|field| field.required && !seen.contains(field.name)) {
            None => Ok(()),
            Some(missing) => Err(Fault::client(format!(
                "Required property {} is missing from data object\n\nwhile parsing {of}",
                missing.name
            ))),
        }
    }

    fn check_value(&self, elem: &Elem, declared: &str) -> Result<(), Fault> {
        let given = elem.ty.as_str();
        match declared {
            "anyType" => self.check_any(elem, given),
            "ManagedObjectReference" => {
                if elem.kind.is_empty() || elem.text.trim().is_empty() {
                    return Err(bad(elem, "no type attribute or no value of a managed object"));
                }
                no_kids(elem)
            }
            _ if primitive(declared) => {
                no_kids(elem)?;
                literal(elem, declared)
            }
            _ if self.enums.contains_key(declared) => {
                no_kids(elem)?;
                let known =
                    self.enums.get(declared).is_some_and(|words| words.contains(&&*elem.text));
                if known { Ok(()) } else { Err(bad(elem, "not a value of the enumeration")) }
            }
            _ => {
                let actual = if given.is_empty() { declared } else { given };
                if !self.types.contains_key(actual) {
                    return Err(Fault::client(format!(
                        "Type {actual} is not known to this simulator\n\nwhile parsing property \"{}\"",
                        elem.name
                    )));
                }
                if !self.is_type(actual, declared) {
                    return Err(bad(elem, &format!("{actual} is no {declared}")));
                }
                if given.is_empty() && is_abstract(declared) {
                    return Err(bad(elem, "abstract type without xsi:type"));
                }
                let fields = self.fields(actual).unwrap_or_default();
                self.check_fields(elem, fields, &format!("serialized DataObject of type {actual}"))
            }
        }
    }

    fn check_any(&self, elem: &Elem, given: &str) -> Result<(), Fault> {
        if given.is_empty() {
            return Err(bad(elem, "anyType without xsi:type"));
        }
        match given.strip_prefix("xsd:") {
            Some(name) if primitive(name) => {
                no_kids(elem)?;
                literal(elem, name)
            }
            Some(_) => Err(bad(elem, "unknown primitive type")),
            None => self.check_value(elem, given),
        }
    }

    /// Whether a path can be asked for of a kind of managed object. Where it can, the answer says
    /// whether it goes through a key in brackets.
    pub(crate) fn path(&self, kind: &str, path: &str) -> Option<bool> {
        let steps = split_path(path)?;
        let mut fields = self.properties(kind)?;
        let mut keyed = false;
        for (at, step) in steps.iter().enumerate() {
            let field = fields.iter().find(|field| field.name == step.name)?;
            let last = at + 1 == steps.len();
            if step.key.is_some() {
                keyed = true;
                if !field.array {
                    return None;
                }
            } else if field.array && !last {
                return None;
            }
            if !last {
                fields = self.fields(field.ty)?;
            }
        }
        Some(keyed)
    }
}

/// One step of a property path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) key: Option<String>,
}

/// The steps of a path such as `config.extraConfig["a.b"].value`.
pub(crate) fn split_path(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    loop {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        if name.is_empty() {
            return None;
        }
        rest = &rest[end..];
        let mut key = None;
        if let Some(inner) = rest.strip_prefix('[') {
            let (text, after) = match inner.strip_prefix('"') {
                Some(quoted) => quoted.split_once("\"]")?,
                None => inner.split_once(']')?,
            };
            key = Some(text.to_owned());
            rest = after;
        }
        steps.push(Step { name, key });
        if rest.is_empty() {
            return Some(steps);
        }
        rest = rest.strip_prefix('.')?;
    }
}

fn field(word: &'static str) -> Option<Field> {
    let (name, ty) = word.split_once(':')?;
    let bare = name.trim_end_matches(['?', '*', '!']);
    Some(Field {
        name: bare,
        ty,
        array: name.contains('*'),
        required: name.ends_with('!') || name == bare,
    })
}

fn is(types: &BTreeMap<&'static str, Type>, name: &str, wanted: &str) -> bool {
    let mut at = name;
    loop {
        if at == wanted {
            return true;
        }
        match types.get(at) {
            Some(ty) => at = ty.base,
            None => return false,
        }
    }
}

/// Types of which there are only kinds.
fn is_abstract(ty: &str) -> bool {
    matches!(
        ty,
        "VirtualDevice"
            | "VirtualDeviceBackingInfo"
            | "SelectionSpec"
            | "CustomizationIdentitySettings"
            | "CustomizationName"
            | "CustomizationIpGenerator"
            | "VirtualMachineBootOptionsBootableDevice"
            | "MethodFault"
    )
}

pub(crate) fn primitive(ty: &str) -> bool {
    matches!(
        ty,
        "string"
            | "boolean"
            | "int"
            | "long"
            | "short"
            | "byte"
            | "float"
            | "double"
            | "dateTime"
            | "anyURI"
            | "base64Binary"
    )
}

fn literal(elem: &Elem, ty: &str) -> Result<(), Fault> {
    let text = elem.text.trim();
    let fits = match ty {
        "boolean" => matches!(text, "true" | "false" | "1" | "0"),
        "int" => text.parse::<i32>().is_ok(),
        "short" => text.parse::<i16>().is_ok(),
        "byte" => text.parse::<i8>().is_ok(),
        "long" => text.parse::<i64>().is_ok(),
        "float" | "double" => text.parse::<f64>().is_ok(),
        "dateTime" => super::time::parse(text).is_some(),
        _ => true,
    };
    if fits { Ok(()) } else { Err(bad(elem, &format!("`{text}` is no {ty}"))) }
}

fn no_kids(elem: &Elem) -> Result<(), Fault> {
    match elem.kids.first() {
        None => Ok(()),
        Some(kid) => Err(unexpected(&kid.name, &format!("property \"{}\"", elem.name))),
    }
}

fn unexpected(tag: &str, of: &str) -> Fault {
    Fault::client(format!("Unexpected element tag \"{tag}\" seen\n\nwhile parsing {of}"))
}

fn bad(elem: &Elem, why: &str) -> Fault {
    Fault::client(format!(
        "Deserialization error: {why}\n\nwhile parsing property \"{}\"",
        elem.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_elements_come_first() {
        let names: Vec<&str> =
            schema().fields("VirtualDisk").expect("a type").iter().map(|it| it.name).collect();
        assert_eq!(&names[..3], ["key", "deviceInfo", "backing"]);
        assert!(names.contains(&"capacityInKB"));
    }

    #[test]
    fn paths_are_known_or_not() {
        let known = |path| schema().path("VirtualMachine", path);
        assert_eq!(known("config.hardware.numCPU"), Some(false));
        assert_eq!(known("config.extraConfig[\"novahost.id\"].value"), Some(true));
        assert_eq!(known("config.nope"), None);
        assert_eq!(known("config.hardware.device.key"), None);
        assert_eq!(schema().path("ClusterComputeResource", "host"), Some(false));
    }
}
