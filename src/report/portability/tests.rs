use super::*;
use crate::{
    provider::{proxmox::Proxmox, vcenter::Vcenter},
    report::Style,
};

fn table() -> Portability {
    portability(&[&Proxmox, &Vcenter])
}

fn row(table: &Portability, field: &str) -> Vec<Support> {
    table.fields.iter().find(|row| row.field == field).unwrap().on.clone()
}

#[test]
fn a_field_that_one_product_refuses_says_why() {
    for field in ["tags", "tpm", "autostart", "nic.NAME.vlan", "comment"] {
        let cells = row(&table(), field);
        assert!(cells[0].create && !cells[1].create, "{field}: {cells:#?}");
        assert!(!cells[1].why.as_ref().unwrap().help.is_empty());
    }
    let label = row(&table(), "label.NAME");
    assert!(!label[0].create && label[1].create, "{label:#?}");
}

#[test]
fn a_plain_machine_is_taken_everywhere() {
    let refused = ["tags", "label.NAME", "tpm", "autostart", "nic.NAME.vlan", "comment"];
    for field in table().fields.iter().filter(|row| !refused.contains(&row.field.as_str())) {
        assert!(field.on.iter().all(|it| it.create), "{field:#?}");
    }
}

#[test]
fn prices_are_the_products_own() {
    use Disruption as D;
    assert_eq!(row(&table(), "memory")[0].change, [D::Restart]);
    assert_eq!(row(&table(), "memory")[1].change, [D::Restart, D::Online]);
    assert_eq!(row(&table(), "disk.NAME.bus")[1].change, []);
    assert!(!row(&table(), "init.password")[0].read_back);
}

#[test]
fn the_page_fits_80_columns_and_names_every_field() {
    let text = portability_text(&table(), &Style::PLAIN);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let listed = |field: &String| text.lines().any(|it| it.split(' ').next() == Some(field));
    assert!(table().fields.iter().all(|row| listed(&row.field)), "{text}");
    assert!(text.contains("[1]") && text.contains("restart or online"), "{text}");
}
