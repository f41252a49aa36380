//! What somebody does to the parts of a pool between the plan and its call.

use super::{
    Case, On,
    lab::{Lab, Simulator},
};
use mock_servers::vcenter::{
    Control,
    world::{Entity, Kind},
};

const TENANT: &str = "pools:\n  acme: { at: { pve: { folder: Tenants/acme } } }\n";
const PLAIN: &str = "pools:\n  acme: { at: { pve: { folder: acme } } }\n";

async fn lab() -> (Lab, Control) {
    let case = Case { about: "pools".into(), before: TENANT.into(), ..Case::default() };
    let lab = Lab::start(&case, On::Vcenter).await;
    let control = lab.servers.values().find_map(|server| match server {
        Simulator::Vcenter(server) => Some(server.control()),
        Simulator::Proxmox(_) => None,
    });
    (lab, control.unwrap())
}

async fn stop(lab: Lab) {
    for server in lab.servers.into_values() {
        server.stop().await;
    }
}

fn find(control: &Control, kind: &str, name: &str) -> Option<String> {
    control.inspect(|world| world.find(kind, name).map(str::to_owned))
}

/// With a folder the machines in it leave the inventory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_came_into_a_folder_since_the_plan_keeps_it() {
    let (lab, control) = lab().await;
    lab.apply(TENANT).await.unwrap();
    let look = lab.look("", &[]).await;
    assert_eq!(look.made.plan.body.actions.len(), 1);
    let folder = find(&control, "Folder", "acme").unwrap();
    let machine = control.find_vm("legacy").unwrap();
    let before = control.inspect(|world| world.entities[&machine].parent.clone());
    control.edit(|world| world.entities.get_mut(&machine).unwrap().parent = Some(folder.clone()));
    let said = lab.carry_out(look).await.unwrap_err();
    assert!(said.contains("something is in `group:Tenants/acme` by now"), "{said}");
    for method in ["Destroy_Task", "UnregisterAndDestroy_Task"] {
        assert_eq!(control.counts().get(method), None, "nothing was removed");
    }
    assert_eq!(control.find_vm("legacy").as_ref(), Some(&machine));
    // Once it is out again, the folder goes, and nothing else.
    control.edit(|world| world.entities.get_mut(&machine).unwrap().parent = before);
    lab.apply("").await.unwrap();
    assert_eq!(find(&control, "Folder", "acme"), None);
    assert_eq!(control.find_vm("legacy"), Some(machine));
    stop(lab).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_made_since_the_plan_is_not_ours_by_its_name() {
    let (lab, control) = lab().await;
    let look = lab.look(PLAIN, &[]).await;
    control.edit(|world| {
        let above = world.entities[world.find("Folder", "teams").unwrap()].parent.clone();
        let holds = ["Folder", "VirtualMachine", "VirtualApp"].map(str::to_owned);
        world.add("group", Entity::new("acme", above.as_deref(), Kind::Folder(holds.into())));
    });
    lab.carry_out(look).await.unwrap_err();
    let acme = find(&control, "Folder", "acme").unwrap();
    assert!(control.inspect(|world| world.entities[&acme].custom.is_empty()), "it bears no mark");
    lab.apply(PLAIN).await.unwrap();
    lab.apply("").await.unwrap();
    assert_eq!(find(&control, "Folder", "acme"), Some(acme), "it is used, and removed by nobody");
    stop(lab).await;
}

/// Two people apply the same plan: what the second one finds done asks for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_run_has_done_by_now_is_done() {
    let (lab, control) = lab().await;
    let look = lab.look(PLAIN, &[]).await;
    lab.apply(PLAIN).await.unwrap();
    let made = control.counts().get("CreateFolder").copied();
    lab.carry_out(look).await.unwrap();
    assert_eq!(control.counts().get("CreateFolder").copied(), made);
    let look = lab.look("", &[]).await;
    lab.apply("").await.unwrap();
    lab.carry_out(look).await.unwrap();
    stop(lab).await;
}
