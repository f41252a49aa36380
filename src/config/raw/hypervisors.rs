//! Hypervisors as they are written: one table per product, told apart by `type`.

use super::words::{NodeText, StorageText};
use super::{Endpoint, Fingerprint, PathText, RealmUser, TokenId};
use crate::config::decode::{Cx, Decode, Defs, Int, choice, pattern, record};
use crate::config::diagnostic::Diagnostic;
use crate::config::scalar::{IdRange, SecretRef, Spanned};
use crate::config::yaml::Node;
use crate::model::HypervisorConfig;
use serde_json::{Value as Json, json};

choice! {
    /// The product.
    pub enum Product {
        /// Proxmox VE 8 or 9, a node or a cluster.
        Proxmox = "proxmox",
        /// VMware vCenter.
        Vcenter = "vcenter",
    }
    later { "nutanix", "workstation" }
}

impl Product {
    /// The product of a configured hypervisor.
    pub fn of(config: &HypervisorConfig) -> Self {
        match config {
            HypervisorConfig::Proxmox(_) => Self::Proxmox,
            HypervisorConfig::Vcenter(_) => Self::Vcenter,
        }
    }

    /// What a hypervisor of it is, in messages.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Proxmox => "Proxmox VE",
            Self::Vcenter => "a vCenter",
        }
    }
}

// One word each, so that the schema tells the tables of the products apart as the reader does.
choice! {
    /// Proxmox VE 8 or 9, a node or a cluster.
    pub enum ProxmoxWord {
        /// The only word.
        Proxmox = "proxmox",
    }
}

choice! {
    /// VMware vCenter.
    pub enum VcenterWord {
        /// The only word.
        Vcenter = "vcenter",
    }
}

record! {
    /// A hypervisor: one cluster, or one node of its own.
    pub struct RawProxmox {
        /// The product.
        kind as "type": ProxmoxWord,
        /// Where its API is, `https://HOST:PORT`.
        endpoint: Option<Spanned<Endpoint>>,
        /// The same for a cluster: the next one is used when one is down.
        endpoints: Vec<Spanned<Endpoint>>,
        /// How to log in.
        auth: RawAuth,
        /// How its certificate is checked. Absent: system roots, or the pins of the trust settings.
        tls: Option<RawTls>,
        /// Ids that new machines may take, `20000-99999` unless written.
        vmid_range: Option<Spanned<IdRange>>,
        /// Which nodes get new machines.
        nodes: Option<RawNodes>,
        /// What is used where a machine says nothing.
        defaults: Option<RawDefaults>,
        /// How much is asked of it at a time.
        limits: Option<RawLimits>,
    }
}

record! {
    /// An API token.
    pub struct RawToken {
        /// `USER@REALM!TOKEN`.
        token_id: TokenId,
        /// Its secret, by reference.
        token_secret: SecretRef,
    }
}

record! {
    /// A user with a password. A few settings of Proxmox VE can only be written by `root@pam`.
    pub struct RawLogin {
        /// `USER@REALM`.
        username: RealmUser,
        /// The password, by reference.
        password: SecretRef,
    }
    later { api_key }
}

record! {
    /// How a certificate is checked.
    pub struct RawTls {
        /// A file with the CA's certificate, relative to this file.
        ca_file: Option<Spanned<PathText>>,
        /// SHA-256 of certificates; a cluster has one per node.
        fingerprints: Vec<Fingerprint>,
    }
}

record! {
    /// Which nodes get new machines.
    pub struct RawNodes {
        /// Only these. Absent: any.
        allow: Option<Vec<NodeText>>,
        /// Not these, for now. Machines that are there stay.
        maintenance: Vec<NodeText>,
    }
}

record! {
    /// What is used where a machine says nothing.
    pub struct RawDefaults {
        /// The node that is preferred when nothing else decides.
        node: Option<NodeText>,
        /// Where disks go.
        storage: Option<StorageText>,
    }
}

record! {
    /// How much is asked of a hypervisor at a time.
    pub struct RawLimits {
        /// Requests in flight when reading.
        reads: Int<1, 256> = Int(16),
        /// Actions in flight when writing.
        writes: Int<1, 64> = Int(4),
    }
}

pattern! {
    /// Where the API of a vCenter is reached.
    pub struct VcenterEndpoint = "^https://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\])(?::[1-9][0-9]{0,4})?/?$",
        "`https://HOST` or `https://HOST:PORT`, without a path";
    /// A user of a vCenter.
    pub struct SsoUser = "^(?:[^\\s@/\\\\]+@[A-Za-z0-9][A-Za-z0-9._-]*|[A-Za-z0-9][A-Za-z0-9._-]*\\\\[^\\s@/\\\\]+)$",
        "`USER@DOMAIN`, such as `novahost@vsphere.local`";
    /// What something is called in a vCenter.
    pub struct InventoryName = "^[^ /\\u0000-\\u001F\\u007F](?:[^/\\u0000-\\u001F\\u007F]{0,78}[^ /\\u0000-\\u001F\\u007F])?$",
        "a name as vCenter shows it: up to 80 characters, without `/`";
    /// Folders of a vCenter, from outside to inside.
    pub struct FolderPath = "^[^ /\\u0000-\\u001F\\u007F](?:[^/\\u0000-\\u001F\\u007F]{0,78}[^ /\\u0000-\\u001F\\u007F])?(?:/[^ /\\u0000-\\u001F\\u007F](?:[^/\\u0000-\\u001F\\u007F]{0,78}[^ /\\u0000-\\u001F\\u007F])?)*$",
        "a folder below the datacenter's folder of machines, such as `Tenants/acme`";
    /// Resource pools of a vCenter, from outside to inside.
    pub struct SharePath = "^/?[^ /\\u0000-\\u001F\\u007F](?:[^/\\u0000-\\u001F\\u007F]{0,78}[^ /\\u0000-\\u001F\\u007F])?(?:/[^ /\\u0000-\\u001F\\u007F](?:[^/\\u0000-\\u001F\\u007F]{0,78}[^ /\\u0000-\\u001F\\u007F])?)*$",
        "a resource pool, such as `acme`, or its path below the cluster's root, such as `/Tenants/acme`";
    /// A port group of a vCenter.
    pub struct Portgroup = "^/?[^ /\\u0000-\\u001F\\u007F](?:[^/\\u0000-\\u001F\\u007F]{0,78}[^ /\\u0000-\\u001F\\u007F])?(?:/[^ /\\u0000-\\u001F\\u007F](?:[^/\\u0000-\\u001F\\u007F]{0,78}[^ /\\u0000-\\u001F\\u007F])?)*$",
        "the name of a port group, such as `VM Network`, or its inventory path";
}

record! {
    /// A vCenter, with all hosts and clusters that it manages.
    pub struct RawVcenter {
        /// The product.
        kind as "type": VcenterWord,
        /// Where its API is, `https://HOST`.
        endpoint: Spanned<VcenterEndpoint>,
        /// How to log in.
        auth: RawVcenterAuth,
        /// How its certificate is checked. Absent: system roots, or the pins of the trust settings.
        tls: Option<RawTls>,
        /// What is used where a machine says nothing.
        defaults: Option<RawVcenterDefaults>,
        /// How much is asked of it at a time.
        limits: Option<RawVcenterLimits>,
    }
}

record! {
    /// A user with a password.
    pub struct RawVcenterLogin {
        /// `USER@DOMAIN`.
        username: SsoUser,
        /// The password, by reference.
        password: SecretRef,
    }
}

record! {
    /// What is used where a machine says nothing.
    pub struct RawVcenterDefaults {
        /// The datacenter that machines are in. Absent: the only one.
        datacenter: Option<InventoryName>,
        /// The cluster, or the host that is in none, that is preferred when nothing else decides.
        cluster: Option<InventoryName>,
        /// Where disks go.
        datastore: Option<InventoryName>,
        /// The folder of new machines, below the datacenter's folder of machines.
        folder: Option<FolderPath>,
    }
    later { host }
}

record! {
    /// How much is asked of a vCenter at a time.
    pub struct RawVcenterLimits {
        /// Requests in flight when reading.
        reads: Int<1, 256> = Int(4),
        /// Actions in flight when writing.
        writes: Int<1, 64> = Int(8),
    }
}

/// How to log in to Proxmox VE: a token, or a user with a password.
#[derive(Debug, Clone, PartialEq)]
pub enum RawAuth {
    /// An API token.
    Token(RawToken),
    /// A user with a password.
    Login(RawLogin),
}

impl Decode for RawAuth {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        // Told apart by their keys, so that a slip in one form is not reported against the other.
        let has = |key| node.get(key).is_some();
        let token = has("token_id") || has("token_secret");
        if !token && (has("username") || has("password") || has("api_key")) {
            return RawLogin::decode(node, cx).map(Self::Login);
        }
        if token && (has("username") || has("password")) {
            // Neither form is read, so nothing else hides what may be a secret in it.
            cx.mask(node.span);
            let message = "a token and a user at once";
            let problem = Diagnostic::error("conflict", cx.key_span(node), message);
            cx.push(
                problem.help("keep `token_id` and `token_secret`, or `username` and `password`"),
            );
            return None;
        }
        RawToken::decode(node, cx).map(Self::Token)
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({ "anyOf": [RawToken::schema(defs), RawLogin::schema(defs)] })
    }
}

/// How to log in to a vCenter.
#[derive(Debug, Clone, PartialEq)]
pub struct RawVcenterAuth(pub RawVcenterLogin);

impl Decode for RawVcenterAuth {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if ["token_id", "token_secret"].into_iter().all(|key| node.get(key).is_none()) {
            return RawVcenterLogin::decode(node, cx).map(Self);
        }
        // What is under a key of another product may be a secret that nothing else hides.
        cx.mask(node.span);
        let message = "a vCenter has no tokens of this kind";
        let problem = Diagnostic::error("other-product", cx.key_span(node), message);
        cx.push(problem.help("write `username` and `password`"));
        None
    }

    fn schema(defs: &mut Defs) -> Json {
        RawVcenterLogin::schema(defs)
    }
}

/// An entry of `hypervisors`. Of a product that is not supported yet, only that is said.
#[derive(Debug, Clone, PartialEq)]
pub enum RawHypervisor {
    /// Proxmox VE.
    Proxmox(RawProxmox),
    /// A vCenter.
    Vcenter(RawVcenter),
}

impl RawHypervisor {
    /// What kind it is.
    pub fn product(&self) -> Product {
        match self {
            Self::Proxmox(_) => Product::Proxmox,
            Self::Vcenter(_) => Product::Vcenter,
        }
    }

    /// How its certificate is checked.
    pub fn tls(&self) -> Option<&RawTls> {
        match self {
            Self::Proxmox(raw) => raw.tls.as_ref(),
            Self::Vcenter(raw) => raw.tls.as_ref(),
        }
    }
}

impl Decode for RawHypervisor {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        cx.mapping(node, "a mapping")?;
        let product = match node.get("type") {
            Some(kind) => cx.field::<Product>(kind),
            None => {
                let message = "the field `type` is missing";
                let problem = Diagnostic::error("missing-field", cx.key_span(node), message);
                cx.push(problem.help("write `type: proxmox` or `type: vcenter`"));
                None
            }
        };
        let Some(product) = product else {
            // Without a product the rest cannot be read, so nothing else hides a secret in it.
            node.get("auth").into_iter().for_each(|auth| cx.mask(auth.value.span));
            return None;
        };
        match product {
            Product::Proxmox => RawProxmox::decode(node, cx).map(Self::Proxmox),
            Product::Vcenter => RawVcenter::decode(node, cx).map(Self::Vcenter),
        }
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({ "anyOf": [RawProxmox::schema(defs), RawVcenter::schema(defs)] })
    }
}
