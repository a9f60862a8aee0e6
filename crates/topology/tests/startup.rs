//! Start-up configurations are filled in before a kind writes them.

use netloom_diag::SourceFile;
use netloom_kinds::Catalogue;
use netloom_topology::{
    Content, FileContext, Inputs, Lab, NoFiles, NodeFiles, Overrides, Settings, node_files, resolve,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

fn lab() -> Lab {
    let text = "name: s\ntopology:\n  nodes:\n    sw:\n      kind: arista_ceos\n      image: x\n      group: spines\n      startup-config: |\n        ignored, the engine reads it\n";
    let inputs = Inputs {
        topology: SourceFile::new("s.clab.yml", text.to_string()),
        path: PathBuf::from("/s/s.clab.yml"),
        vars: Vec::new(),
        templates: Vec::new(),
        env: BTreeMap::new(),
        git: None,
        overrides: Overrides::default(),
        settings: Settings::default(),
        files: &NoFiles,
    };
    resolve(&inputs, &Catalogue::builtin()).lab.expect("a lab")
}

fn filled(text: &str) -> Result<String, String> {
    let lab = lab();
    let context = FileContext {
        startup_text: text.into(),
        environment: Arc::new(BTreeMap::from([("SITE".to_string(), "north".to_string())])),
        mgmt: vec!["172.20.20.2/24".parse().expect("an address")],
        ..FileContext::default()
    };
    let files: NodeFiles = node_files(&lab, &lab.nodes[0], &context)?;
    let mut found = files.files.into_iter().filter(|f| f.path.ends_with("flash/startup-config"));
    let file = found.next().expect("a start-up configuration");
    assert!(found.next().is_none(), "one of the two");
    match file.content {
        Content::Text(text) => Ok(text),
        other => panic!("a text was expected: {other:?}"),
    }
}

#[test]
fn variables_and_templates_are_filled_in() {
    let config = "hostname {{ .ShortName }}-$SITE\nip {{ .MgmtIPv4Address }} {{ .Group }}\n\
                  secret $6$salt$hash ${UNSET:-plain}\n";
    let wanted = "hostname sw-north\nip 172.20.20.2 spines\nsecret $6$salt$hash plain\n";
    assert_eq!(filled(config).expect("it can be filled in"), wanted);
}

#[test]
fn without_one_the_kinds_own_stands() {
    assert!(filled("").expect("the kind's own").contains("hostname sw"));
}

#[test]
fn an_error_names_the_node() {
    let why = filled("hostname {{ .ShortName }\n").expect_err("no template");
    assert!(why.starts_with("the start-up configuration of node `sw`: "), "{why}");
}
