//! What a call needs before anything is done about it: an object that has the method, and privileges.

use super::api::Call;
use super::fault::{Fault, Outcome};
use super::server::Core;
use super::xml::Elem;

/// Privileges that a method takes on the object that it is called on.
pub(crate) fn privileges(core: &Core, call: &Call<'_>) -> Vec<&'static str> {
    match (call.elem.name.as_str(), call.kind) {
        ("CreateVM_Task", _) => vec!["VirtualMachine.Inventory.Create"],
        ("CloneVM_Task", _) => {
            if core.world.vm(call.on).is_some_and(|vm| vm.template) {
                vec!["VirtualMachine.Provisioning.DeployTemplate"]
            } else {
                vec!["VirtualMachine.Provisioning.Clone"]
            }
        }
        ("ReconfigVM_Task", _) => reconfigure_privileges(call.elem),
        ("ReconfigureComputeResource_Task", _) => vec!["Host.Inventory.EditCluster"],
        ("RelocateVM_Task", _) => vec![match core.world.vm(call.on).map(|vm| vm.power.as_str()) {
            Some("poweredOn") => "Resource.HotMigrate",
            Some(_) | None => "Resource.ColdMigrate",
        }],
        ("UpgradeVM_Task", _) => vec!["VirtualMachine.Config.UpgradeVirtualHardware"],
        ("CustomizeVM_Task", _) => vec!["VirtualMachine.Provisioning.Customize"],
        ("PowerOnVM_Task", _) => vec!["VirtualMachine.Interact.PowerOn"],
        ("PowerOffVM_Task" | "ShutdownGuest", _) => vec!["VirtualMachine.Interact.PowerOff"],
        ("ResetVM_Task" | "RebootGuest", _) => vec!["VirtualMachine.Interact.Reset"],
        ("SuspendVM_Task", _) => vec!["VirtualMachine.Interact.Suspend"],
        ("AnswerVM", _) => vec!["VirtualMachine.Interact.AnswerQuestion"],
        ("Destroy_Task", "VirtualMachine") => vec!["VirtualMachine.Inventory.Delete"],
        ("Destroy_Task", "Folder") => vec!["Folder.Delete"],
        ("Destroy_Task", "ResourcePool") => vec!["Resource.DeletePool"],
        ("UnregisterAndDestroy_Task", _) => vec!["Folder.Delete"],
        ("UnregisterVM", _) => vec!["VirtualMachine.Inventory.Unregister"],
        ("Rename_Task", "VirtualMachine") => vec!["VirtualMachine.Config.Rename"],
        ("Rename_Task", "Folder") => vec!["Folder.Rename"],
        ("Rename_Task", "ResourcePool") => vec!["Resource.RenamePool"],
        ("CreateFolder", _) => vec!["Folder.Create"],
        ("MoveIntoFolder_Task", _) => vec!["Folder.Move"],
        ("CreateResourcePool", _) => vec!["Resource.CreatePool"],
        ("UpdateConfig", _) => vec!["Resource.EditPool"],
        ("MoveIntoResourcePool", _) => vec!["Resource.AssignVMToPool"],
        ("MarkAsTemplate", _) => vec!["VirtualMachine.Provisioning.MarkAsTemplate"],
        ("MarkAsVirtualMachine", _) => vec!["VirtualMachine.Provisioning.MarkAsVM"],
        ("CreateSnapshot_Task", _) => vec!["VirtualMachine.State.CreateSnapshot"],
        ("RevertToSnapshot_Task", _) => vec!["VirtualMachine.State.RevertToSnapshot"],
        ("RemoveSnapshot_Task" | "RemoveAllSnapshots_Task", _) => {
            vec!["VirtualMachine.State.RemoveSnapshot"]
        }
        _ => vec![],
    }
}

fn reconfigure_privileges(elem: &Elem) -> Vec<&'static str> {
    let Some(spec) = elem.get("spec") else { return vec![] };
    let mut needed = Vec::new();
    for kid in &spec.kids {
        needed.push(match kid.name.as_str() {
            "name" => "VirtualMachine.Config.Rename",
            "numCPUs" | "numCoresPerSocket" => "VirtualMachine.Config.CPUCount",
            "memoryMB" => "VirtualMachine.Config.Memory",
            "extraConfig" => "VirtualMachine.Config.AdvancedConfig",
            "annotation" => "VirtualMachine.Config.Annotation",
            "cpuAllocation" | "memoryAllocation" => "VirtualMachine.Config.Resource",
            "deviceChange" => device_privilege(kid),
            "changeVersion" => continue,
            _ => "VirtualMachine.Config.Settings",
        });
    }
    needed
}

fn device_privilege(change: &Elem) -> &'static str {
    let disk = change.get("device").is_some_and(|it| it.ty == "VirtualDisk");
    match (change.text_of("operation"), disk) {
        (Some("add"), true) => "VirtualMachine.Config.AddNewDisk",
        (Some("remove"), true) => "VirtualMachine.Config.RemoveDisk",
        (Some("edit"), true) => "VirtualMachine.Config.DiskExtend",
        (Some("edit"), false) => "VirtualMachine.Config.EditDevice",
        _ => "VirtualMachine.Config.AddRemoveDevice",
    }
}

/// Privileges on what a call names beside its own object.
pub(crate) fn need_others(core: &Core, call: &Call<'_>) -> Outcome<()> {
    let on = |elem: Option<&Elem>, privilege: &str| match elem {
        Some(elem) if core.world.entities.contains_key(elem.text.trim()) => {
            core.world.need(call.user, elem.text.trim(), privilege)
        }
        Some(elem) => Err(Fault::gone(&elem.kind, elem.text.trim())),
        None => Ok(()),
    };
    let spec = call.elem.get("spec");
    match call.elem.name.as_str() {
        "CloneVM_Task" => {
            let location = spec.and_then(|it| it.get("location"));
            let folder =
                location.and_then(|it| it.get("folder")).or_else(|| call.elem.get("folder"));
            on(folder, "VirtualMachine.Inventory.CreateFromExisting")?;
            on(location.and_then(|it| it.get("pool")), "Resource.AssignVMToPool")?;
            on(location.and_then(|it| it.get("datastore")), "Datastore.AllocateSpace")
        }
        "CreateVM_Task" => on(call.elem.get("pool"), "Resource.AssignVMToPool"),
        "RelocateVM_Task" => {
            on(spec.and_then(|it| it.get("pool")), "Resource.AssignVMToPool")?;
            for locator in spec.into_iter().flat_map(|it| it.all("disk")) {
                on(locator.get("datastore"), "Datastore.AllocateSpace")?;
            }
            on(spec.and_then(|it| it.get("datastore")), "Datastore.AllocateSpace")
        }
        _ => Ok(()),
    }
}

/// Kinds of objects that have a method.
pub(crate) fn receiver(method: &str) -> &'static [&'static str] {
    match method {
        "CloneVM_Task"
        | "ReconfigVM_Task"
        | "RelocateVM_Task"
        | "UpgradeVM_Task"
        | "CustomizeVM_Task"
        | "PowerOnVM_Task"
        | "PowerOffVM_Task"
        | "ResetVM_Task"
        | "SuspendVM_Task"
        | "ShutdownGuest"
        | "RebootGuest"
        | "UnregisterVM"
        | "AnswerVM"
        | "MarkAsTemplate"
        | "MarkAsVirtualMachine"
        | "CreateSnapshot_Task"
        | "RemoveAllSnapshots_Task" => &["VirtualMachine"],
        "RevertToSnapshot_Task" | "RemoveSnapshot_Task" => &["VirtualMachineSnapshot"],
        "ReconfigureComputeResource_Task" => &["ComputeResource"],
        "CreateVM_Task" | "CreateFolder" | "MoveIntoFolder_Task" | "UnregisterAndDestroy_Task" => {
            &["Folder"]
        }
        "CreateResourcePool" | "UpdateConfig" | "MoveIntoResourcePool" => &["ResourcePool"],
        "Destroy_Task" | "Rename_Task" => &["ManagedEntity"],
        "CancelTask" => &["Task"],
        "CreateContainerView" | "CreateListView" => &["ViewManager"],
        "ModifyListView" => &["ListView"],
        "DestroyView" => &["ContainerView", "ListView", "View", "ManagedObjectView"],
        "DestroyPropertyFilter" => &["PropertyFilter"],
        "Logout" | "Login" => &["SessionManager"],
        "CurrentTime" | "RetrieveServiceContent" => &["ServiceInstance"],
        "AddCustomFieldDef" | "RemoveCustomFieldDef" | "SetField" => &["CustomFieldsManager"],
        "QueryEvents" => &["EventManager"],
        "RetrieveUserGroups" => &["UserDirectory"],
        "GetCustomizationSpec" | "DoesCustomizationSpecExist" => &["CustomizationSpecManager"],
        "FindAllByUuid" | "FindByUuid" | "FindChild" | "FindByInventoryPath" => &["SearchIndex"],
        "SetEntityPermissions"
        | "RetrieveEntityPermissions"
        | "RetrieveAllPermissions"
        | "RemoveEntityPermission"
        | "AddAuthorizationRole"
        | "UpdateAuthorizationRole"
        | "RemoveAuthorizationRole"
        | "HasPrivilegeOnEntities"
        | "FetchUserPrivilegeOnEntities" => &["AuthorizationManager"],
        _ => &["PropertyCollector"],
    }
}
