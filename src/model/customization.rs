//! Guests that the product itself sets up before their first start, where nothing in the
//! image reads first-boot documents: Windows by its own setup, or whatever a description
//! says that the product keeps under a name. None of it can be read back.

use super::{DeviceName, IpSetting, SecretRef};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// How a guest is set up, once, before its first start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customization {
    /// Who it is to be.
    pub identity: GuestIdentity,
    /// Names and addresses. Empty in what was declared: a product's `normalize` takes them
    /// from the fields of that name, so that nothing is compared which cannot be read back.
    #[serde(default, skip_serializing_if = "Told::is_empty")]
    pub told: Told,
}

/// Who a guest is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum GuestIdentity {
    /// A Windows that is set up by its own `sysprep`.
    Windows(Box<WindowsSetup>),
    /// What a description says that the product keeps under this name.
    Kept(String),
}

/// What `sysprep` asks for. The password of `Administrator` is that of the first-boot
/// configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowsSetup {
    /// Whom it is registered to.
    pub organization: String,
    /// Its time zone, by its IANA name; absent = UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Where the product key comes from; absent = the image has a volume licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_key: Option<SecretRef>,
    /// The domain that it joins; absent = the workgroup `WORKGROUP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<DomainJoin>,
    /// Commands that run once, at one logon of `Administrator` that happens by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run_once: Vec<String>,
}

/// A Windows domain, and who may let a machine into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainJoin {
    /// Its name.
    pub domain: String,
    /// An account that may add machines.
    pub user: String,
    /// Where its password comes from; never its value.
    pub password: SecretRef,
}

/// Names and addresses that a guest is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Host name; absent = what the description says, or the machine's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// DNS domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Resolvers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<IpAddr>>,
    /// Cards that are told an address, or to ask for one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nics: BTreeMap<DeviceName, ToldNic>,
}

impl Told {
    /// Whether nothing is told.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The address of one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToldNic {
    /// How it gets its address.
    pub ip: IpSetting,
    /// Its gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// Which of a guest's secrets one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InitSecret {
    /// The password of its user.
    Password,
    /// The password of whoever lets it into a domain.
    JoinPassword,
    /// The product key.
    ProductKey,
}

impl Customization {
    /// Its secrets beside the password of the user, each with where it comes from.
    pub fn secrets(&self) -> impl Iterator<Item = (InitSecret, &SecretRef)> {
        let windows = match &self.identity {
            GuestIdentity::Windows(windows) => Some(windows),
            GuestIdentity::Kept(_) => None,
        };
        let join = windows.and_then(|it| it.join.as_ref()).map(|it| &it.password);
        let key = windows.and_then(|it| it.product_key.as_ref());
        let all = [(InitSecret::JoinPassword, join), (InitSecret::ProductKey, key)];
        all.into_iter().filter_map(|(place, secret)| Some((place, secret?)))
    }
}
