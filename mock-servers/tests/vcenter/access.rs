//! Permissions, roles, custom attributes.

use mock_servers::vcenter::{Options, Switches};

use crate::client::{Center, center, props, start, through, world};

const MANAGER: (&str, &str) = ("AuthorizationManager", "AuthorizationManager");

fn grant(entity: (&str, &str), principal: &str, role: i32) -> String {
    format!(
        "<entity type=\"{}\">{}</entity><permission><principal>{principal}</principal><group>false</group>\
         <roleId>{role}</roleId><propagate>true</propagate></permission>",
        entity.0, entity.1
    )
}

async fn seen(center: &Center, api: &crate::client::Api) -> usize {
    let view = api.view(center, &["VirtualMachine"]).await;
    let spec = props("VirtualMachine", &["name", "config.uuid"]) + &through("ContainerView", &view);
    let result = api.retrieve(&spec, "").await.value();
    assert!(result.all("objects").iter().all(|it| it.all("missingSet").is_empty()));
    result.all("objects").len()
}

#[tokio::test]
async fn a_reader_only_reads() {
    let center = center().await;
    let api = center.api.fresh();
    api.log_in(("VSPHERE.LOCAL\\Reader", "sandbox-reader")).await;
    assert_eq!(seen(&center, &api).await, 7);
    let vm = center.vm("old-print");
    let on = ("VirtualMachine", vm.as_str());
    api.call("PowerOnVM_Task", on, "")
        .await
        .refused("NoPermission", "VirtualMachine.Interact.PowerOn");
    let args = "<spec><annotation>x</annotation></spec>";
    api.call("ReconfigVM_Task", on, args)
        .await
        .refused("NoPermission", "VirtualMachine.Config.Annotation");
    let args = center.clone_args("x", "", "<powerOn>false</powerOn>");
    api.call("CloneVM_Task", on, &args)
        .await
        .refused("NoPermission", "VirtualMachine.Provisioning.Clone");
    let ops = center.api.fresh();
    let login = "<userName>ops@vsphere.local</userName><password>sandbox-ops</password>";
    ops.call("Login", ("SessionManager", "SessionManager"), login)
        .await
        .refused("NoPermission", "System.View");
}

#[tokio::test]
async fn permissions_are_merged_for_each_principal() {
    let center = center().await;
    let api = &center.api;
    let folder = center.id("Folder", "novahost");
    let on = ("Folder", folder.as_str());
    for (principal, role) in
        [("VSPHERE.LOCAL\\ops", -2), ("reader@vsphere.local", -1), ("vsphere.local\\OPS", -1)]
    {
        api.call("SetEntityPermissions", MANAGER, &grant(on, principal, role)).await.done();
    }
    let args = format!("<entity type=\"Folder\">{folder}</entity><inherited>false</inherited>");
    let listed = api.call("RetrieveEntityPermissions", MANAGER, &args).await.done();
    let mut rows: Vec<(&str, &str)> = listed
        .all("returnval")
        .iter()
        .map(|it| (it.text("principal"), it.text("roleId")))
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [("VSPHERE.LOCAL\\ops", "-1"), ("VSPHERE.LOCAL\\reader", "-1")]);
    let all =
        api.call("RetrieveEntityPermissions", MANAGER, &args.replace("false", "true")).await.done();
    assert_eq!(all.all("returnval").len(), 5);
    api.call("SetEntityPermissions", MANAGER, &grant(on, "nobody@vsphere.local", -2))
        .await
        .refused("UserNotFound", "nobody");
    api.call("SetEntityPermissions", MANAGER, &grant(on, "ops@vsphere.local", -3))
        .await
        .refused("InvalidArgument", "roleId");
    api.call("SetEntityPermissions", MANAGER, &grant(on, "ops@vsphere.local", 77))
        .await
        .refused("NotFound", "");
    let fixed = center.id("Folder", "vm");
    api.call("SetEntityPermissions", MANAGER, &grant(("Folder", &fixed), "ops@vsphere.local", -2))
        .await
        .refused("InvalidArgument", "entity");
    let gone = format!(
        "<entity type=\"Folder\">{folder}</entity><user>ops@vsphere.local</user><isGroup>false</isGroup>"
    );
    api.call("RemoveEntityPermission", MANAGER, &gone).await.done();
    api.call("RemoveEntityPermission", MANAGER, &gone).await.refused("NotFound", "");
}

#[tokio::test]
async fn what_is_hidden_leaves_no_trace() {
    let center = center().await;
    let api = &center.api;
    let vm = center.vm("old-print");
    center.control.hide(&vm, true);
    assert_eq!(seen(&center, api).await, 6);
    let folder = center.id("Folder", "legacy");
    let listed = api.read(("Folder", &folder), &["childEntity"]).await;
    assert!(listed.prop("childEntity").unwrap().kids.iter().all(|it| it.text != vm));
    let direct = api.read(("VirtualMachine", &vm), &["name"]).await;
    assert_eq!(direct.get("missingSet/fault/fault").unwrap().attribute("xsi:type"), "NoPermission");
    // Its name is taken all the same.
    let args = "<newName>old-print</newName>";
    let info = api.task("Rename_Task", ("VirtualMachine", &center.vm("dns-legacy")), args).await;
    assert_eq!(crate::client::error_of(&info), "DuplicateName");
    center.control.hide(&vm, false);
    assert_eq!(seen(&center, api).await, 7);
}

#[tokio::test]
async fn what_is_veiled_is_there_and_tells_its_name_alone() {
    let center = center().await;
    let vm = center.vm("old-print");
    center.control.veil(&vm, true);
    let view = center.api.view(&center, &["VirtualMachine"]).await;
    let spec = props("VirtualMachine", &["name"]) + &through("ContainerView", &view);
    let listed = center.api.retrieve(&spec, "").await.value();
    assert_eq!(listed.all("objects").len(), 7);
    let read = center.api.read(("VirtualMachine", &vm), &["name", "config.uuid"]).await;
    assert_eq!(read.prop("name").unwrap().text, "old-print");
    assert_eq!(read.get("missingSet/fault/fault").unwrap().attribute("xsi:type"), "NoPermission");
    center.control.veil(&vm, false);
    let read = center.api.read(("VirtualMachine", &vm), &["config.uuid"]).await;
    assert!(read.prop("config.uuid").is_some());
}

#[tokio::test]
async fn a_list_may_name_what_an_account_must_not_see() {
    for hidden_in_lists in [false, true] {
        let switches = Switches { hidden_in_lists, ..Switches::default() };
        let center = start(world(), Options { switches, ..Options::new(1) }).await;
        let (vm, host) = (center.vm("old-print"), center.id("HostSystem", "esx2.example.test"));
        center.control.hide(&vm, true);
        let read = center.api.read(("HostSystem", &host), &["vm"]).await;
        let told = read.prop("vm").unwrap().kids.iter().any(|it| it.text == vm);
        assert_eq!(told, hidden_in_lists);
    }
}

#[tokio::test]
async fn roles_have_names_and_privileges() {
    let center = center().await;
    let api = &center.api;
    let role = "<name>nh-acme-ops</name><privIds>VirtualMachine.Interact.PowerOn</privIds>";
    let id = api.call("AddAuthorizationRole", MANAGER, role).await.value().text;
    api.call("AddAuthorizationRole", MANAGER, role).await.refused("AlreadyExists", "nh-acme-ops");
    let list = api.read(MANAGER, &["roleList"]).await;
    let roles = list.prop("roleList").unwrap();
    let own = roles.kids.iter().find(|it| it.text("name") == "nh-acme-ops").unwrap();
    assert_eq!(
        (own.text("roleId"), own.text("system"), own.all("privilege").len()),
        (id.as_str(), "false", 4)
    );
    assert!(roles.kids.iter().any(|it| it.text("name") == "Admin" && it.text("roleId") == "-1"));
    let folder = center.id("Folder", "legacy");
    let args = grant(("Folder", &folder), "ops@vsphere.local", id.parse().unwrap());
    api.call("SetEntityPermissions", MANAGER, &args).await.done();
    let ops = api.fresh();
    let session = ops.log_in(("ops@vsphere.local", "sandbox-ops")).await;
    let vm = center.vm("old-print");
    ops.done("PowerOnVM_Task", ("VirtualMachine", &vm), "").await;
    ops.call("PowerOffVM_Task", ("VirtualMachine", &vm), "")
        .await
        .refused("NoPermission", "PowerOff");
    let args = format!(
        "<entity type=\"VirtualMachine\">{vm}</entity><sessionId>{}</sessionId>\
         <privId>VirtualMachine.Interact.PowerOn</privId><privId>VirtualMachine.Interact.PowerOff</privId>",
        session.text("key")
    );
    let checked = ops.call("HasPrivilegeOnEntities", MANAGER, &args).await.value();
    let granted: Vec<&str> =
        checked.all("privAvailability").iter().map(|it| it.text("isGranted")).collect();
    assert_eq!(granted, ["true", "false"]);
    let used = format!("<roleId>{id}</roleId><failIfUsed>true</failIfUsed>");
    api.call("RemoveAuthorizationRole", MANAGER, &used).await.refused("RemoveFailed", "");
    api.call("RemoveAuthorizationRole", MANAGER, &used.replace("true", "false")).await.done();
}

#[tokio::test]
async fn a_directory_knows_names_in_domains_and_direct_members() {
    for directory_tells_domains in [false, true] {
        let switches = Switches { directory_tells_domains, ..Switches::default() };
        let center = start(world(), Options { switches, ..Options::new(1) }).await;
        let search = async |rest: &str| {
            let args = format!("<domain>vsphere.local</domain>{rest}");
            let on = ("UserDirectory", "UserDirectory");
            let found = center.api.call("RetrieveUserGroups", on, &args).await.done();
            let told = found.all("returnval").into_iter().map(|it| it.text("principal").to_owned());
            told.collect::<Vec<_>>()
        };
        let flags = |exact: bool, users: bool, groups: bool| {
            format!(
                "<exactMatch>{exact}</exactMatch><findUsers>{users}</findUsers>\
                 <findGroups>{groups}</findGroups>"
            )
        };
        let name = |name: &str| match directory_tells_domains {
            true => format!("VSPHERE.LOCAL\\{name}"),
            false => name.to_owned(),
        };
        let ops = "<searchStr>ops</searchStr>";
        assert_eq!(search(&format!("{ops}{}", flags(true, true, true))).await, [name("ops")]);
        assert!(search(&format!("{ops}{}", flags(true, false, true))).await.is_empty());
        let loud = search(&format!("<searchStr>OPS</searchStr>{}", flags(true, true, false))).await;
        assert_eq!(!loud.is_empty(), directory_tells_domains);
        let loud =
            search(&format!("<searchStr>OPS</searchStr>{}", flags(false, true, false))).await;
        assert_eq!(loud, [name("ops")]);
        let part = "<searchStr>operators</searchStr>";
        let of = |user: &str| format!("{part}<belongsToUser>{}</belongsToUser>", name(user));
        let groups = flags(true, false, true);
        let found = search(&format!("{}{groups}", of("ops"))).await;
        assert_eq!(found, [name("operators")]);
        assert!(search(&format!("{}{groups}", of("reader"))).await.is_empty());
        let args = format!("<domain>corp</domain>{ops}{}", flags(true, true, true));
        let on = ("UserDirectory", "UserDirectory");
        center.api.call("RetrieveUserGroups", on, &args).await.refused("NotFound", "domain");
    }
}

#[tokio::test]
async fn who_grants_may_do_so_on_the_object_and_above_it() {
    let center = center().await;
    let (folder, above) = (center.id("Folder", "novahost"), center.id("Folder", "vm"));
    center.control.edit(|world| {
        let list = ["Authorization.ModifyPermissions"].map(str::to_owned).into();
        let role = world.access.add_role("grants", list);
        for id in [&folder, &above] {
            let grant = mock_servers::vcenter::access::Grant {
                principal: "VSPHERE.LOCAL\\reader".to_owned(),
                group: false,
                role: if *id == folder { role } else { -2 },
                propagate: true,
            };
            world.entities.get_mut(id).unwrap().grants.push(grant);
        }
    });
    let reader = center.api.fresh();
    reader.log_in(("reader@vsphere.local", "sandbox-reader")).await;
    let args = grant(("Folder", &folder), "ops@vsphere.local", -2);
    let refused = reader.call("SetEntityPermissions", MANAGER, &args).await;
    refused.refused("NoPermission", "ModifyPermissions");
    center.control.edit(|world| {
        let role = world.access.role_id("grants").unwrap();
        let grants = &mut world.entities.get_mut(&above).unwrap().grants;
        grants.iter_mut().filter(|it| it.role == -2).for_each(|it| it.role = role);
    });
    reader.call("SetEntityPermissions", MANAGER, &args).await.done();
}

#[tokio::test]
async fn custom_attributes() {
    let center = center().await;
    let api = &center.api;
    let on = ("CustomFieldsManager", "CustomFieldsManager");
    let args = "<name>novahost.owner</name><moType>Folder</moType>";
    let key = api.call("AddCustomFieldDef", on, args).await.value().text("key").to_owned();
    api.call("AddCustomFieldDef", on, args).await.refused("DuplicateName", "novahost.owner");
    let folder = center.id("Folder", "novahost");
    let set = |kind: &str, id: &str| {
        format!("<entity type=\"{kind}\">{id}</entity><key>{key}</key><value>us</value>")
    };
    api.call("SetField", on, &set("Folder", &folder)).await.done();
    let vm = center.vm("old-print");
    api.call("SetField", on, &set("VirtualMachine", &vm)).await.refused("InvalidArgument", "key");
    let found = api.read(("Folder", &folder), &["customValue"]).await;
    let value = &found.prop("customValue").unwrap().kids[0];
    assert_eq!(
        (value.attribute("xsi:type"), value.text("value")),
        ("CustomFieldStringValue", "us")
    );
    let fields = api.read(on, &["field"]).await;
    assert_eq!(fields.prop("field").unwrap().kids[0].text("name"), "novahost.owner");
}
