//! Properties of clusters, hosts, pools, datastores and networks.

use super::{allocation, reference};
use crate::vcenter::server::Core;
use crate::vcenter::val::{Val, arr, flag, int, long, obj, short, text, word};
use crate::vcenter::world::{Datastore, Entity, Host, Kind, Pool};

/// References to those of these that the reader sees.
type All<'a> = &'a dyn Fn(Vec<&str>) -> Option<Val>;

const MIB: u64 = 1 << 20;

fn green() -> Val {
    word("ManagedEntityStatus", "green")
}

/// Networks below a folder: switches are no networks.
pub(super) fn networks_in<'a>(core: &'a Core, folder: &'a str) -> Vec<&'a str> {
    let children = core.world.children(folder);
    children
        .filter(|(_, it)| matches!(it.kind, Kind::Network | Kind::Portgroup { .. }))
        .map(|(id, _)| id)
        .collect()
}

pub(super) fn of_cluster(
    core: &Core,
    id: &str,
    (drs, pool): (bool, &str),
    name: &str,
    all: All<'_>,
) -> Option<Val> {
    let hosts: Vec<(&str, &Host)> = core.world.hosts_of(id).collect();
    let reach = |of: fn(&Host) -> &std::collections::BTreeSet<String>| {
        let mut ids: Vec<&str> =
            hosts.iter().flat_map(|(_, host)| of(host)).map(String::as_str).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    match name {
        "resourcePool" => Some(reference(core, pool)),
        "host" => all(hosts.iter().map(|(id, _)| *id).collect()),
        "datastore" => all(reach(|host| &host.datastores)),
        "network" => all(reach(|host| &host.networks)),
        "summary" => {
            let up = |host: &Host| host.connection == "connected" && !host.maintenance;
            let sum = |of: fn(&Host) -> u64| hosts.iter().map(|(_, host)| of(host)).sum::<u64>();
            let effective = |of: fn(&Host) -> u64| {
                hosts.iter().filter(|(_, host)| up(host)).map(|(_, host)| of(host)).sum::<u64>()
            };
            let mhz = |host: &Host| u64::from(host.cores) * u64::from(host.mhz);
            Some(obj(
                "ClusterComputeResourceSummary",
                vec![
                    ("totalCpu", int(sum(mhz))),
                    ("totalMemory", long(sum(|host| host.memory_mb * MIB))),
                    ("numCpuCores", short(sum(|host| u64::from(host.cores)))),
                    ("numCpuThreads", short(sum(|host| u64::from(host.cores) * 2))),
                    ("effectiveCpu", int(effective(mhz))),
                    // In MiB, other than the total.
                    ("effectiveMemory", long(effective(|host| host.memory_mb))),
                    ("numHosts", int(hosts.len())),
                    ("numEffectiveHosts", int(hosts.iter().filter(|(_, host)| up(host)).count())),
                    ("overallStatus", green()),
                    ("currentFailoverLevel", int(0)),
                    ("numVmotions", int(0)),
                ],
            ))
        }
        "configurationEx" => {
            let behaviour = word("DrsBehavior", "fullyAutomated");
            let drs = vec![
                ("enabled", flag(drs)),
                ("defaultVmBehavior", behaviour),
                ("vmotionRate", int(3)),
            ];
            let rules = core.world.rules.get(id).into_iter().flatten();
            let mut fields = vec![
                ("vmSwapPlacement", text("vmDirectory")),
                ("dasConfig", obj("ClusterDasConfigInfo", vec![("enabled", flag(false))])),
                ("drsConfig", obj("ClusterDrsConfigInfo", drs)),
            ];
            let rules: Vec<Val> =
                rules.map(|rule| crate::vcenter::ops::rules::told(core, rule)).collect();
            if !rules.is_empty() {
                fields.push(("rule", arr("ClusterRuleInfo", rules)));
            }
            Some(obj("ClusterConfigInfoEx", fields))
        }
        _ => None,
    }
}

pub(super) fn of_host(
    core: &Core,
    id: &str,
    (entity, host): (&Entity, &Host),
    name: &str,
    all: All<'_>,
) -> Option<Val> {
    let runtime = || {
        let power = if host.connection == "connected" { "poweredOn" } else { "unknown" };
        obj(
            "HostRuntimeInfo",
            vec![
                ("connectionState", word("HostSystemConnectionState", &host.connection)),
                ("powerState", word("HostSystemPowerState", power)),
                ("inMaintenanceMode", flag(host.maintenance)),
            ],
        )
    };
    match name {
        "runtime" => Some(runtime()),
        "datastore" => all(host.datastores.iter().map(String::as_str).collect()),
        "network" => all(host.networks.iter().map(String::as_str).collect()),
        "vm" => all(core.world.vms().filter(|(_, vm)| vm.host == id).map(|(id, _)| id).collect()),
        "summary" => {
            let hardware = obj(
                "HostHardwareSummary",
                vec![
                    ("vendor", text("novahost")),
                    ("model", text("mock")),
                    (
                        "uuid",
                        text(crate::vcenter::world::uuid_of(&format!("host {}", entity.name))),
                    ),
                    ("memorySize", long(host.memory_mb * MIB)),
                    ("cpuModel", text("mock")),
                    ("cpuMhz", int(host.mhz)),
                    ("numCpuPkgs", short(2)),
                    ("numCpuCores", short(host.cores)),
                    ("numCpuThreads", short(host.cores * 2)),
                    ("numNics", int(2)),
                    ("numHBAs", int(1)),
                ],
            );
            let product = obj(
                "AboutInfo",
                vec![
                    ("name", text("VMware ESXi (novahost mock)")),
                    ("fullName", text("novahost mock ESXi 8.0.3")),
                    ("vendor", text("novahost")),
                    ("version", text("8.0.3")),
                    ("build", text("24022510")),
                    ("osType", text("vmnix-x86")),
                    ("productLineId", text("embeddedEsx")),
                    ("apiType", text("HostAgent")),
                    ("apiVersion", text("8.0.3.0")),
                ],
            );
            let config = obj(
                "HostConfigSummary",
                vec![
                    ("name", text(entity.name.clone())),
                    ("port", int(443)),
                    ("product", product),
                    ("vmotionEnabled", flag(true)),
                    ("faultToleranceEnabled", flag(false)),
                ],
            );
            let running =
                core.world.vms().filter(|(_, vm)| vm.host == id && vm.power == "poweredOn");
            let (memory, cpus) = running.fold((0, 0), |(memory, cpus), (_, vm)| {
                (memory + vm.config.memory_mb, cpus + vm.config.cpus)
            });
            let quick =
                vec![("overallCpuUsage", int(cpus * 100)), ("overallMemoryUsage", int(memory))];
            Some(obj(
                "HostListSummary",
                vec![
                    ("host", reference(core, id)),
                    ("hardware", hardware),
                    ("runtime", runtime()),
                    ("config", config),
                    ("quickStats", obj("HostListSummaryQuickStats", quick)),
                    ("overallStatus", green()),
                    ("rebootRequired", flag(false)),
                ],
            ))
        }
        _ => None,
    }
}

fn resource_spec(pool: &Pool) -> Val {
    obj(
        "ResourceConfigSpec",
        vec![
            ("cpuAllocation", allocation(&pool.cpu)),
            ("memoryAllocation", allocation(&pool.memory)),
        ],
    )
}

pub(super) fn of_pool(
    core: &Core,
    id: &str,
    (entity, pool): (&Entity, &Pool),
    name: &str,
    all: All<'_>,
) -> Option<Val> {
    let runtime = || {
        let use_of = core.world.pool_use(id);
        let usage = |size: i64, used: i64, unit: i64| {
            let free = (size - used).max(0);
            obj(
                "ResourcePoolResourceUsage",
                vec![
                    ("reservationUsed", long(used * unit)),
                    ("reservationUsedForVm", long(used * unit)),
                    ("unreservedForPool", long(free * unit)),
                    ("unreservedForVm", long(free * unit)),
                    ("overallUsage", long(used * unit)),
                    ("maxUsage", long(if size > 0 { size * unit } else { -1 })),
                ],
            )
        };
        let (root_memory, root_cpu) = core.world.pool_size(id);
        let mib = i64::try_from(MIB).unwrap_or(0);
        obj(
            "ResourcePoolRuntimeInfo",
            vec![
                ("memory", usage(root_memory, use_of.0, mib)),
                ("cpu", usage(root_cpu, use_of.1, 1)),
                ("overallStatus", green()),
            ],
        )
    };
    match name {
        "owner" => Some(reference(core, &pool.owner)),
        "config" => Some(resource_spec(pool)),
        "runtime" => Some(runtime()),
        "summary" => Some(obj(
            "ResourcePoolSummary",
            vec![
                ("name", text(entity.name.clone())),
                ("config", resource_spec(pool)),
                ("runtime", runtime()),
            ],
        )),
        "resourcePool" => all(core.world.children(id).map(|(id, _)| id).collect()),
        "vm" => all(core
            .world
            .vms()
            .filter(|(_, vm)| vm.pool.as_deref() == Some(id))
            .map(|(id, _)| id)
            .collect()),
        _ => None,
    }
}

pub(super) fn of_datastore(
    core: &Core,
    id: &str,
    (entity, store): (&Entity, &Datastore),
    name: &str,
    all: All<'_>,
) -> Option<Val> {
    match name {
        "summary" => {
            let claim: u64 = core
                .world
                .volumes
                .values()
                .filter(|volume| volume.datastore == id)
                .map(|volume| volume.bytes.saturating_sub(volume.used))
                .sum();
            let mut fields = vec![
                ("datastore", reference(core, id)),
                ("name", text(entity.name.clone())),
                ("url", text(format!("ds:///vmfs/volumes/{id}/"))),
                ("capacity", long(store.capacity)),
                ("freeSpace", long(core.world.free_space(id))),
                ("accessible", flag(store.accessible)),
                ("multipleHostAccess", flag(true)),
                ("type", text(store.kind.clone())),
                ("maintenanceMode", text("normal")),
            ];
            if claim > 0 {
                fields.push(("uncommitted", long(claim)));
            }
            Some(obj("DatastoreSummary", fields))
        }
        "host" => {
            let hosts = core.world.entities.iter().filter_map(|(host, it)| match &it.kind {
                Kind::Host(found) if found.datastores.contains(id) => Some(host),
                _ => None,
            });
            let mounts = hosts.map(|host| {
                let info = obj(
                    "HostMountInfo",
                    vec![("accessMode", text("readWrite")), ("accessible", flag(store.accessible))],
                );
                obj("DatastoreHostMount", vec![("key", reference(core, host)), ("mountInfo", info)])
            });
            Some(arr("DatastoreHostMount", mounts.collect()))
        }
        "vm" => {
            let prefix = format!("[{}]", entity.name);
            all(core
                .world
                .vms()
                .filter(|(_, vm)| {
                    vm.path.starts_with(&prefix)
                        || vm.config.disks().any(|it| it.file.starts_with(&prefix))
                })
                .map(|(id, _)| id)
                .collect())
        }
        _ => None,
    }
}

pub(super) fn of_network(
    core: &Core,
    id: &str,
    entity: &Entity,
    name: &str,
    all: All<'_>,
) -> Option<Val> {
    let hosts = || {
        let hosts = core.world.entities.iter().filter_map(|(host, it)| match &it.kind {
            Kind::Host(found) if found.networks.contains(id) => Some(host.as_str()),
            _ => None,
        });
        hosts.collect::<Vec<_>>()
    };
    match (name, &entity.kind) {
        ("summary", _) => Some(obj(
            "NetworkSummary",
            vec![
                ("network", reference(core, id)),
                ("name", text(entity.name.clone())),
                ("accessible", flag(!hosts().is_empty())),
                ("ipPoolName", text("")),
            ],
        )),
        ("host", _) => all(hosts()),
        ("vm", _) => all(core
            .world
            .vms()
            .filter(|(_, vm)| vm.config.nics().any(|nic| nic.network == id))
            .map(|(id, _)| id)
            .collect()),
        ("key", Kind::Portgroup { key, .. }) => Some(text(key.clone())),
        ("config", Kind::Portgroup { key, switch, uplink }) => Some(obj(
            "DVPortgroupConfigInfo",
            vec![
                ("key", text(key.clone())),
                ("name", text(entity.name.clone())),
                ("numPorts", int(8)),
                ("distributedVirtualSwitch", reference(core, switch)),
                ("type", text("earlyBinding")),
                ("uplink", flag(*uplink)),
            ],
        )),
        _ => None,
    }
}

pub(super) fn of_switch(
    core: &Core,
    id: &str,
    (entity, uuid): (&Entity, &str),
    name: &str,
    all: All<'_>,
) -> Option<Val> {
    let groups = |uplinks: bool| {
        let groups = core.world.entities.iter().filter(move |(_, it)| match &it.kind {
            Kind::Portgroup { switch, uplink, .. } => switch == id && (*uplink || !uplinks),
            _ => false,
        });
        groups.map(|(id, _)| id.as_str()).collect::<Vec<_>>()
    };
    match name {
        "uuid" => Some(text(uuid)),
        "portgroup" => all(groups(false)),
        "config" => Some(obj(
            "DVSConfigInfo",
            vec![
                ("uuid", text(uuid)),
                ("name", text(entity.name.clone())),
                ("numPorts", int(16)),
                ("uplinkPortgroup", all(groups(true))?),
            ],
        )),
        _ => None,
    }
}
