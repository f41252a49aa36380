//! The options of a virtual machine, shared by creation and configuration.

use super::Release::{V8_4, V9_2};
use super::{Prop, alias, boolean, formats as f, integer, name_alias, number, text};

const fn join<const N: usize>(first: &[Prop], second: &[Prop]) -> [Prop; N] {
    let mut all = [text(""); N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

const FILE: Prop = text("file").required().default_key().format(f::drive_file);
const VOLUME: Prop = alias("volume", "file");
const IMPORT_FROM: Prop = text("import-from").format(f::volume_or_path);
const SIZE: Prop = text("size").format(f::disk_size);
const IMAGE: Prop = text("format").one_of(&["raw", "qcow", "qed", "qcow2", "vmdk", "cloop"]);

/// What the drives of all buses have in common.
const DRIVE: &[Prop] = &[
    FILE,
    VOLUME,
    IMPORT_FROM,
    SIZE,
    IMAGE,
    text("aio").one_of(&["native", "threads", "io_uring"]),
    boolean("backup"),
    integer("bps"),
    integer("bps_max_length").min(1),
    integer("bps_rd"),
    alias("bps_rd_length", "bps_rd_max_length"),
    integer("bps_rd_max_length").min(1),
    integer("bps_wr"),
    alias("bps_wr_length", "bps_wr_max_length"),
    integer("bps_wr_max_length").min(1),
    text("cache").one_of(&["none", "writethrough", "writeback", "unsafe", "directsync"]),
    integer("cyls").only(V8_4),
    boolean("detect_zeroes"),
    text("discard").one_of(&["ignore", "on"]),
    integer("heads").only(V8_4),
    integer("iops"),
    integer("iops_max"),
    integer("iops_max_length").min(1),
    integer("iops_rd"),
    alias("iops_rd_length", "iops_rd_max_length"),
    integer("iops_rd_max"),
    integer("iops_rd_max_length").min(1),
    integer("iops_wr"),
    alias("iops_wr_length", "iops_wr_max_length"),
    integer("iops_wr_max"),
    integer("iops_wr_max_length").min(1),
    number("mbps"),
    number("mbps_max"),
    number("mbps_rd"),
    number("mbps_rd_max"),
    number("mbps_wr"),
    number("mbps_wr_max"),
    text("media").one_of(&["cdrom", "disk"]),
    boolean("replicate"),
    text("rerror").one_of(&["ignore", "report", "stop"]),
    integer("secs").only(V8_4),
    text("serial").format(f::urlencoded).max_length(60),
    boolean("shared"),
    boolean("snapshot"),
    text("trans").one_of(&["none", "lba", "auto"]).only(V8_4),
    text("werror").one_of(&["enospc", "ignore", "report", "stop"]),
];
const WWN: Prop = text("wwn").pattern(f::wwn);
const IDE_OWN: &[Prop] =
    &[text("model").format(f::urlencoded).max_length(120), boolean("ssd"), WWN];
const SATA_OWN: &[Prop] = &[boolean("ssd"), WWN];
const SCSI_OWN: &[Prop] = &[
    boolean("iothread"),
    text("product").pattern(f::scsi_product),
    integer("queues").min(2),
    boolean("ro"),
    boolean("scsiblock"),
    boolean("ssd"),
    text("vendor").pattern(f::scsi_vendor),
    WWN,
];
const VIRTIO_OWN: &[Prop] = &[boolean("iothread"), boolean("ro")];
const IDE: &[Prop] = &join::<{ DRIVE.len() + IDE_OWN.len() }>(DRIVE, IDE_OWN);
const SATA: &[Prop] = &join::<{ DRIVE.len() + SATA_OWN.len() }>(DRIVE, SATA_OWN);
const SCSI: &[Prop] = &join::<{ DRIVE.len() + SCSI_OWN.len() }>(DRIVE, SCSI_OWN);
const VIRTIO: &[Prop] = &join::<{ DRIVE.len() + VIRTIO_OWN.len() }>(DRIVE, VIRTIO_OWN);
const EFIDISK: &[Prop] = &[
    FILE,
    VOLUME,
    IMPORT_FROM,
    SIZE,
    IMAGE,
    text("efitype").one_of(&["2m", "4m"]),
    text("ms-cert").one_of(&["2011", "2023", "2023w", "2023k"]),
    boolean("pre-enrolled-keys"),
];
const TPMSTATE: &[Prop] = &[
    FILE,
    VOLUME,
    IMPORT_FROM,
    SIZE,
    text("format").one_of(&["raw", "qcow2", "vmdk"]).only(V9_2),
    text("version").one_of(&["v1.2", "v2.0"]),
];
const UNUSED: &[Prop] = &[text("file").required().default_key().format(f::volume), VOLUME];

/// The keys of the drive option `key`.
pub(in super::super) fn drive_props(key: &str) -> Option<&'static [Prop]> {
    let prop = super::find(DRIVES, key, V9_2)?;
    match prop.format {
        super::Format::Props(props, _) => Some(props),
        super::Format::Any | super::Format::One(_) | super::Format::List(_) => None,
    }
}

const DRIVES: &[Prop] = &[
    text("ide").indexed(3).props(IDE),
    text("sata").indexed(5).props(SATA),
    text("scsi").indexed(30).props(SCSI),
    text("virtio").indexed(15).props(VIRTIO),
    text("efidisk0").props(EFIDISK),
    text("tpmstate0").props(TPMSTATE),
    text("unused").indexed(255).props(UNUSED),
];

const fn nic(model: &'static str) -> Prop {
    name_alias(model, "macaddr", "model")
}

/// The keys of a network device.
pub(in super::super) const NET: &[Prop] = &[
    text("model").required().default_key().one_of(&[
        "e1000",
        "e1000-82540em",
        "e1000-82544gc",
        "e1000-82545em",
        "e1000e",
        "i82551",
        "i82557b",
        "i82559er",
        "ne2k_isa",
        "ne2k_pci",
        "pcnet",
        "rtl8139",
        "virtio",
        "vmxnet3",
    ]),
    text("macaddr").format(f::mac),
    text("bridge").format(f::bridge),
    boolean("firewall"),
    boolean("link_down"),
    integer("mtu").range(1, 65520),
    integer("queues").range(0, 64),
    number("rate").min(0),
    integer("tag").range(1, 4094),
    text("trunks").pattern(f::ranges),
    nic("e1000"),
    nic("e1000-82540em"),
    nic("e1000-82544gc"),
    nic("e1000-82545em"),
    nic("e1000e"),
    nic("i82551"),
    nic("i82557b"),
    nic("i82559er"),
    nic("ne2k_isa"),
    nic("ne2k_pci"),
    nic("pcnet"),
    nic("rtl8139"),
    nic("virtio"),
    nic("vmxnet3"),
];

const AGENT: &[Prop] = &[
    boolean("enabled").required().default_key(),
    boolean("freeze-fs").only(V9_2),
    boolean("freeze-fs-on-backup").only(V8_4),
    alias("freeze-fs-on-backup", "freeze-fs").only(V9_2),
    alias("guest-fsfreeze", "freeze-fs").only(V9_2),
    boolean("fstrim_cloned_disks"),
    text("type").one_of(&["virtio", "isa"]),
];
const SEV: &[Prop] = &[
    text("type").required().default_key().one_of(&["std", "es", "snp"]).max_length(3),
    boolean("allow-smt"),
    boolean("kernel-hashes"),
    boolean("no-debug"),
    boolean("no-key-sharing"),
];
const TDX: &[Prop] = &[
    text("type").required().default_key().one_of(&["tdx"]),
    boolean("attestation").required(),
    integer("vsock-cid").min(2),
    integer("vsock-port").min(0),
];
const AUDIO: &[Prop] = &[
    text("device").required().one_of(&["ich9-intel-hda", "intel-hda", "AC97"]),
    text("driver").one_of(&["spice", "none"]),
];
const BOOT: &[Prop] =
    &[text("legacy").default_key().pattern(f::legacy_boot), text("order").list(f::boot_device)];
const CUSTOM: &[Prop] = &[
    text("meta").format(f::volume),
    text("network").format(f::volume),
    text("user").format(f::volume),
    text("vendor").format(f::volume),
];
const CPU: &[Prop] = &[
    text("cputype").default_key(),
    text("flags").pattern(f::cpu_flags),
    integer("guest-phys-bits").range(32, 64),
    boolean("hidden"),
    text("hv-vendor-id").pattern(f::hyperv_vendor),
    integer("level").range(0, 4_294_967_295).only(V9_2),
    text("phys-bits").format(f::phys_bits),
    text("reported-model").one_of(CPU_MODELS),
];
const HOSTPCI: &[Prop] = &[
    text("host").default_key().pattern(f::pci_host),
    text("device-id").pattern(f::pci_part),
    text("driver").one_of(&["vfio", "keep"]).only(V9_2),
    boolean("legacy-igd"),
    text("mapping").format(f::config_id),
    text("mdev").pattern(f::mediated_device),
    boolean("pcie"),
    boolean("rombar"),
    text("romfile").pattern(f::rom_file),
    text("sub-device-id").pattern(f::pci_part),
    text("sub-vendor-id").pattern(f::pci_part),
    text("vendor-id").pattern(f::pci_part),
    boolean("x-vga"),
];
const IPCONFIG: &[Prop] = &[
    text("gw").format(f::ipv4).requires("ip"),
    text("gw6").format(f::ipv6).requires("ip6"),
    text("ip").format(f::ipv4_config),
    text("ip6").format(f::ipv6_config),
];
const IVSHMEM: &[Prop] =
    &[text("name").pattern(f::letters_digits_dashes), integer("size").required().min(1)];
pub(super) const MACHINE: &[Prop] = &[
    text("type").default_key().pattern(f::machine).max_length(40),
    number("aw-bits").range(32, 64).only(V9_2),
    boolean("enable-s3"),
    boolean("enable-s4"),
    text("viommu").one_of(&["intel", "virtio"]),
];
const MEMORY: &[Prop] = &[integer("current").required().default_key().min(16)];
const NUMA: &[Prop] = &[
    text("cpus").required().pattern(f::ranges),
    text("hostnodes").pattern(f::ranges),
    number("memory"),
    text("policy").one_of(&["preferred", "bind", "interleave"]),
];
const RNG: &[Prop] = &[
    text("source").required().default_key().one_of(&["/dev/urandom", "/dev/random", "/dev/hwrng"]),
    integer("max_bytes"),
    integer("period"),
];
const SMBIOS: &[Prop] = &[
    boolean("base64"),
    text("family").pattern(f::base64),
    text("manufacturer").pattern(f::base64),
    text("product").pattern(f::base64),
    text("serial").pattern(f::base64),
    text("sku").pattern(f::base64),
    text("uuid").pattern(f::uuid),
    text("version").pattern(f::base64),
];
const SPICE: &[Prop] =
    &[boolean("foldersharing"), text("videostreaming").one_of(&["off", "all", "filter"])];
const USB: &[Prop] = &[
    text("host").default_key().pattern(f::usb_host),
    text("mapping").format(f::config_id),
    boolean("usb3"),
];
const VGA: &[Prop] = &[
    text("type").default_key().one_of(&[
        "cirrus",
        "qxl",
        "qxl2",
        "qxl3",
        "qxl4",
        "none",
        "serial0",
        "serial1",
        "serial2",
        "serial3",
        "std",
        "virtio",
        "virtio-gl",
        "vmware",
    ]),
    text("clipboard").one_of(&["vnc"]),
    integer("memory").range(4, 512),
];
const VIRTIOFS: &[Prop] = &[
    text("dirid").required().default_key().format(f::config_id),
    text("cache").one_of(&["auto", "always", "metadata", "never"]),
    boolean("direct-io"),
    boolean("expose-acl"),
    boolean("expose-xattr"),
];
const WATCHDOG: &[Prop] = &[
    text("model").default_key().one_of(&["i6300esb", "ib700"]),
    text("action").one_of(&["reset", "shutdown", "poweroff", "pause", "debug", "none"]),
];

const PLAIN: &[Prop] = &[
    boolean("acpi"),
    text("affinity").format(f::cpu_set),
    text("agent").props(AGENT),
    boolean("allow-ksm").only(V9_2),
    text("amd-sev").props(SEV),
    text("arch").one_of(&["x86_64", "aarch64"]),
    text("args"),
    text("audio0").props(AUDIO),
    boolean("autostart"),
    integer("balloon").min(0),
    text("bios").one_of(&["seabios", "ovmf"]),
    text("boot").props(BOOT),
    text("bootdisk").format(f::boot_disk),
    text("cdrom").props(IDE),
    text("cicustom").props(CUSTOM),
    text("cipassword"),
    text("citype").one_of(&["configdrive2", "nocloud", "opennebula"]),
    boolean("ciupgrade"),
    text("ciuser"),
    integer("cores").min(1),
    text("cpu").checked_props(CPU, f::cpu_conf),
    number("cpulimit").range(0, 128),
    integer("cpuunits").range(1, 262_144),
    text("description").max_length(8192),
    boolean("freeze"),
    text("hookscript").format(f::volume),
    text("hostpci").indexed(15).props(HOSTPCI),
    text("hotplug").format(f::hotplug),
    text("hugepages").one_of(&["any", "2", "1024"]),
    text("intel-tdx").props(TDX).only(V9_2),
    text("ipconfig").indexed(31).props(IPCONFIG),
    text("ivshmem").props(IVSHMEM),
    boolean("keephugepages"),
    text("keyboard").one_of(&[
        "de", "de-ch", "da", "en-gb", "en-us", "es", "fi", "fr", "fr-be", "fr-ca", "fr-ch", "hu",
        "is", "it", "ja", "lt", "mk", "nl", "no", "pl", "pt", "pt-br", "sv", "sl", "tr",
    ]),
    boolean("kvm"),
    boolean("localtime"),
    text("lock").one_of(&[
        "backup",
        "clone",
        "create",
        "migrate",
        "rollback",
        "snapshot",
        "snapshot-delete",
        "suspending",
        "suspended",
    ]),
    text("machine").props(MACHINE),
    text("memory").props(MEMORY),
    number("migrate_downtime").min(0),
    integer("migrate_speed").min(0),
    text("name").format(f::dns_name),
    text("nameserver").list(f::address),
    text("net").indexed(31).props(NET),
    boolean("numa"),
    text("numa").indexed(7).props(NUMA),
    boolean("onboot"),
    text("ostype").one_of(&[
        "other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24",
        "l26", "solaris",
    ]),
    text("parallel").indexed(2).pattern(f::parallel),
    boolean("protection"),
    boolean("reboot"),
    text("rng0").props(RNG),
    text("scsihw").one_of(&[
        "lsi",
        "lsi53c810",
        "virtio-scsi-pci",
        "virtio-scsi-single",
        "megasas",
        "pvscsi",
    ]),
    text("searchdomain"),
    text("serial").indexed(3).pattern(f::serial_8).only(V8_4),
    text("serial").indexed(3).pattern(f::serial_9).only(V9_2),
    integer("shares").range(0, 50_000),
    text("smbios1").props(SMBIOS).max_length(512),
    integer("smp").min(1),
    integer("sockets").min(1),
    text("spice_enhancements").props(SPICE),
    text("sshkeys").format(f::urlencoded),
    text("startdate").pattern(f::start_date),
    text("startup").format(f::startup),
    boolean("tablet"),
    text("tags").list(f::tag),
    boolean("tdf"),
    boolean("template"),
    text("usb").indexed(13).props(USB),
    integer("vcpus").min(1),
    text("vga").props(VGA),
    text("virtiofs").indexed(9).props(VIRTIOFS),
    text("vmgenid").pattern(f::generation_id),
    text("vmstatestorage").format(f::storage),
    text("watchdog").props(WATCHDOG),
];

/// All options that creation and configuration share.
pub(in super::super) const OPTIONS: &[Prop] =
    &join::<{ PLAIN.len() + DRIVES.len() }>(PLAIN, DRIVES);

/// CPU flags that a virtual machine may set for itself.
pub(super) const CPU_FLAGS: &[&str] = &[
    "nested-virt",
    "md-clear",
    "pcid",
    "spec-ctrl",
    "ssbd",
    "ibpb",
    "virt-ssbd",
    "amd-ssbd",
    "amd-no-ssb",
    "pdpe1gb",
    "hv-tlbflush",
    "hv-evmcs",
    "aes",
];

/// CPU models that need no definition.
#[rustfmt::skip]
pub(super) const CPU_MODELS: &[&str] = &[
    "486", "a64fx", "athlon", "Broadwell", "Broadwell-IBRS", "Broadwell-noTSX",
    "Broadwell-noTSX-IBRS", "Cascadelake-Server", "Cascadelake-Server-noTSX",
    "Cascadelake-Server-v2", "Cascadelake-Server-v4", "Cascadelake-Server-v5",
    "ClearwaterForest", "Conroe", "Cooperlake", "Cooperlake-v2", "core2duo", "coreduo",
    "cortex-a35", "cortex-a53", "cortex-a55", "cortex-a57", "cortex-a710", "cortex-a72",
    "cortex-a76", "EPYC", "EPYC-Genoa", "EPYC-Genoa-v2", "EPYC-IBPB", "EPYC-Milan",
    "EPYC-Milan-v2", "EPYC-Milan-v3", "EPYC-Rome", "EPYC-Rome-v2", "EPYC-Rome-v3", "EPYC-Rome-v4",
    "EPYC-Rome-v5", "EPYC-Turin", "EPYC-v3", "EPYC-v4", "EPYC-v5", "GraniteRapids",
    "GraniteRapids-v2", "GraniteRapids-v3", "Haswell", "Haswell-IBRS", "Haswell-noTSX",
    "Haswell-noTSX-IBRS", "host", "Icelake-Client", "Icelake-Client-noTSX", "Icelake-Server",
    "Icelake-Server-noTSX", "Icelake-Server-v3", "Icelake-Server-v4", "Icelake-Server-v5",
    "Icelake-Server-v6", "Icelake-Server-v7", "IvyBridge", "IvyBridge-IBRS", "KnightsMill",
    "kvm32", "kvm64", "max", "Nehalem", "Nehalem-IBRS", "neoverse-n1", "neoverse-n2",
    "neoverse-v1", "Opteron_G1", "Opteron_G2", "Opteron_G3", "Opteron_G4", "Opteron_G5", "Penryn",
    "pentium", "pentium2", "pentium3", "phenom", "qemu32", "qemu64", "SandyBridge",
    "SandyBridge-IBRS", "SapphireRapids", "SapphireRapids-v2", "SapphireRapids-v3",
    "SapphireRapids-v4", "SierraForest", "SierraForest-v2", "SierraForest-v3", "Skylake-Client",
    "Skylake-Client-IBRS", "Skylake-Client-noTSX-IBRS", "Skylake-Client-v4", "Skylake-Server",
    "Skylake-Server-IBRS", "Skylake-Server-noTSX-IBRS", "Skylake-Server-v4", "Skylake-Server-v5",
    "Westmere", "Westmere-IBRS", "x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4",
];
