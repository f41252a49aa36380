//! Failures as the API tells them.

use serde::{Deserialize, Serialize};

use super::val::{Val, Word, flag, int, long, obj, text, word, write};
use super::xml::escape;

/// One failure: of a call, or of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// The type of the fault.
    pub(crate) ty: Word,
    /// Its fields.
    pub(crate) fields: Vec<(Word, Val)>,
    /// Text for people.
    pub(crate) message: String,
    /// The request could not even be read.
    pub(crate) client: bool,
}

/// What a handler gives.
pub(crate) type Outcome<T> = Result<T, Fault>;

impl Fault {
    pub(crate) fn new(
        ty: &'static str,
        message: impl Into<String>,
        fields: Vec<(&'static str, Val)>,
    ) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Self { ty: ty.into(), fields, message: message.into(), client: false }
    }

    /// A request that is no request.
    pub(crate) fn client(message: String) -> Self {
        Self { client: true, ..Self::new("InvalidRequest", message, vec![]) }
    }

    pub(crate) fn not_authenticated(on: Val) -> Self {
        let fields = vec![("object", on), ("privilegeId", text("System.View"))];
        Self::new("NotAuthenticated", "The session is not authenticated.", fields)
    }

    pub(crate) fn no_permission(on: Val, privilege: &str) -> Self {
        let fields = vec![("object", on), ("privilegeId", text(privilege))];
        Self::new("NoPermission", "Permission to perform this operation was denied.", fields)
    }

    pub(crate) fn gone(kind: &str, id: &str) -> Self {
        let message = format!(
            "The object 'vim.{kind}:{id}' has already been deleted or has not been completely created"
        );
        let on = Val::Ref(kind.to_owned().into(), id.to_owned());
        Self::new("ManagedObjectNotFound", message, vec![("obj", on)])
    }

    pub(crate) fn argument(property: &str) -> Self {
        let message = format!("A specified parameter was not correct: {property}");
        Self::new("InvalidArgument", message, vec![("invalidProperty", text(property))])
    }

    pub(crate) fn property(name: &str) -> Self {
        Self::new("InvalidProperty", format!("Invalid property {name}"), vec![("name", text(name))])
    }

    pub(crate) fn duplicate(name: &str, other: Val) -> Self {
        let message = format!("The name '{name}' already exists.");
        Self::new("DuplicateName", message, vec![("name", text(name)), ("object", other)])
    }

    pub(crate) fn power(requested: Option<&str>, existing: &str) -> Self {
        let message = format!(
            "The attempted operation cannot be performed in the current state ({}).",
            match existing {
                "poweredOn" => "Powered on",
                "suspended" => "Suspended",
                _ => "Powered off",
            }
        );
        let mut fields = vec![("existingState", word("VirtualMachinePowerState", existing))];
        if let Some(state) = requested {
            fields.push(("requestedState", word("VirtualMachinePowerState", state)));
        }
        Self::new("InvalidPowerState", message, fields)
    }

    pub(crate) fn state(why: &str) -> Self {
        Self::new("InvalidState", why, vec![])
    }

    pub(crate) fn busy(task: &str) -> Self {
        let on = Val::Ref("Task".into(), task.to_owned());
        Self::new("TaskInProgress", "Another task is already in progress.", vec![("task", on)])
    }

    pub(crate) fn no_space(datastore: &str) -> Self {
        let message = format!("Insufficient disk space on datastore '{datastore}'.");
        let fields = vec![("file", text(format!("[{datastore}]"))), ("datastore", text(datastore))];
        Self::new("NoDiskSpace", message, fields)
    }

    pub(crate) fn no_memory(unreserved: u64, requested: u64) -> Self {
        let message = "The available memory resources in the parent resource pool are insufficient for the operation.";
        let fields = vec![("unreserved", long(unreserved)), ("requested", long(requested))];
        Self::new("InsufficientMemoryResourcesFault", message, fields)
    }

    pub(crate) fn device(ty: &'static str, property: &str, index: usize) -> Self {
        let message = match ty {
            "InvalidDeviceOperation" => format!("Invalid operation for device '{index}'."),
            _ => format!("Invalid configuration for device '{index}'."),
        };
        Self::new(ty, message, vec![("property", text(property)), ("deviceIndex", int(index))])
    }

    pub(crate) fn unsupported(what: &str) -> Self {
        Self::new(
            "NotSupported",
            format!("The operation is not supported on the object: {what}"),
            vec![],
        )
    }

    pub(crate) fn system(reason: &str) -> Self {
        let message = format!("A general system error occurred: {reason}");
        Self::new("SystemError", message, vec![("reason", text(reason))])
    }

    pub(crate) fn user_unknown(name: &str) -> Self {
        let fields = vec![("principal", text(name)), ("unresolved", flag(false))];
        Self::new("UserNotFound", "The specified principal could not be found.", fields)
    }

    /// The fault as a data object.
    pub(crate) fn value(&self) -> Val {
        Val::Obj(self.ty.clone(), self.fields.clone())
    }

    /// The fault with its text, as tasks and missing properties carry it.
    pub(crate) fn localized(&self) -> Val {
        let fields =
            vec![("fault", self.value()), ("localizedMessage", text(self.message.clone()))];
        obj("LocalizedMethodFault", fields)
    }

    /// The body of a failed call.
    pub(crate) fn body(&self) -> String {
        let code = if self.client { "ClientFaultCode" } else { "ServerFaultCode" };
        let mut out = format!("<soapenv:Fault><faultcode>{code}</faultcode><faultstring>");
        escape(&mut out, &self.message);
        out.push_str("</faultstring><detail>");
        let name = format!("{}Fault", self.ty);
        let mut detail = String::new();
        write(&mut detail, &name, &self.value(), "");
        let start = format!("<{name}");
        out.push_str(&detail.replacen(&start, &format!("{start} xmlns=\"urn:vim25\""), 1));
        out.push_str("</detail></soapenv:Fault>");
        out
    }
}

/// A fault whose type has no place for a detail.
pub(crate) fn untyped_body(code: &str, message: &str) -> String {
    let mut out = format!("<soapenv:Fault><faultcode>{code}</faultcode><faultstring>");
    escape(&mut out, message);
    out.push_str("</faultstring></soapenv:Fault>");
    out
}
