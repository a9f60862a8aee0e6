//! Templates of kind data: what they may use (`docs/kind-schema.md`), and filling them.

use crate::env::label_variables;
use crate::lab::{LinkEndpoint, Mgmt, Node, StartupConfig};
use crate::render;
use gotmpl::{Template, Value as Data};
use netloom_kinds::Class;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What templates know of the lab.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Lab name.
    pub lab: &'a str,
    /// Prefix as written.
    pub prefix: &'a str,
    /// Lab directory.
    pub dir: &'a Path,
    /// Folder of the topology file.
    pub topo_dir: &'a Path,
    /// The user's home.
    pub home: &'a Path,
    /// Management network.
    pub mgmt: &'a Mgmt,
}

/// Renders one template of kind data.
pub fn fill(text: &str, data: &Data) -> Result<String, gotmpl::TemplateError> {
    let text = render::name_functions(text);
    render::functions(Template::new("kind")).parse(&text)?.execute_to_string(data)
}

/// What templates of kind data may use (`docs/kind-schema.md`).
pub fn data(node: &Node, place: Place<'_>, ends: &[&LinkEndpoint]) -> Data {
    let text = |s: &str| Data::String(s.into());
    let map = |m: &BTreeMap<String, String>| {
        Data::Map(Arc::new(m.iter().map(|(k, v)| (Arc::from(k.as_str()), text(v))).collect()))
    };
    let path =
        |p: Option<&Path>| text(&p.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default());
    let startup = match &node.startup_config {
        Some(StartupConfig::File(p)) => p.to_string_lossy().into_owned(),
        Some(StartupConfig::Url(u)) => u.clone(),
        Some(StartupConfig::Text(_)) => "embedded".into(),
        None => String::new(),
    };
    let interfaces: Vec<Data> = ends
        .iter()
        .map(|e| {
            let alias = e.alias.as_deref().unwrap_or_default();
            Data::Map(Arc::new(BTreeMap::from([
                (Arc::from("Name"), text(&e.interface)),
                (Arc::from("Alias"), text(alias)),
            ])))
        })
        .collect();
    let mut labels = node.labels.clone();
    labels.entry("clab-node-type".into()).or_default();
    let mut env = label_variables(&labels);
    env.extend(node.env.clone());
    let type_data = node
        .kind_data
        .types
        .names
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(&node.r#type))
        .map(|(_, data)| data.clone())
        .unwrap_or_default();
    let only = match node.components.as_array().map(Vec::as_slice) {
        Some([only]) => only.clone(),
        _ => serde_json::json!({}),
    };
    let slot = only["slot"].as_str().filter(|s| !s.is_empty()).unwrap_or("A");
    let component = component_data(&only);
    let fields: Vec<(&str, Data)> = vec![
        ("Node", text(&node.name)),
        ("LongName", text(&node.long_name)),
        ("Fqdn", text(&node.fqdn)),
        ("Lab", text(place.lab)),
        ("Prefix", text(place.prefix)),
        ("LabDir", path(Some(place.dir))),
        ("NodeDir", path(Some(node.dir.as_path()))),
        ("TopoDir", path(Some(place.topo_dir))),
        ("Home", path(Some(place.home))),
        ("Kind", text(&node.kind)),
        ("Type", text(&node.r#type)),
        ("TypeData", json_data(&type_data)),
        ("Index", Data::Int(node.index as i64)),
        ("Image", text(&node.image)),
        ("ImageTag", text(image_tag(&node.image))),
        ("License", path(node.license.as_deref())),
        ("StartupName", text(startup.rsplit('/').next().unwrap_or_default())),
        ("StartupPartial", Data::Bool(startup.to_lowercase().contains(".partial"))),
        ("StartupConfig", text(&startup)),
        ("Username", text(&node.credentials.username)),
        ("Password", text(&node.credentials.password)),
        ("Env", map(&env)),
        ("Labels", map(&labels)),
        ("MgmtIPv4Subnet", text(place.mgmt.ipv4_subnet.as_deref().unwrap_or_default())),
        ("MgmtIPv6Subnet", text(place.mgmt.ipv6_subnet.as_deref().unwrap_or_default())),
        ("NetworkMode", text(&node.network_mode)),
        ("Interfaces", Data::List(interfaces.into())),
        (
            "Components",
            component_data(if node.whole.is_null() { &node.components } else { &node.whole }),
        ),
        ("Slot", text(slot)),
        ("Component", component),
        ("Extras", json_data(&node.extras)),
        ("Vm", Data::Bool(node.kind_data.class == Class::Vm)),
    ];
    object(fields)
}

/// A map of named fields.
pub fn object(fields: Vec<(&str, Data)>) -> Data {
    Data::Map(Arc::new(fields.into_iter().map(|(k, v)| (Arc::from(k), v)).collect()))
}

fn image_tag(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').map_or("", |(_, tag)| tag.split('@').next().unwrap_or(tag))
}

/// Components with the field names templates use; absent fields are empty.
pub fn component_data(json: &Json) -> Data {
    match json {
        Json::Array(list) => Data::List(list.iter().map(component_data).collect()),
        Json::Object(map) => {
            let names = [
                ("slot", "Slot"),
                ("type", "Type"),
                ("sfm", "SFM"),
                ("mda", "MDA"),
                ("xiom", "XIOM"),
                ("env", "Env"),
            ];
            let fields = names.into_iter().map(|(key, name)| {
                let value = match map.get(key) {
                    Some(v) if matches!(key, "mda" | "xiom") => component_data(v),
                    Some(v) => json_data(v),
                    None if matches!(key, "mda" | "xiom") => Data::List(Vec::new().into()),
                    None if key == "env" => Data::Map(Default::default()),
                    None => Data::String("".into()),
                };
                (Arc::from(name), value)
            });
            Data::Map(Arc::new(fields.collect()))
        }
        other => json_data(other),
    }
}

/// JSON as template data.
pub fn json_data(json: &Json) -> Data {
    match json {
        Json::Null => Data::Nil,
        Json::Bool(b) => Data::Bool(*b),
        Json::Number(n) => {
            n.as_i64().map_or_else(|| Data::Float(n.as_f64().unwrap_or(0.0)), Data::Int)
        }
        Json::String(s) => Data::String(s.as_str().into()),
        Json::Array(list) => Data::List(list.iter().map(json_data).collect()),
        Json::Object(map) => Data::Map(Arc::new(
            map.iter().map(|(k, v)| (Arc::from(k.as_str()), json_data(v))).collect(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        assert_eq!(image_tag("localhost:5000/a/b:1.2@sha256:x"), "1.2");
        assert_eq!(image_tag("localhost:5000/a/b"), "");
    }
}
