use super::*;
use crate::provider::vcenter::vim::script::{LOGIN, Say, after_login};

fn task(id: u32) -> MoRef {
    MoRef::new("Task", format!("task-{id}"))
}

fn states(tasks: &[(u32, &str, &str)]) -> Say {
    let objects: String = tasks
        .iter()
        .map(|(id, state, more)| {
            format!(
                "<objects><obj type=\"Task\">task-{id}</obj><propSet><name>info.state</name>\
                 <val xsi:type=\"TaskInfoState\">{state}</val></propSet>{more}</objects>"
            )
        })
        .collect();
    Say::Returns(format!("<returnval>{objects}</returnval>"))
}

fn update(version: &str, changes: &[(u32, &str)], truncated: bool) -> Say {
    let objects: String = changes
        .iter()
        .map(|(id, state)| {
            format!(
                "<objectSet><kind>modify</kind><obj type=\"Task\">task-{id}</obj><changeSet>\
                 <name>info.state</name><op>assign</op><val>{state}</val></changeSet></objectSet>"
            )
        })
        .collect();
    Say::Returns(format!(
        "<returnval><version>{version}</version><filterSet><filter type=\"PropertyFilter\">f\
         </filter>{objects}</filterSet><truncated>{truncated}</truncated></returnval>"
    ))
}

fn made(kind: &str) -> Say {
    Say::Returns(format!("<returnval type=\"{kind}\">{kind}-1</returnval>"))
}

fn set_up() -> Vec<Say> {
    vec![made("PropertyCollector"), made("ListView"), made("PropertyFilter")]
}

fn after(called: &[String]) -> Vec<&str> {
    called[LOGIN.len()..].iter().map(|it| it.split(' ').next().unwrap()).collect()
}

#[tokio::test]
async fn many_tasks_are_asked_with_one_call() {
    let result =
        "<propSet><name>info.result</name><val type=\"VirtualMachine\">vm-9</val></propSet>";
    let error = "<propSet><name>info.error</name><val><fault xsi:type=\"ConcurrentAccess\"/>\
                 <localizedMessage>late</localizedMessage></val></propSet>";
    let progress = "<propSet><name>info.progress</name><val>42</val></propSet>";
    let say = states(&[
        (2, "running", progress),
        (1, "queued", ""),
        (3, "success", result),
        (4, "error", error),
    ]);
    let server = after_login(vec![say]).await;
    let tasks: Vec<MoRef> = [1, 2, 3, 4, 5, 1].into_iter().map(task).collect();
    let client = server.client();
    let found = client.task_states(&tasks, "op").await.unwrap();
    assert_eq!(found[0], TaskStatus::Queued);
    assert_eq!(found[1], TaskStatus::Running { progress: Some(42) });
    let TaskStatus::Success { result: Some(made) } = &found[2] else { panic!("{found:?}") };
    assert_eq!(made.as_moref(), Some(MoRef::new("VirtualMachine", "vm-9")));
    let TaskStatus::Error(fault) = &found[3] else { panic!("{found:?}") };
    assert!(fault.is(&FaultKind::ConcurrentAccess) && fault.text == "late");
    assert_eq!(found[4], TaskStatus::Gone);
    assert_eq!(found[5], found[0]);
    assert_eq!(after(&server.called()), ["RetrievePropertiesEx"]);
    assert!(client.task_states(&[], "op").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_watch_waits_until_one_ends_and_keeps_its_collector() {
    let mut steps = set_up();
    steps.extend([
        update("1", &[(1, "queued"), (2, "running")], true),
        update("2", &[], false),
        update("3", &[(2, "success")], false),
        states(&[(1, "queued", ""), (2, "success", "")]),
        // The list now has task 1 and 3, and 3 is unknown to the server.
        Say::Returns("<returnval type=\"Task\">task-3</returnval>".into()),
        states(&[(1, "running", "")]),
        Say::Returns(String::new()),
        Say::Returns(String::new()),
    ]);
    let server = after_login(steps).await;
    let (client, watch) = (server.client(), TaskWatch::default());
    let wait = Duration::from_secs(20);
    let found = watch.poll(&client, &[task(1), task(2)], wait, "op").await.unwrap();
    assert!(!found[0].is_final() && found[1].is_final());
    let found = watch.poll(&client, &[task(1), task(3)], wait, "op").await.unwrap();
    assert_eq!(found, [TaskStatus::Running { progress: None }, TaskStatus::Gone]);
    watch.close(&client).await;
    let called = server.called();
    let expected = [
        "CreatePropertyCollector",
        "CreateListView",
        "CreateFilter",
        "WaitForUpdatesEx",
        "WaitForUpdatesEx",
        "WaitForUpdatesEx",
        "RetrievePropertiesEx",
        "ModifyListView",
        "RetrievePropertiesEx",
        "DestroyPropertyCollector",
        "DestroyView",
    ];
    assert_eq!(after(&called), expected);
    let requests = server.requests();
    assert!(requests[6].contains("<version></version>"));
    assert!(requests[6].contains("<maxWaitSeconds>20</maxWaitSeconds>"));
    assert!(requests[7].contains("<version>1</version>"));
    assert!(requests[7].contains("<maxWaitSeconds>0</maxWaitSeconds>"));
    let (list, _) = requests[10].split_once("</ModifyListView>").unwrap();
    assert!(list.ends_with("<add type=\"Task\">task-3</add><remove type=\"Task\">task-2</remove>"));
}

#[tokio::test]
async fn where_waiting_fails_the_tasks_are_asked_and_the_next_wait_begins_anew() {
    let mut steps = set_up();
    steps.push(Say::Fault("InvalidCollectorVersion", ""));
    steps.push(states(&[(1, "running", "")]));
    steps.extend(set_up());
    steps.push(update("1", &[(1, "success")], false));
    steps.push(states(&[(1, "success", "")]));
    let server = after_login(steps).await;
    let (client, watch) = (server.client(), TaskWatch::default());
    let wait = Duration::from_secs(20);
    let found = watch.poll(&client, &[task(1)], wait, "op").await.unwrap();
    assert_eq!(found, [TaskStatus::Running { progress: None }]);
    let found = watch.poll(&client, &[task(1)], wait, "op").await.unwrap();
    assert_eq!(found, [TaskStatus::Success { result: None }]);
}
