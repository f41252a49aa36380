//! Properties of managed objects.

mod infra;
mod machine;

use super::live::DEFAULT_COLLECTOR;
use super::ops::customize;
use super::server::Core;
use super::tasks;
use super::val::{Val, Word, arr, flag, int, obj, refs, text, time, word};
use super::world::{Allocation, Entity, Kind};

/// Ids of the objects of which there is one.
pub(crate) fn singleton(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "ServiceInstance" => "ServiceInstance",
        "SessionManager" => "SessionManager",
        "ViewManager" => "ViewManager",
        "AuthorizationManager" => "AuthorizationManager",
        "CustomFieldsManager" => "CustomFieldsManager",
        "UserDirectory" => "UserDirectory",
        "CustomizationSpecManager" => "CustomizationSpecManager",
        "EventManager" => "EventManager",
        "TaskManager" => "TaskManager",
        "SearchIndex" => "SearchIndex",
        _ => return None,
    })
}

/// A reference to something in the inventory.
pub(crate) fn reference(core: &Core, id: &str) -> Val {
    let kind: Word = core.world.entities.get(id).map_or("ManagedEntity", Entity::type_name).into();
    Val::Ref(kind, id.to_owned())
}

/// What is told before any login.
pub(crate) fn content(core: &Core) -> Val {
    let single =
        |kind: &'static str| Val::Ref(kind.into(), singleton(kind).unwrap_or("").to_owned());
    let about = obj(
        "AboutInfo",
        vec![
            ("name", text("VMware vCenter Server (novahost mock)")),
            ("fullName", text("novahost mock vCenter 8.0.3, no product of VMware")),
            ("vendor", text("novahost")),
            ("version", text("8.0.3")),
            ("build", text("24022515")),
            ("osType", text("linux-x64")),
            ("productLineId", text("vpx")),
            ("apiType", text("VirtualCenter")),
            ("apiVersion", text("8.0.3.0")),
            ("instanceUuid", text(core.world.instance_uuid.clone())),
        ],
    );
    obj(
        "ServiceContent",
        vec![
            ("rootFolder", reference(core, core.world.root())),
            (
                "propertyCollector",
                Val::Ref("PropertyCollector".into(), DEFAULT_COLLECTOR.to_owned()),
            ),
            ("viewManager", single("ViewManager")),
            ("about", about),
            ("userDirectory", single("UserDirectory")),
            ("sessionManager", single("SessionManager")),
            ("authorizationManager", single("AuthorizationManager")),
            ("eventManager", single("EventManager")),
            ("taskManager", single("TaskManager")),
            ("customizationSpecManager", single("CustomizationSpecManager")),
            ("customFieldsManager", single("CustomFieldsManager")),
            ("searchIndex", single("SearchIndex")),
        ],
    )
}

impl Core {
    /// A property of an object; none where it is unset.
    pub(crate) fn property(
        &self,
        user: Option<&str>,
        kind: &str,
        id: &str,
        name: &str,
    ) -> Option<Val> {
        if let Some(entity) = self.world.entities.get(id) {
            return self.of_entity(user, id, entity, name);
        }
        match (kind, name) {
            ("Task", "info") => self.world.tasks.get(id).map(|task| tasks::info(id, task)),
            ("ContainerView" | "ListView" | "View" | "ManagedObjectView", "view") => {
                let view = self.live.views.get(id)?;
                let shown = self.shown(view, user);
                Some(refs(shown.into_iter().map(|(kind, id)| Val::Ref(kind.into(), id)).collect()))
            }
            ("ServiceInstance", "content") => Some(content(self)),
            ("ServiceInstance", "serverClock") => Some(time(self.now_ms())),
            ("AuthorizationManager", "roleList") => Some(self.role_list()),
            ("UserDirectory", "domainList") => Some(self.domain_list()),
            ("CustomizationSpecManager", "encryptionKey") => {
                Some(Val::Text("base64Binary".into(), self.world.setup_key()))
            }
            ("CustomizationSpecManager", "info") => {
                let user = user.unwrap_or_default();
                let may = self.world.may(
                    user,
                    self.world.root(),
                    "VirtualMachine.Provisioning.ReadCustSpecs",
                );
                let all = self.world.specs.iter().filter(|_| may);
                let all = all.map(|(name, kept)| customize::info(name, kept)).collect();
                Some(arr("CustomizationSpecInfo", all))
            }
            ("CustomFieldsManager", "field") => Some(self.field_list()),
            ("TaskManager", "recentTask") => Some(self.recent(|_| true)),
            ("SessionManager", "sessionList") => Some(arr(
                "UserSession",
                self.world.sessions.values().map(super::session::value).collect(),
            )),
            ("VirtualMachineSnapshot", _) => machine::of_snapshot(self, id, name),
            _ => None,
        }
    }

    fn of_entity(&self, user: Option<&str>, id: &str, entity: &Entity, name: &str) -> Option<Val> {
        match name {
            "name" => return Some(text(entity.name.clone())),
            "parent" => return entity.parent.as_ref().map(|parent| reference(self, parent)),
            "customValue" | "value" => {
                let values = entity.custom.iter().map(|(key, value)| {
                    obj(
                        "CustomFieldStringValue",
                        vec![("key", int(key)), ("value", text(value.clone()))],
                    )
                });
                return Some(arr("CustomFieldValue", values.collect()));
            }
            "overallStatus" | "configStatus" => return Some(word("ManagedEntityStatus", "green")),
            "recentTask" => return Some(self.recent(|entity| entity == id)),
            "permission" => {
                let grants = entity
                    .grants
                    .iter()
                    .map(|grant| super::ops::access::permission(self, id, grant));
                return Some(arr("Permission", grants.collect()));
            }
            "effectiveRole" => {
                let roles = user.map(|user| self.world.effective_roles(user, id));
                return Some(arr("int", roles.into_iter().flatten().map(int).collect()));
            }
            _ => {}
        }
        let sees = |id: &str| user.is_none_or(|user| self.world.may(user, id, "System.View"));
        let all = |ids: Vec<&str>| {
            Some(refs(
                ids.into_iter()
                    .filter(|id| self.switches.hidden_in_lists || sees(id))
                    .map(|id| reference(self, id))
                    .collect(),
            ))
        };
        match &entity.kind {
            Kind::Vm(vm) => machine::of_vm(self, id, &entity.name, vm, name),
            Kind::Folder(holds) => match name {
                "childType" => {
                    Some(arr("string", holds.iter().map(|it| text(it.clone())).collect()))
                }
                "childEntity" => all(self.world.children(id).map(|(id, _)| id).collect()),
                _ => None,
            },
            Kind::Datacenter { vm, host, datastore, network } => match name {
                "vmFolder" => Some(reference(self, vm)),
                "hostFolder" => Some(reference(self, host)),
                "datastoreFolder" => Some(reference(self, datastore)),
                "networkFolder" => Some(reference(self, network)),
                "datastore" => all(self.world.children(datastore).map(|(id, _)| id).collect()),
                "network" => all(infra::networks_in(self, network)),
                _ => None,
            },
            Kind::Cluster { drs, pool } => infra::of_cluster(self, id, (*drs, pool), name, &all),
            Kind::Host(host) => infra::of_host(self, id, (entity, host), name, &all),
            Kind::Pool(pool) => infra::of_pool(self, id, (entity, pool), name, &all),
            Kind::Datastore(store) => infra::of_datastore(self, id, (entity, store), name, &all),
            Kind::Network | Kind::Portgroup { .. } => {
                infra::of_network(self, id, entity, name, &all)
            }
            Kind::Switch { uuid } => infra::of_switch(self, id, (entity, uuid), name, &all),
        }
    }

    fn recent(&self, fits: impl Fn(&str) -> bool) -> Val {
        let mut tasks: Vec<(u64, &String)> = self
            .world
            .tasks
            .iter()
            .filter(|(_, task)| fits(&task.entity) || task.born.as_deref().is_some_and(&fits))
            .map(|(id, task)| (task.queued_ms, id))
            .collect();
        tasks.sort();
        let from = tasks.len().saturating_sub(tasks::RECENT_MAX);
        refs(tasks[from..].iter().map(|(_, id)| Val::Ref("Task".into(), (*id).clone())).collect())
    }

    fn domain_list(&self) -> Val {
        let domains = self.world.access.domains();
        arr("string", domains.into_iter().map(text).collect())
    }

    fn role_list(&self) -> Val {
        let roles =
            self.world.access.all_roles().into_iter().map(|(id, name, privileges, system)| {
                let info = obj("Description", vec![("label", text(name)), ("summary", text(name))]);
                obj(
                    "AuthorizationRole",
                    vec![
                        ("roleId", int(id)),
                        ("system", flag(system)),
                        ("name", text(name)),
                        ("info", info),
                        ("privilege", arr("string", privileges.into_iter().map(text).collect())),
                    ],
                )
            });
        arr("AuthorizationRole", roles.collect())
    }

    fn field_list(&self) -> Val {
        let fields = self.world.fields.iter().map(|(key, field)| field_def(*key, field));
        arr("CustomFieldDef", fields.collect())
    }
}

/// A custom attribute's definition.
pub(crate) fn field_def(key: i32, field: &super::world::CustomField) -> Val {
    let mut fields =
        vec![("key", int(key)), ("name", text(field.name.clone())), ("type", text("string"))];
    fields.extend(field.of.clone().map(|of| ("managedObjectType", text(of))));
    obj("CustomFieldDef", fields)
}

/// An allocation as it is told.
pub(crate) fn allocation(of: &Allocation) -> Val {
    let shares = obj(
        "SharesInfo",
        vec![("shares", int(of.shares)), ("level", word("SharesLevel", &of.level))],
    );
    obj(
        "ResourceAllocationInfo",
        vec![
            ("reservation", super::val::long(of.reservation)),
            ("expandableReservation", flag(of.expandable)),
            ("limit", super::val::long(of.limit)),
            ("shares", shares),
        ],
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::vcenter::schema::schema;
    use crate::vcenter::server::Core;
    use crate::vcenter::val::{Val, write};
    use crate::vcenter::world::{Entity, World};
    use crate::vcenter::xml::{Elem, parse};

    fn core() -> Core {
        let world = include_str!("../../../../fixtures/worlds/vcenter.yaml");
        Core::new(World::from_yaml(world).expect("a world"), &crate::vcenter::Options::new(1))
    }

    /// Elements that have to be there and are not.
    fn missing(elem: &Elem, ty: &str, found: &mut BTreeSet<String>) {
        let ty = if elem.ty.is_empty() { ty } else { &elem.ty };
        let Some(fields) = schema().fields(ty) else { return };
        for field in fields {
            let kids: Vec<&Elem> = elem.all(field.name).collect();
            if field.required && kids.is_empty() {
                found.insert(format!("{ty}.{}", field.name));
            }
            kids.into_iter().for_each(|kid| missing(kid, field.ty, found));
        }
    }

    fn text_of(value: &Val) -> Elem {
        let mut out = String::from(
            "<x xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\">",
        );
        write(&mut out, "val", value, "anyType");
        out.push_str("</x>");
        parse(&out).expect("XML").kids[0].clone()
    }

    #[test]
    fn the_fixture_has_every_kind_of_object() {
        let core = core();
        let kinds: BTreeSet<&str> = core.world.entities.values().map(Entity::type_name).collect();
        assert_eq!(kinds.len(), 10, "{kinds:?}");
        assert!(kinds.iter().all(|kind| schema().properties(kind).is_some()));
    }

    #[test]
    fn what_is_told_has_all_that_it_must_have_save_what_is_known_to_be_left_out() {
        let core = core();
        let mut found = BTreeSet::new();
        for (id, entity) in &core.world.entities {
            for property in schema().properties(entity.type_name()).expect("properties") {
                let Some(value) = core.property(None, entity.type_name(), id, property.name) else {
                    continue;
                };
                let elem = text_of(&value);
                match &value {
                    Val::Arr(ty, _) => {
                        elem.kids.iter().for_each(|kid| missing(kid, ty, &mut found));
                    }
                    Val::Obj(..) | Val::Text(..) | Val::Ref(..) | Val::Raw(_) => {
                        missing(&elem, property.ty, &mut found);
                    }
                }
            }
        }
        let known = [
            "DVPortgroupConfigInfo.policy",
            "DVSConfigInfo.configVersion",
            "DVSConfigInfo.contact",
            "DVSConfigInfo.createTime",
            "DVSConfigInfo.defaultPortConfig",
            "DVSConfigInfo.maxPorts",
            "DVSConfigInfo.networkResourceManagementEnabled",
            "DVSConfigInfo.numStandalonePorts",
            "DVSConfigInfo.productInfo",
            "DVSConfigInfo.uplinkPortPolicy",
            "VirtualMachineConfigInfo.defaultPowerOps",
        ];
        assert_eq!(found, known.iter().map(|it| (*it).to_owned()).collect());
    }
}
