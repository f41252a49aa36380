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

/// What one of two products alone has.
const ONLY_THE_FIRST: &[&str] = &["tags", "tpm", "autostart", "nic.NAME.vlan"];
const ONLY_THE_SECOND: &[&str] = &[
    "hardware_version",
    "extra_config.NAME",
    "label.NAME",
    "placement.spread",
    "snapshots",
    "acl",
    "init.windows",
    "init.customization_spec",
];

#[test]
fn a_field_that_one_product_refuses_says_why() {
    for (has, fields) in [(0, ONLY_THE_FIRST), (1, ONLY_THE_SECOND)] {
        for field in fields {
            let cells = row(&table(), field);
            assert!(cells[has].create && !cells[1 - has].create, "{field}: {cells:#?}");
            assert!(!cells[1 - has].why.as_ref().unwrap().help.is_empty());
        }
    }
}

#[test]
fn a_plain_machine_is_taken_everywhere() {
    let refused = |row: &&FieldRow| {
        let mut fields = ONLY_THE_FIRST.iter().chain(ONLY_THE_SECOND);
        !fields.any(|it| *it == row.field)
    };
    for field in table().fields.iter().filter(refused) {
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
