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

fn after(called: &[String]) -> Vec<&str> {
    called[LOGIN.len()..].iter().map(|it| it.split(' ').next().unwrap()).collect()
}

#[tokio::test]
async fn many_tasks_are_asked_with_one_call() {
    let result =
        "<propSet><name>info.result</name><val type=\"VirtualMachine\">vm-9</val></propSet>";
    let error = "<propSet><name>info.error</name><val><fault xsi:type=\"ConcurrentAccess\"/>\
                 <localizedMessage>late</localizedMessage></val></propSet>";
    let say = states(&[
        (2, "running", ""),
        (1, "queued", ""),
        (3, "success", result),
        (4, "error", error),
    ]);
    let server = after_login(vec![say]).await;
    let tasks: Vec<MoRef> = [1, 2, 3, 4, 5, 1].into_iter().map(task).collect();
    let client = server.client();
    let found = client.task_states(&tasks, "op").await.unwrap();
    assert_eq!(found[0], TaskStatus::Queued);
    assert_eq!(found[1], TaskStatus::Running);
    let TaskStatus::Success { result: Some(made) } = &found[2] else { panic!("{found:?}") };
    assert_eq!(made.as_moref(), Some(MoRef::new("VirtualMachine", "vm-9")));
    let TaskStatus::Error(fault) = &found[3] else { panic!("{found:?}") };
    assert!(fault.is(&FaultKind::ConcurrentAccess) && fault.text == "late");
    assert_eq!(found[4], TaskStatus::Gone);
    assert_eq!(found[5], found[0]);
    assert_eq!(after(&server.called()), ["RetrievePropertiesEx"]);
    assert!(client.task_states(&[], "op").await.unwrap().is_empty());
}
