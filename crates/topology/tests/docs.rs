//! The generated pages are up to date. `NETLOOM_BLESS=1 cargo test -p netloom-topology` writes them.

use netloom_topology::{json_schema, topology_reference};
use std::path::Path;

fn check(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("NETLOOM_BLESS").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let have = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        have == text,
        "docs/{name} is out of date; NETLOOM_BLESS=1 cargo test -p netloom-topology writes it"
    );
}

#[test]
fn schema_and_reference_are_up_to_date() {
    check("topology.schema.json", &(serde_json::to_string_pretty(&json_schema()).unwrap() + "\n"));
    let head = "# Topology reference\n\nGenerated from the format's table; `docs/topology.md` explains the format.\n\n";
    check("topology-reference.md", &format!("{head}{}", topology_reference()));
}
