use super::*;

const CREATE: &str = "/nodes/{node}/qemu";
const CONFIG: &str = "/nodes/{node}/qemu/{vmid}/config";

fn errors_in(method: &str, template: &str, pairs: &[(&str, &str)], release: Release) -> Errors {
    let mut params: Params = pairs.iter().copied().collect();
    for (key, value) in [("node", "pve1"), ("vmid", "100")] {
        let wanted = template.contains(&format!("{{{key}}}")) && !params.contains(key);
        if wanted {
            params.insert(key, value);
        }
    }
    check(method, template, &params, release).err().unwrap_or_default()
}

fn errors(method: &str, template: &str, pairs: &[(&str, &str)]) -> Errors {
    errors_in(method, template, pairs, Release::V9_2)
}

fn accepts(method: &str, template: &str, pairs: &[(&str, &str)]) {
    assert_eq!(errors(method, template, pairs), Errors::new(), "{template} {pairs:?}");
}

/// The one error of one option of a config update.
fn refused(key: &str, value: &str) -> String {
    let mut found = errors("PUT", CONFIG, &[(key, value)]);
    assert_eq!(found.len(), 1, "{key}={value}: {found:?}");
    found.remove(key).unwrap()
}

const UNKNOWN_KEY: &str =
    "property is not defined in schema and the schema does not allow additional properties";

#[test]
fn releases_read_and_print() {
    for text in ["8.4", "9.2"] {
        assert_eq!(text.parse::<Release>().unwrap().to_string(), text);
        let quoted = format!("\"{text}\"");
        let release: Release = serde_json::from_str(&quoted).unwrap();
        assert_eq!(serde_json::to_string(&release).unwrap(), quoted);
    }
    assert!("7.4".parse::<Release>().is_err());
    assert_eq!(Release::default(), Release::V9_2);
}

#[test]
fn a_full_creation_passes() {
    accepts(
        "POST",
        CREATE,
        &[
            ("vmid", "100"),
            ("name", "web-1"),
            ("memory", "2048"),
            ("scsihw", "virtio-scsi-single"),
            ("scsi0", "local-lvm:32,discard=on,iothread=1,ssd=1"),
            ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=10,firewall=1"),
            ("ide2", "local-lvm:cloudinit"),
            ("ipconfig0", "ip=10.0.0.5/24,gw=10.0.0.1"),
            ("boot", "order=scsi0;net0"),
            ("agent", "enabled=1"),
            ("tags", "nova;web"),
            ("sshkeys", "ssh-ed25519%20AAAA%20me%40host"),
        ],
    );
    accepts(
        "POST",
        CREATE,
        &[
            ("vmid", "999999999"),
            ("cpu", "x86-64-v2-AES,flags=+aes;-pcid"),
            ("cpulimit", "1.5"),
            ("machine", "pc-q35-9.2+pve1"),
            ("bios", "ovmf"),
            ("efidisk0", "local-lvm:1,efitype=4m,pre-enrolled-keys=1"),
            ("tpmstate0", "local-lvm:1,version=v2.0"),
            ("scsi30", "local-lvm:0.5"),
            ("scsi1", "local-lvm:0,import-from=local:import/x.qcow2"),
            ("net31", "model=virtio,macaddr=BC:24:11:00:00:01,trunks=2;3,mtu=1"),
            ("ipconfig1", "ip=dhcp,ip6=auto"),
            ("startup", "order=2,up=30,down=60"),
            ("serial0", "socket"),
            ("vga", "serial0"),
            ("smbios1", "uuid=7e5b7d2c-0f0c-4a6b-9a6f-3c2c1d2e3f40"),
            ("vmgenid", "1"),
            ("hostpci0", "0000:01:00.0;02:00,pcie=1"),
            ("usb0", "spice,usb3=1"),
            ("nameserver", "1.1.1.1 2606:4700::1111"),
            ("numa", "1"),
            ("numa0", "cpus=0-1,memory=1024"),
            ("rng0", "/dev/urandom"),
            ("hotplug", "network,disk"),
            ("audio0", "device=AC97"),
            ("pool", "a/b"),
            ("start", "1"),
            ("ha-managed", "1"),
        ],
    );
}

#[test]
fn the_texts_of_the_server() {
    assert_eq!(errors("POST", CREATE, &[("name", "x")])["vmid"], MISSING);
    assert_eq!(refused("nonsense", "1"), UNKNOWN_KEY);
    assert_eq!(refused("cores", "x"), "type check ('integer') failed - got 'x'");
    assert_eq!(refused("onboot", "true"), "type check ('boolean') failed - got 'true'");
    assert_eq!(refused("cores", "0"), "value must have a minimum value of 1");
    assert_eq!(refused("cpulimit", "129"), "value must have a maximum value of 128");
    assert_eq!(
        refused("bios", "uefi"),
        "value 'uefi' does not have a value in the enumeration 'seabios, ovmf'"
    );
    assert_eq!(refused("startdate", "soon"), "value does not match the regex pattern");
    assert_eq!(refused("digest", &"a".repeat(41)), "value may only be 40 characters long");
    for name in ["bad_name", ""] {
        assert_eq!(
            refused("name", name),
            "invalid format - value does not look like a valid DNS name\n"
        );
    }
    assert_eq!(
        errors("POST", CREATE, &[("vmid", "99")])["vmid"],
        "invalid format - value does not look like a valid VM ID\n"
    );
    assert_eq!(refused("tags", "a/b"), "invalid format - invalid characters in tag\n");
    assert_eq!(
        refused("net0", "virtio,bridg=vmbr0"),
        format!("invalid format - format error\nnet0.bridg: {UNKNOWN_KEY}\n")
    );
    assert_eq!(
        refused("scsi0", "local:1,discard=maybe"),
        "invalid format - format error\nscsi0.discard: value 'maybe' does not have a value in the \
         enumeration 'ignore, on'\n"
    );
    assert_eq!(
        refused("memory", "2G"),
        "invalid format - format error\nmemory.current: type check ('integer') failed - got \
         '2G'\n"
    );
}

#[test]
fn indexes_have_limits() {
    for key in ["scsi31", "ide4", "sata6", "virtio16", "net32", "ipconfig32", "unused256"] {
        assert_eq!(refused(key, "local:1"), UNKNOWN_KEY);
    }
    for key in ["net01", "net", "net+1", "numa8", "serial4", "parallel3", "hostpci16", "usb14"] {
        assert_eq!(refused(key, "x"), UNKNOWN_KEY);
    }
    accepts("PUT", CONFIG, &[("unused255", "local:vm-1-disk-0"), ("ide3", "none,media=cdrom")]);
}

#[test]
fn inner_values_are_checked() {
    assert_eq!(
        refused("net0", "virtio=01:00:5e:00:00:01"),
        "invalid format - format error\nnet0.macaddr: invalid format - value does not look like a \
         valid unicast MAC address\n\n"
    );
    assert_eq!(
        refused("net0", "bridge=vmbr0"),
        format!("invalid format - format error\nnet0.model: {MISSING}\n")
    );
    assert_eq!(
        refused("ipconfig0", "gw=10.0.0.1"),
        "invalid format - format error\nipconfig0.ip: missing property - 'ipconfig0.gw' requires \
         this property\n"
    );
    assert_eq!(
        refused("scsi0", "32"),
        "invalid format - format error\nscsi0.file: invalid format - unable to parse volume ID \
         '32'\n\n"
    );
    assert_eq!(
        refused("cpu", "nope"),
        "invalid format - Built-in cputype 'nope' is not defined (missing 'custom-' prefix?)\n"
    );
    for (key, value) in [
        ("boot", "order=scsi0;disk1"),
        ("boot", "order=efidisk0"),
        ("startup", "first"),
        ("sshkeys", "ssh-ed25519 AAAA"),
        ("ipconfig0", "ip=10.0.0.5"),
        ("agent", "type=virtio"),
        ("ostype", "linux"),
        ("hookscript", "x"),
        ("machine", "q36"),
        ("hotplug", "all"),
        ("cpu", "host,flags=+avx"),
        ("serial0", "/dev/a,b"),
        ("memory", "15"),
        ("virtio0", "local:1,ssd=1"),
        ("name", "a b"),
        ("searchdomain2", "x"),
        ("vga", "type=std,memory=1024"),
    ] {
        refused(key, value);
    }
}

#[test]
fn options_that_need_others() {
    let found = errors("PUT", CONFIG, &[("force", "1")]);
    assert_eq!(found["delete"], "missing property - 'force' requires this property");
    accepts("PUT", CONFIG, &[("force", "1"), ("delete", "unused0,scsi1")]);
    assert!(errors("GET", "/pools", &[("type", "qemu")]).contains_key("poolid"));
}

#[test]
fn repeats_are_for_lists() {
    accepts("PUT", CONFIG, &[("delete", "a1"), ("delete", "b1"), ("tags", "a"), ("tags", "b")]);
    let found =
        errors("PUT", CONFIG, &[("cores", "1"), ("cores", "2"), ("name", "a"), ("name", "b")]);
    assert_eq!(found["cores"], "type check ('integer') failed - got ARRAY");
    assert_eq!(found["name"], "type check ('string') failed - got ARRAY");
}

#[test]
fn other_methods() {
    let guest = |rest: &str| format!("/nodes/{{node}}/qemu/{{vmid}}{rest}");
    accepts("GET", "/version", &[]);
    assert_eq!(errors("GET", "/version", &[("x", "1")])["x"], UNKNOWN_KEY);
    accepts("DELETE", &guest(""), &[("purge", "1"), ("destroy-unreferenced-disks", "1")]);
    accepts("GET", &guest("/config"), &[("current", "1")]);
    accepts("POST", &guest("/config"), &[("cores", "2"), ("background_delay", "30")]);
    assert!(!errors("PUT", &guest("/config"), &[("background_delay", "30")]).is_empty());
    accepts("POST", &guest("/clone"), &[("newid", "101"), ("full", "1"), ("name", "a")]);
    assert_eq!(errors("POST", &guest("/clone"), &[])["newid"], MISSING);
    for size in ["32G", "+8G", "1.5T", "1024"] {
        accepts("PUT", &guest("/resize"), &[("disk", "scsi0"), ("size", size)]);
    }
    let found = errors("PUT", &guest("/resize"), &[("disk", "scsi31"), ("size", "8GB")]);
    assert_eq!(found["size"], "value does not match the regex pattern");
    assert!(found["disk"].ends_with("sata5, efidisk0, tpmstate0'"));
    accepts("POST", &guest("/move_disk"), &[("disk", "unused255"), ("storage", "local")]);
    accepts("PUT", &guest("/unlink"), &[("idlist", "scsi1,unused0")]);
    accepts("POST", &guest("/migrate"), &[("target", "pve2"), ("targetstorage", "ab:cd,ef")]);
    accepts("POST", &guest("/status/stop"), &[("overrule-shutdown", "1")]);
    accepts("POST", &guest("/status/shutdown"), &[("forceStop", "1"), ("timeout", "5")]);
    accepts("POST", &guest("/snapshot"), &[("snapname", "before"), ("vmstate", "0")]);
    assert_eq!(
        errors("POST", &guest("/snapshot"), &[("snapname", "1x")])["snapname"],
        "invalid format - invalid configuration ID '1x'\n"
    );
    accepts("GET", "/cluster/nextid", &[("vmid", "218")]);
    accepts("GET", "/nodes/{node}/tasks", &[("source", "all"), ("vmid", "100"), ("limit", "500")]);
    accepts("GET", "/pools/{poolid}", &[("poolid", "nova")]);
    accepts("PUT", "/pools", &[("poolid", "a"), ("vms", "100,101"), ("allow-move", "1")]);
    accepts(
        "PUT",
        "/access/acl",
        &[
            ("path", "/pool/nova"),
            ("roles", "PVEVMUser"),
            ("users", "a@pve,b@pam"),
            ("tokens", "a@pve!t1"),
        ],
    );
    assert!(
        !errors("PUT", "/access/acl", &[("path", "/"), ("roles", "R"), ("users", "a")]).is_empty()
    );
    accepts("POST", "/access/ticket", &[("username", "a@pve"), ("password", "x")]);
    let upid = "UPID:pve1:0000C350:0012D687:6554F2A0:qmcreate:100:root@pam:";
    accepts("GET", "/nodes/{node}/tasks/{upid}/status", &[("upid", upid)]);
    accepts("GET", "/nodes/{node}/lxc/{vmid}/status/current", &[]);
}

#[test]
fn a_path_parameter_is_required() {
    let found = check("GET", CONFIG, &Params::default(), Release::V9_2).unwrap_err();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["node", "vmid"]);
}

#[test]
fn releases_differ() {
    let differs = |method: &str, template: &str, pairs: &[(&str, &str)], older: bool| {
        let good = |release| errors_in(method, template, pairs, release).is_empty();
        assert_eq!((good(Release::V8_4), good(Release::V9_2)), (older, !older), "{pairs:?}");
    };
    differs("POST", CREATE, &[("vmid", "100"), ("ha-managed", "1")], false);
    differs("PUT", CONFIG, &[("allow-ksm", "0")], false);
    differs("PUT", CONFIG, &[("scsi0", "local:1,cyls=4")], true);
    differs("PUT", CONFIG, &[("tpmstate0", "local:1,format=raw")], false);
    differs("PUT", CONFIG, &[("agent", "1,guest-fsfreeze=0")], false);
    differs("GET", "/nodes/{node}/network", &[("type", "include_sdn")], false);
    differs("GET", "/storage", &[("type", "glusterfs")], true);
    let both = [("agent", "1,freeze-fs-on-backup=0")];
    assert!(errors_in("PUT", CONFIG, &both, Release::V8_4).is_empty());
    accepts("PUT", CONFIG, &both);
}

#[test]
fn what_is_not_known_passes() {
    assert!(known("GET", "/nodes/{node}/qemu/{vmid}/pending"));
    assert!(!known("PATCH", "/version") && !known("GET", "/nope"));
    accepts("GET", "/nope", &[("x", "1")]);
}
