//! What the setup of a Windows is told.

use crate::config::decode::{Keyed, pattern, record};
use crate::config::scalar::{SecretRef, Spanned};

pattern! {
    /// A line for people, or a name that somebody else gave.
    pub struct PlainLine = "^[^\\s\\x00-\\x1f\\x7f](?:[^\\x00-\\x1f\\x7f]{0,253}[^\\s\\x00-\\x1f\\x7f])?$",
        "one line of up to 255 characters, without blanks around it";
    /// A time zone of the IANA database.
    pub struct ZoneText = "^[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}$",
        "the name of a time zone, such as `Europe/Paris`, or `UTC`";
}

record! {
    /// What `sysprep` is told of a Windows, once, before its first start. Later changes are made while the machine is off.
    pub struct RawWindows {
        /// Whom it is registered to.
        organization: PlainLine,
        /// Its product key, by reference. Absent: the image's licence.
        product_key: Option<Spanned<SecretRef>>,
        /// The domain that it joins. Absent: the workgroup `WORKGROUP`.
        join: Option<Keyed<RawJoin>>,
        /// Commands that run once. For that, Administrator is logged on once by itself, so `init.password` is needed.
        /// They are shown in plans and kept in the journal: no secrets in them.
        run_once: Vec<PlainLine>,
    }
    later { unattend }
}

record! {
    /// A Windows domain, and who lets the machine in.
    pub struct RawJoin {
        /// Its DNS name.
        domain: PlainLine,
        /// An account that may add machines to it.
        user: PlainLine,
        /// The password of that account, by reference.
        password: Spanned<SecretRef>,
    }
    later { ou }
}
