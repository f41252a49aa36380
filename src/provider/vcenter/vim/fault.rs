//! What the server refuses with, and what that proves.
//!
//! Pure. A fault comes with the answer to a call, inside of a task, or beside a
//! property that could not be read; all three are one type here. It is told by the
//! type of its data and never by its text, which is localised and may be empty.

use super::{node::Node, val::MoRef};
use std::{error::Error as StdError, fmt};

/// Characters of a server's words that are kept: they go into errors and the journal.
const TEXT_CHARACTERS_MAX: usize = 4_000;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// The type of a fault.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultKind {
            $($(#[$doc])* $kind,)*
            /// Another one of the server's types.
            Other(String),
            /// No type came with it: the message was not understood, or nobody knows.
            Untyped(String),
        }

        impl FaultKind {
            /// The kind that the server calls so.
            pub fn of(type_name: &str) -> Self {
                match type_name {
                    $(stringify!($kind) => FaultKind::$kind,)*
                    other => FaultKind::Other(other.to_owned()),
                }
            }

            /// As the server calls it.
            pub fn name(&self) -> &str {
                match self {
                    $(FaultKind::$kind => stringify!($kind),)*
                    FaultKind::Other(name) | FaultKind::Untyped(name) => name,
                }
            }
        }
    };
}

kinds! {
    /// The session is gone or never was.
    NotAuthenticated,
    /// Wrong user or password.
    InvalidLogin,
    /// A privilege is missing.
    NoPermission,
    /// The object does not exist any more.
    ManagedObjectNotFound,
    /// The name is taken.
    DuplicateName,
    /// Not possible while the machine is on, or off.
    InvalidPowerState,
    /// Another task holds the object.
    TaskInProgress,
    /// Somebody else was faster: the version that we named is not the present one.
    ConcurrentAccess,
    /// A path or a token that the server does not know.
    InvalidProperty,
    /// A type that the server does not know.
    InvalidType,
    /// An argument that the server does not take.
    InvalidArgument,
    /// A message that breaks the format.
    InvalidRequest,
    /// A device that the server does not take.
    InvalidDeviceSpec,
    /// A configuration that the server does not take.
    InvalidVmConfig,
    /// A name that the server does not take.
    InvalidName,
    /// A datastore path that the server does not take.
    InvalidDatastorePath,
    /// Not possible in this state.
    InvalidState,
    /// The collector's version is not known any more.
    InvalidCollectorVersion,
    /// A wait was cancelled, or a task was.
    RequestCanceled,
    /// A file that is in the way.
    FileAlreadyExists,
    /// A file that is not there.
    FileNotFound,
    /// A file that somebody else holds.
    FileLocked,
    /// No room on a datastore.
    NoDiskSpace,
    /// Not enough of some resource.
    InsufficientResourcesFault,
    /// Not enough memory.
    InsufficientMemoryResourcesFault,
    /// Not enough CPU.
    InsufficientCpuResourcesFault,
    /// The guest has nobody who could be asked: it has no tools, or they do not run.
    ToolsUnavailable,
    /// Something of that name is there already.
    AlreadyExists,
    /// The host is not connected.
    HostNotConnected,
    /// The host does not answer.
    HostCommunication,
    /// The host is not set up for this.
    HostConfigFault,
    /// Too slow.
    Timedout,
    /// The method does not exist here.
    MethodNotFound,
    /// Not supported here.
    NotSupported,
    /// Not implemented here.
    NotImplemented,
    /// Something else went wrong inside.
    SystemError,
    /// Something else went wrong inside.
    RuntimeFault,
}

/// One fault of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its type.
    pub kind: FaultKind,
    /// What the server says to it; may be empty.
    pub text: String,
    /// Its fields.
    pub fields: Node,
}

/// Faults without a kind of their own that the server raises before it does anything.
const REFUSALS: [&str; 5] = [
    "AuthMinimumAdminPermission",
    "InvalidDatastore",
    "NotFound",
    "QuestionPending",
    "UserNotFound",
];

impl Fault {
    /// A fault of this type, with its fields.
    pub fn new(text: &str, fields: Node) -> Self {
        let kind = match fields.data_type.as_deref().filter(|it| !it.is_empty()) {
            Some(name) => FaultKind::of(name),
            // The element of a call's fault is named after its type.
            None => match fields.name.strip_suffix("Fault") {
                Some(name) if !name.is_empty() => FaultKind::of(name),
                _ => FaultKind::Untyped("unknown fault".into()),
            },
        };
        Self { kind, text: bounded(text), fields }
    }

    /// A fault that came without a type.
    pub fn untyped(code: &str, text: &str) -> Self {
        let kind = FaultKind::Untyped(bounded(code));
        Self { kind, text: bounded(text), fields: Node::default() }
    }

    /// The fault of a task or of a property that could not be read: a
    /// `LocalizedMethodFault`.
    pub fn localized(node: &Node) -> Self {
        let text = node.text_at("localizedMessage").unwrap_or_default();
        match node.child("fault") {
            Some(fault) => Self::new(text, fault.clone()),
            None => Self::untyped("unknown fault", text),
        }
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: &FaultKind) -> bool {
        self.kind == *kind
    }

    /// The object that it speaks of, when it names one.
    pub fn object(&self) -> Option<MoRef> {
        ["obj", "object", "task"].iter().find_map(|name| self.fields.moref_at(name))
    }

    /// The privilege that was missing.
    pub fn privilege(&self) -> Option<&str> {
        self.fields.word_at("privilegeId")
    }

    /// What it finds fault with: a path, an argument, a field of a specification.
    pub fn subject(&self) -> Option<&str> {
        ["invalidProperty", "property", "name", "argument"]
            .iter()
            .find_map(|name| self.fields.word_at(name))
    }

    /// Whether a call that was answered so has certainly done nothing. Faults are checked
    /// before a call is dispatched or are its own refusal; those that only say that
    /// something broke prove nothing.
    pub fn proves_refusal(&self) -> bool {
        match &self.kind {
            FaultKind::SystemError
            | FaultKind::RuntimeFault
            | FaultKind::HostCommunication
            | FaultKind::HostNotConnected
            | FaultKind::Timedout
            | FaultKind::RequestCanceled => false,
            FaultKind::Other(name) => REFUSALS.contains(&name.as_str()),
            // The message was not understood. Any other code says nothing.
            FaultKind::Untyped(code) => {
                code == "ClientFaultCode" || code == "VersionMismatchFaultCode"
            }
            FaultKind::NotAuthenticated
            | FaultKind::InvalidLogin
            | FaultKind::NoPermission
            | FaultKind::ManagedObjectNotFound
            | FaultKind::DuplicateName
            | FaultKind::InvalidPowerState
            | FaultKind::TaskInProgress
            | FaultKind::ConcurrentAccess
            | FaultKind::InvalidProperty
            | FaultKind::InvalidType
            | FaultKind::InvalidArgument
            | FaultKind::InvalidRequest
            | FaultKind::InvalidDeviceSpec
            | FaultKind::InvalidVmConfig
            | FaultKind::InvalidName
            | FaultKind::InvalidDatastorePath
            | FaultKind::InvalidState
            | FaultKind::InvalidCollectorVersion
            | FaultKind::FileAlreadyExists
            | FaultKind::FileNotFound
            | FaultKind::FileLocked
            | FaultKind::NoDiskSpace
            | FaultKind::InsufficientResourcesFault
            | FaultKind::InsufficientMemoryResourcesFault
            | FaultKind::InsufficientCpuResourcesFault
            | FaultKind::ToolsUnavailable
            | FaultKind::AlreadyExists
            | FaultKind::HostConfigFault
            | FaultKind::MethodNotFound
            | FaultKind::NotSupported
            | FaultKind::NotImplemented => true,
        }
    }

    /// Replaces what must not be shown, wherever the server repeats it.
    #[must_use]
    pub fn without(mut self, secrets: &[&str]) -> Self {
        self.text = starred(&self.text, secrets);
        scrub(&mut self.fields, secrets);
        self
    }
}

fn scrub(node: &mut Node, secrets: &[&str]) {
    node.text = starred(&node.text, secrets);
    node.children.iter_mut().for_each(|child| scrub(child, secrets));
}

/// A text without these secrets. The longest first, since one may hold another.
pub(super) fn starred(text: &str, secrets: &[&str]) -> String {
    let mut secrets: Vec<&str> = secrets.iter().copied().filter(|it| !it.is_empty()).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "****"))
}

/// At most so much of a server's words.
pub(super) fn bounded(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(TEXT_CHARACTERS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if let Some(object) = self.object() {
            write!(f, " on {object}")?;
        }
        if let Some(subject) = self.subject() {
            write!(f, " ({})", bounded(subject))?;
        }
        if let Some(privilege) = self.privilege() {
            write!(f, ", privilege {}", bounded(privilege))?;
        }
        match self.text.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", self.text),
        }
    }
}

impl StdError for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(name: &str, text: &str) -> Node {
        Node { text: text.into(), ..Node::new(name) }
    }

    fn typed(data_type: &str, children: Vec<Node>) -> Node {
        Node { data_type: Some(data_type.into()), children, ..Node::new("fault") }
    }

    #[test]
    fn a_fault_names_what_it_is_about() {
        let mut object = leaf("object", "vm-7");
        object.ref_type = Some("VirtualMachine".into());
        let privilege = leaf("privilegeId", "VirtualMachine.Interact.PowerOn");
        let fault = Fault::new(" no ", typed("NoPermission", vec![object, privilege]));
        assert_eq!(fault.kind, FaultKind::NoPermission);
        assert_eq!(fault.object(), Some(MoRef::new("VirtualMachine", "vm-7")));
        assert_eq!(
            fault.to_string(),
            "NoPermission on VirtualMachine:vm-7, privilege VirtualMachine.Interact.PowerOn: no"
        );
    }

    #[test]
    fn a_tasks_fault_is_the_same_type() {
        let states = vec![leaf("requestedState", "poweredOff"), leaf("existingState", "poweredOn")];
        let error = Node {
            children: vec![typed("InvalidPowerState", states), leaf("localizedMessage", "on")],
            ..Node::new("error")
        };
        let fault = Fault::localized(&error);
        assert_eq!(fault.kind, FaultKind::InvalidPowerState);
        assert_eq!(fault.text, "on");
        let empty = Fault::localized(&Node::new("error"));
        assert!(matches!(empty.kind, FaultKind::Untyped(_)) && !empty.proves_refusal());
    }

    #[test]
    fn a_type_may_come_as_the_name_of_the_element_and_unknown_ones_prove_nothing() {
        let named = Fault::new("", Node::new("InvalidLoginFault"));
        assert!(named.is(&FaultKind::InvalidLogin) && named.proves_refusal());
        let other = Fault::new("", typed("VmToolsUpgradeFault", vec![]));
        assert_eq!(other.kind.name(), "VmToolsUpgradeFault");
        assert!(!other.proves_refusal());
        let deaf = Fault::new("", typed("ToolsUnavailable", vec![]));
        assert!(deaf.proves_refusal(), "nobody was asked, so nothing happened");
        assert!(Fault::untyped("ClientFaultCode", "mismatched tag").proves_refusal());
        assert!(!Fault::untyped("ServerFaultCode", "").proves_refusal());
    }

    #[test]
    fn words_are_bounded_and_secrets_are_taken_out() {
        let long = Fault::untyped("x", &"a".repeat(10_000));
        assert_eq!(long.text.len(), TEXT_CHARACTERS_MAX + 3);
        let fields = typed("InvalidArgument", vec![leaf("value", "is hunter2!")]);
        let fault = Fault::new("hunter2 is bad", fields).without(&["hunter2", ""]);
        assert!(!format!("{fault:?}").contains("hunter2"));
        assert_eq!(fault.text, "**** is bad");
    }
}
