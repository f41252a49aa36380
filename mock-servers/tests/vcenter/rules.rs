//! Rules of clusters about where machines run.

use mock_servers::vcenter::{Options, Switches};

use crate::client::{Center, center, error_of, start, world};

const METHOD: &str = "ReconfigureComputeResource_Task";

fn add(name: &str, vms: &[&str]) -> String {
    change("add", "", name, vms)
}

fn change(operation: &str, key: &str, name: &str, vms: &[&str]) -> String {
    let vms: String =
        vms.iter().map(|id| format!("<vm type=\"VirtualMachine\">{id}</vm>")).collect();
    spec(&format!(
        "<operation>{operation}</operation><info xsi:type=\"ClusterAntiAffinityRuleSpec\">{key}\
         <enabled>true</enabled><name>{name}</name><mandatory>false</mandatory>{vms}</info>"
    ))
}

fn spec(rule: &str) -> String {
    format!(
        "<spec xsi:type=\"ClusterConfigSpecEx\"><rulesSpec>{rule}</rulesSpec></spec>\
         <modify>true</modify>"
    )
}

fn remove(key: i32) -> String {
    spec(&format!("<operation>remove</operation><removeKey xsi:type=\"xsd:int\">{key}</removeKey>"))
}

fn keys(center: &Center) -> Vec<(i32, usize)> {
    center.control.inspect(|world| {
        world.rules.values().flatten().map(|rule| (rule.key, rule.vms.len())).collect()
    })
}

#[tokio::test]
async fn rules_have_keys_and_names_of_their_own() {
    let center = center().await;
    let cluster = center.id("ClusterComputeResource", "DC0_C0");
    let on = ("ClusterComputeResource", cluster.as_str());
    let (a, b) = (center.vm("old-print"), center.vm("legacy-db"));
    center.api.done(METHOD, on, &add("nh-x-web", &[&a, &b])).await;
    let [(key, 2)] = keys(&center)[..] else { panic!("{:?}", keys(&center)) };
    let told = center.api.read(on, &["configurationEx"]).await;
    let rule = told.prop("configurationEx").unwrap().get("rule").unwrap().clone();
    assert_eq!(rule.attribute("xsi:type"), "ClusterAntiAffinityRuleSpec");
    assert_eq!((rule.text("name"), rule.text("key")), ("nh-x-web", key.to_string().as_str()));
    let again = center.api.task(METHOD, on, &add("nh-x-web", &[&a, &b])).await;
    assert_eq!(error_of(&again), "InvalidArgument");
    let alone = center.api.task(METHOD, on, &add("nh-x-one", &[&a])).await;
    assert_eq!(error_of(&alone), "InvalidArgument");
    let wrong = center.api.task(METHOD, on, &remove(key + 1)).await;
    assert_eq!(error_of(&wrong), "NotFound");
    let edit = change("edit", &format!("<key>{key}</key>"), "nh-x-web", &[&b, &a]);
    center.api.done(METHOD, on, &edit).await;
    center.api.done(METHOD, on, &remove(key)).await;
    assert!(keys(&center).is_empty());
}

#[tokio::test]
async fn a_machine_that_is_gone_leaves_its_rules_in_one_reading() {
    for keeps in [false, true] {
        let mut options = Options::new(7);
        options.switches = Switches { rules_keep_gone: keeps, ..Switches::default() };
        let center = start(world(), options).await;
        let cluster = center.id("ClusterComputeResource", "DC0_C0");
        let on = ("ClusterComputeResource", cluster.as_str());
        let (a, b) = (center.vm("old-print"), center.vm("legacy-db"));
        center.api.done(METHOD, on, &add("nh-x-web", &[&a, &b])).await;
        center.control.delete_vm(&a);
        let told = center.api.read(on, &["configurationEx"]).await;
        let rule = told.prop("configurationEx").unwrap().get("rule").unwrap().clone();
        assert_eq!(rule.all("vm").len(), if keeps { 2 } else { 1 });
    }
}

#[tokio::test]
async fn who_only_reads_changes_no_cluster() {
    let center = center().await;
    let api = center.api.fresh();
    api.log_in(("reader@vsphere.local", "sandbox-reader")).await;
    let cluster = center.id("ClusterComputeResource", "DC0_C0");
    api.call(METHOD, ("ClusterComputeResource", &cluster), &remove(1))
        .await
        .refused("NoPermission", "Host.Inventory.EditCluster");
}
