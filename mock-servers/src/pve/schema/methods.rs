//! The parameters of the methods.

use super::Release::{V8_4, V9_2};
use super::guest::{MACHINE, OPTIONS};
use super::{Prop, Release, boolean, formats as f, integer, text};

/// Groups of parameters; a method's are those of all its groups.
type Groups = &'static [&'static [Prop]];

const fn guest_id(name: &'static str) -> Prop {
    integer(name).format(f::vmid).range(100, 999_999_999)
}

const NODE: &[Prop] = &[text("node").required().format(f::node)];
const GUEST: &[Prop] = &[text("node").required().format(f::node), guest_id("vmid").required()];
const SNAPNAME: Prop = text("snapname").required().format(f::config_id).max_length(40);
const DIGEST: Prop = text("digest").max_length(40);
const SKIPLOCK: Prop = boolean("skiplock");
const TIMEOUT: Prop = integer("timeout").min(0);
const BWLIMIT: Prop = integer("bwlimit").min(0);
const STORAGE: Prop = text("storage").format(f::storage);
const POOLID: Prop = text("poolid").required().format(f::pool);
const UPID: Prop = text("upid").required();
const IMAGE: Prop = text("format").one_of(&["raw", "qcow2", "vmdk"]);
const MIGRATION: &[Prop] = &[
    text("migration_network").format(f::cidr),
    text("migration_type").one_of(&["secure", "insecure"]),
    text("targetstorage").list(f::storage_pair),
    boolean("with-conntrack-state").only(V9_2),
];

/// A disk name is an enumeration to the server, and its error names all members.
macro_rules! disk_names {
    ($($more:literal),* $(,)?) => {
        &[
            "ide0", "ide1", "ide2", "ide3",
            "scsi0", "scsi1", "scsi2", "scsi3", "scsi4", "scsi5", "scsi6", "scsi7", "scsi8",
            "scsi9", "scsi10", "scsi11", "scsi12", "scsi13", "scsi14", "scsi15", "scsi16",
            "scsi17", "scsi18", "scsi19", "scsi20", "scsi21", "scsi22", "scsi23", "scsi24",
            "scsi25", "scsi26", "scsi27", "scsi28", "scsi29", "scsi30",
            "virtio0", "virtio1", "virtio2", "virtio3", "virtio4", "virtio5", "virtio6",
            "virtio7", "virtio8", "virtio9", "virtio10", "virtio11", "virtio12", "virtio13",
            "virtio14", "virtio15",
            "sata0", "sata1", "sata2", "sata3", "sata4", "sata5",
            "efidisk0", "tpmstate0",
            $($more),*
        ]
    };
}

const DISKS: &[&str] = disk_names!();
#[rustfmt::skip]
const DISKS_AND_UNUSED: &[&str] = disk_names!(
    "unused0", "unused1", "unused2", "unused3", "unused4", "unused5", "unused6", "unused7",
    "unused8", "unused9", "unused10", "unused11", "unused12", "unused13", "unused14", "unused15",
    "unused16", "unused17", "unused18", "unused19", "unused20", "unused21", "unused22", "unused23",
    "unused24", "unused25", "unused26", "unused27", "unused28", "unused29", "unused30", "unused31",
    "unused32", "unused33", "unused34", "unused35", "unused36", "unused37", "unused38", "unused39",
    "unused40", "unused41", "unused42", "unused43", "unused44", "unused45", "unused46", "unused47",
    "unused48", "unused49", "unused50", "unused51", "unused52", "unused53", "unused54", "unused55",
    "unused56", "unused57", "unused58", "unused59", "unused60", "unused61", "unused62", "unused63",
    "unused64", "unused65", "unused66", "unused67", "unused68", "unused69", "unused70", "unused71",
    "unused72", "unused73", "unused74", "unused75", "unused76", "unused77", "unused78", "unused79",
    "unused80", "unused81", "unused82", "unused83", "unused84", "unused85", "unused86", "unused87",
    "unused88", "unused89", "unused90", "unused91", "unused92", "unused93", "unused94", "unused95",
    "unused96", "unused97", "unused98", "unused99", "unused100", "unused101", "unused102",
    "unused103", "unused104", "unused105", "unused106", "unused107", "unused108", "unused109",
    "unused110", "unused111", "unused112", "unused113", "unused114", "unused115", "unused116",
    "unused117", "unused118", "unused119", "unused120", "unused121", "unused122", "unused123",
    "unused124", "unused125", "unused126", "unused127", "unused128", "unused129", "unused130",
    "unused131", "unused132", "unused133", "unused134", "unused135", "unused136", "unused137",
    "unused138", "unused139", "unused140", "unused141", "unused142", "unused143", "unused144",
    "unused145", "unused146", "unused147", "unused148", "unused149", "unused150", "unused151",
    "unused152", "unused153", "unused154", "unused155", "unused156", "unused157", "unused158",
    "unused159", "unused160", "unused161", "unused162", "unused163", "unused164", "unused165",
    "unused166", "unused167", "unused168", "unused169", "unused170", "unused171", "unused172",
    "unused173", "unused174", "unused175", "unused176", "unused177", "unused178", "unused179",
    "unused180", "unused181", "unused182", "unused183", "unused184", "unused185", "unused186",
    "unused187", "unused188", "unused189", "unused190", "unused191", "unused192", "unused193",
    "unused194", "unused195", "unused196", "unused197", "unused198", "unused199", "unused200",
    "unused201", "unused202", "unused203", "unused204", "unused205", "unused206", "unused207",
    "unused208", "unused209", "unused210", "unused211", "unused212", "unused213", "unused214",
    "unused215", "unused216", "unused217", "unused218", "unused219", "unused220", "unused221",
    "unused222", "unused223", "unused224", "unused225", "unused226", "unused227", "unused228",
    "unused229", "unused230", "unused231", "unused232", "unused233", "unused234", "unused235",
    "unused236", "unused237", "unused238", "unused239", "unused240", "unused241", "unused242",
    "unused243", "unused244", "unused245", "unused246", "unused247", "unused248", "unused249",
    "unused250", "unused251", "unused252", "unused253", "unused254", "unused255",
);

const CONFIG: &[Prop] = &[
    text("delete").list(f::config_id),
    DIGEST,
    boolean("force").requires("delete"),
    text("revert").list(f::config_id),
    SKIPLOCK,
];
const CREATE: &[Prop] = &[
    text("archive").max_length(255),
    BWLIMIT,
    boolean("force").requires("archive"),
    boolean("ha-managed").only(V9_2),
    text("import-working-storage").format(f::storage),
    boolean("live-restore"),
    text("pool").format(f::pool),
    boolean("start"),
    STORAGE,
    boolean("unique").requires("archive"),
];
const SHOW_CONFIG: &[Prop] =
    &[boolean("current"), text("snapshot").format(f::config_id).max_length(40)];
const START: &[Prop] = &[
    text("force-cpu"),
    text("machine").props(MACHINE),
    text("migratedfrom").format(f::node),
    text("nets-host-mtu").pattern(f::host_mtus),
    SKIPLOCK,
    text("stateuri").max_length(128),
    TIMEOUT,
];
const STOP: &[Prop] = &[
    boolean("keepActive"),
    text("migratedfrom").format(f::node),
    boolean("overrule-shutdown"),
    SKIPLOCK,
    TIMEOUT,
];
const SUSPEND: &[Prop] =
    &[SKIPLOCK, text("statestorage").format(f::storage).requires("todisk"), boolean("todisk")];
const CLONE: &[Prop] = &[
    BWLIMIT,
    text("description"),
    IMAGE,
    boolean("full"),
    text("name").format(f::dns_name),
    guest_id("newid").required(),
    text("pool").format(f::pool),
    text("snapname").format(f::config_id).max_length(40),
    STORAGE,
    text("target").format(f::node),
];
const RESIZE: &[Prop] = &[
    DIGEST,
    text("disk").required().one_of(DISKS),
    text("size").required().pattern(f::resize),
    SKIPLOCK,
];
const MOVE_DISK: &[Prop] = &[
    BWLIMIT,
    boolean("delete"),
    DIGEST,
    text("disk").required().one_of(DISKS_AND_UNUSED),
    IMAGE,
    STORAGE,
    text("target-digest").max_length(40),
    text("target-disk").one_of(DISKS_AND_UNUSED),
    guest_id("target-vmid"),
];
const MIGRATE: &[Prop] = &[
    BWLIMIT,
    boolean("force"),
    boolean("online"),
    text("target").required().format(f::node),
    boolean("with-local-disks"),
];
const TASKS: &[Prop] = &[
    boolean("errors"),
    integer("limit").min(0),
    integer("since"),
    text("source").one_of(&["archive", "active", "all"]),
    integer("start").min(0),
    text("statusfilter").list(f::task_status),
    text("typefilter"),
    integer("until"),
    text("userfilter"),
    guest_id("vmid"),
];
const TICKET: &[Prop] = &[
    boolean("new-format"),
    text("otp"),
    text("password").required(),
    text("path").max_length(64).requires("privs"),
    text("privs").list(f::privilege).max_length(64).requires("path"),
    text("realm").format(f::realm).max_length(32),
    text("tfa-challenge"),
    text("username").required().max_length(64),
];
const SET_ACL: &[Prop] = &[
    boolean("delete"),
    text("groups").list(f::group),
    text("path").required(),
    boolean("propagate"),
    text("roles").required().list(f::role),
    text("tokens").list(f::token),
    text("users").list(f::user),
];
const NETWORK_8: &[&str] = &[
    "bridge",
    "bond",
    "eth",
    "alias",
    "vlan",
    "OVSBridge",
    "OVSBond",
    "OVSPort",
    "OVSIntPort",
    "vnet",
    "any_bridge",
    "any_local_bridge",
];
const NETWORK_9: &[&str] = &[
    "bridge",
    "bond",
    "eth",
    "alias",
    "vlan",
    "fabric",
    "OVSBridge",
    "OVSBond",
    "OVSPort",
    "OVSIntPort",
    "vnet",
    "any_bridge",
    "any_local_bridge",
    "include_sdn",
];
const STORAGES_8: &[&str] = &[
    "btrfs",
    "cephfs",
    "cifs",
    "dir",
    "esxi",
    "glusterfs",
    "iscsi",
    "iscsidirect",
    "lvm",
    "lvmthin",
    "nfs",
    "pbs",
    "rbd",
    "zfs",
    "zfspool",
];
const STORAGES_9: &[&str] = &[
    "btrfs",
    "cephfs",
    "cifs",
    "dir",
    "esxi",
    "iscsi",
    "iscsidirect",
    "lvm",
    "lvmthin",
    "nfs",
    "pbs",
    "rbd",
    "zfs",
    "zfspool",
];

const fn by_release(name: &'static str, release: Release, values: &'static [&'static str]) -> Prop {
    text(name).one_of(values).only(release)
}

const NODE_STORAGE: &[Prop] = &[
    text("content").list(f::content),
    boolean("enabled"),
    boolean("format"),
    STORAGE,
    text("target").format(f::node),
];
const MEMBER_TYPE: Prop = text("type").one_of(&["qemu", "lxc", "storage"]);
const SET_POOL: &[Prop] = &[
    boolean("allow-move"),
    text("comment"),
    boolean("delete"),
    POOLID,
    text("storage").list(f::storage),
    text("vms").list(f::vmid),
];

/// The parameters of a method, or none when it is not known here.
pub(super) fn find(method: &str, template: &str) -> Option<Groups> {
    if let Some(below) = template.strip_prefix("/nodes/{node}/qemu/{vmid}") {
        return guest(method, below);
    }
    Some(match (method, template) {
        (
            "GET",
            "/version" | "/access/acl" | "/access/roles" | "/access/domains" | "/cluster/status"
            | "/cluster/tasks" | "/nodes",
        ) => const { &[] },
        ("POST", "/access/ticket") => const { &[TICKET] },
        ("GET", "/access/permissions") => {
            const { &[&[text("path"), text("userid").pattern(f::is_user_or_token)]] }
        }
        ("GET", "/access/users") => const { &[&[boolean("enabled"), boolean("full")]] },
        ("GET", "/access/users/{userid}") => {
            const { &[&[text("userid").required().format(f::user).max_length(64)]] }
        }
        ("PUT", "/access/acl") => const { &[SET_ACL] },
        ("GET", "/cluster/resources") => {
            const { &[&[text("type").one_of(&["vm", "storage", "node", "sdn"])]] }
        }
        ("GET", "/cluster/nextid") => const { &[&[guest_id("vmid")]] },
        (
            "GET",
            "/nodes/{node}/status"
            | "/nodes/{node}/version"
            | "/nodes/{node}/certificates/info"
            | "/nodes/{node}/lxc",
        ) => const { &[NODE] },
        ("GET", "/nodes/{node}/network") => {
            const { &[NODE, &[by_release("type", V8_4, NETWORK_8), by_release("type", V9_2, NETWORK_9)]] }
        }
        ("GET", "/nodes/{node}/storage") => const { &[NODE, NODE_STORAGE] },
        ("GET", "/nodes/{node}/storage/{storage}/content") => {
            const { &[NODE, &[STORAGE.required(), text("content").format(f::content), guest_id("vmid")]] }
        }
        ("GET", "/nodes/{node}/tasks") => const { &[NODE, TASKS] },
        ("GET", "/nodes/{node}/tasks/{upid}/status") | ("DELETE", "/nodes/{node}/tasks/{upid}") => {
            const { &[NODE, &[UPID]] }
        }
        ("GET", "/nodes/{node}/tasks/{upid}/log") => {
            const {
                &[
                    NODE,
                    &[UPID, boolean("download"), integer("limit").min(0), integer("start").min(0)],
                ]
            }
        }
        ("GET", "/nodes/{node}/qemu") => const { &[NODE, &[boolean("full")]] },
        ("POST", "/nodes/{node}/qemu") => const { &[GUEST, CREATE, OPTIONS] },
        ("GET", "/nodes/{node}/lxc/{vmid}/config") => const { &[GUEST, SHOW_CONFIG] },
        ("GET", "/nodes/{node}/lxc/{vmid}/status/current") => const { &[GUEST] },
        ("GET", "/storage") => {
            const { &[&[by_release("type", V8_4, STORAGES_8), by_release("type", V9_2, STORAGES_9)]] }
        }
        ("GET", "/pools") => {
            const { &[&[text("poolid").format(f::pool), MEMBER_TYPE.requires("poolid")]] }
        }
        ("POST", "/pools") => const { &[&[text("comment"), POOLID]] },
        ("GET", "/pools/{poolid}") => const { &[&[POOLID, MEMBER_TYPE]] },
        ("PUT", "/pools" | "/pools/{poolid}") => const { &[SET_POOL] },
        ("DELETE", "/pools" | "/pools/{poolid}") => const { &[&[POOLID]] },
        _ => return None,
    })
}

/// Methods of one virtual machine, by what follows its path.
fn guest(method: &str, below: &str) -> Option<Groups> {
    Some(match (method, below) {
        ("DELETE", "") => {
            const { &[GUEST, &[boolean("destroy-unreferenced-disks"), boolean("purge"), SKIPLOCK]] }
        }
        ("GET", "/config") => const { &[GUEST, SHOW_CONFIG] },
        ("PUT", "/config") => const { &[GUEST, CONFIG, OPTIONS] },
        ("POST", "/config") => {
            const {
                &[
                    GUEST,
                    CONFIG,
                    &[
                        integer("background_delay").range(1, 30),
                        text("import-working-storage").format(f::storage),
                    ],
                    OPTIONS,
                ]
            }
        }
        ("GET", "/pending" | "/status/current" | "/agent/network-get-interfaces" | "/snapshot")
        | ("GET" | "PUT", "/cloudinit") => const { &[GUEST] },
        ("POST", "/status/start") => const { &[GUEST, START, MIGRATION] },
        ("POST", "/status/stop") => const { &[GUEST, STOP] },
        ("POST", "/status/shutdown") => {
            const { &[GUEST, &[boolean("forceStop"), boolean("keepActive"), SKIPLOCK, TIMEOUT]] }
        }
        ("POST", "/status/reboot") => const { &[GUEST, &[TIMEOUT]] },
        ("POST", "/status/reset") => const { &[GUEST, &[SKIPLOCK]] },
        ("POST", "/status/suspend") => const { &[GUEST, SUSPEND] },
        ("POST", "/status/resume") => const { &[GUEST, &[boolean("nocheck"), SKIPLOCK]] },
        ("POST", "/clone") => const { &[GUEST, CLONE] },
        ("PUT", "/resize") => const { &[GUEST, RESIZE] },
        ("POST", "/move_disk") => const { &[GUEST, MOVE_DISK] },
        ("PUT", "/unlink") => {
            const { &[GUEST, &[boolean("force"), text("idlist").required().list(f::config_id)]] }
        }
        ("POST", "/migrate") => const { &[GUEST, MIGRATE, MIGRATION] },
        ("POST", "/snapshot") => {
            const { &[GUEST, &[text("description"), SNAPNAME, boolean("vmstate")]] }
        }
        ("DELETE", "/snapshot/{snapname}") => const { &[GUEST, &[boolean("force"), SNAPNAME]] },
        ("POST", "/snapshot/{snapname}/rollback") => {
            const { &[GUEST, &[SNAPNAME, boolean("start")]] }
        }
        ("POST", "/template") => const { &[GUEST, &[text("disk").one_of(DISKS)]] },
        _ => return None,
    })
}
