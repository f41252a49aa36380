//! Which machines keep another one from going.

use super::*;
use crate::model::MarkerDraft;

fn text(name: &str, text: &str) -> Node {
    Node { text: text.into(), ..Node::new(name) }
}

/// A disk with its files, the one that it writes first, and its datastore.
fn disk(files: &[&str], datastore: Option<&str>) -> Node {
    let mut backing: Option<Node> = None;
    for (index, file) in files.iter().enumerate().rev() {
        let mut at = Node::new(if index == 0 { "backing" } else { "parent" });
        at.children.push(text("fileName", file));
        at.children.extend(
            datastore
                .map(|id| Node { ref_type: Some("Datastore".into()), ..text("datastore", id) }),
        );
        at.children.extend(backing.take());
        backing = Some(at);
    }
    let mut disk = Node { data_type: Some("VirtualDisk".into()), ..Node::new("device") };
    disk.children.extend(backing);
    disk
}

fn own(datastore: Option<&str>) -> Own {
    Own::of(&RawMachine { devices: vec![disk(&["[fast] web/web.vmdk"], datastore)] })
}

fn seen(name: &str, files: &[&str]) -> Listed {
    Listed {
        id: name.to_owned(),
        name: name.to_owned(),
        folders: Ok(Folders::of(&[disk(files, None)])),
        datastores: BTreeSet::new(),
    }
}

fn hidden(name: &str, datastores: &[&str], is_young: bool) -> Listed {
    let datastores = datastores.iter().map(|id| MoRef::new("Datastore", *id)).collect();
    let folders = Err(Hidden { why: "connection: orphaned".to_owned(), is_young });
    Listed { folders, datastores, ..seen(name, &[]) }
}

fn verdict(own: &Own, others: &[Listed]) -> Option<(RefusalKind, String)> {
    judge(own, others.iter(), true).map(|it| (it.kind, it.text))
}

#[test]
fn who_goes_on_from_it_is_named() {
    let clone = seen("child", &["[fast] child/child.vmdk", "[fast] web/web.vmdk"]);
    let other = seen("other", &["[fast] other/other.vmdk"]);
    let (kind, text) = verdict(&own(Some("ds-1")), &[other.clone(), clone]).unwrap();
    assert_eq!(kind, RefusalKind::Invalid);
    assert!(text.contains("go on from its own: child"), "{text}");
    assert_eq!(verdict(&own(Some("ds-1")), &[other]), None);
}

/// What cannot be seen is not absent: it may hang on what is to go.
#[test]
fn a_machine_that_tells_no_disks_keeps_what_it_could_hang_on() {
    let ours = own(Some("ds-1"));
    for others in [&["ds-1"][..], &["ds-2", "ds-1"], &[]] {
        let (kind, text) = verdict(&ours, &[hidden("ruin", others, false)]).unwrap();
        assert_eq!(kind, RefusalKind::Invalid, "{others:?}");
        assert!(text.contains("ruin") && text.contains("orphaned"), "{text}");
    }
    assert_eq!(verdict(&ours, &[hidden("ruin", &["ds-2"], false)]), None);
    // Where our own disks do not say where they are, every one of them could.
    assert!(verdict(&own(None), &[hidden("ruin", &["ds-2"], false)]).is_some());
    // What is being made of ours holds it; what was being made a while ago may be there.
    let young = [hidden("young", &[], true)];
    assert_eq!(verdict(&ours, &young), None);
    assert!(judge(&ours, young.iter(), false).is_some());
}

#[test]
fn a_machine_without_disks_to_see_says_why() {
    let object = |props: Vec<(&str, Node)>| ObjectContent {
        obj: MoRef::new("VirtualMachine", "vm-1"),
        props: props.into_iter().map(|(path, node)| (path.to_owned(), node)).collect(),
        missing: [].into(),
    };
    let state = |word: &str| ("runtime.connectionState", text("val", word));
    let devices = ("config.hardware.device", Node::new("val"));
    let told = |it: &ObjectContent| Listed::of(it).folders.map_err(|it| (it.why, it.is_young));
    assert_eq!(told(&object(vec![devices, state("disconnected")])), Ok(Folders::default()));
    assert!(told(&object(vec![state("connected")])).unwrap_err().1);
    let (why, is_young) = told(&object(vec![state("orphaned")])).unwrap_err();
    assert_eq!((why.as_str(), is_young), ("connection: orphaned", false));
}

#[test]
fn a_removal_is_asked_about_from_its_first_step_on() {
    let announce = |stage| StepOp::Configure(vec![Setting::Marker(MarkerDraft::new(stage))]);
    assert_eq!(wanted(&announce(Stage::Deleting)), Some(Age::Recent));
    assert_eq!(wanted(&announce(Stage::Ready)), None);
    assert_eq!(wanted(&StepOp::Delete), Some(Age::Now));
    let gone = StepOp::RemoveSnapshot { id: "s".into(), name: "s".into() };
    assert_eq!(wanted(&gone), Some(Age::Recent));
    assert_eq!(wanted(&StepOp::Shutdown), None);
}
