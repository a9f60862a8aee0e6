//! The JSON schema of topology files, for editors.

use super::Type::*;
use super::{ENDPOINT, Shape, TOPOLOGY_FILE, Type};
use serde_json::{Map, Value as Json, json};

/// The JSON schema (draft 2020-12) of the format, for editors.
pub fn json_schema() -> Json {
    let mut defs = Map::new();
    let root = object_schema(&TOPOLOGY_FILE, &mut defs);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Netloom topology",
    });
    if let (Some(out), Json::Object(root)) = (schema.as_object_mut(), root) {
        out.extend(root);
        out.insert("required".into(), json!(["name", "topology"]));
        out.insert("$defs".into(), Json::Object(defs));
    }
    schema
}

fn def_name(shape: &Shape) -> String {
    shape.name.replace('`', "").replace(' ', "-")
}

fn reference(shape: &'static Shape, defs: &mut Map<String, Json>) -> Json {
    let name = def_name(shape);
    if !defs.contains_key(&name) {
        defs.insert(name.clone(), Json::Null);
        let schema = object_schema(shape, defs);
        defs.insert(name.clone(), schema);
    }
    json!({"$ref": format!("#/$defs/{name}")})
}

fn object_schema(shape: &'static Shape, defs: &mut Map<String, Json>) -> Json {
    let mut properties = Map::new();
    for key in shape.keys {
        let mut schema = type_schema(key.ty, defs);
        if let Some(o) = schema.as_object_mut() {
            o.insert("description".into(), json!(key.doc));
        }
        properties.insert(key.name.into(), schema);
    }
    for (old, new) in shape.old {
        properties.insert(
            (*old).into(),
            json!({"deprecated": true, "description": if new.is_empty() {
                "means nothing any more".to_string()
            } else {
                format!("old spelling of `{new}`")
            }}),
        );
    }
    json!({"type": ["object", "null"], "properties": properties, "additionalProperties": false})
}

fn type_schema(ty: Type, defs: &mut Map<String, Json>) -> Json {
    let text = json!(["string", "number", "boolean", "null"]);
    match ty {
        Text => json!({"type": text}),
        Word(words) => json!({"enum": words}),
        Bool => json!({"type": ["boolean", "null"]}),
        Int => json!({"type": ["integer", "null"]}),
        Number => json!({"type": ["number", "null"]}),
        TextList => json!({"type": ["array", "null"], "items": {"type": text}}),
        TextMap => json!({"type": ["object", "null"], "additionalProperties": {"type": text}}),
        Any => json!({}),
        Object(s) => reference(s, defs),
        ObjectList(s) => {
            json!({"type": ["array", "null"], "items": reference(s, defs)})
        }
        ObjectMap(s) => {
            json!({"type": ["object", "null"], "additionalProperties": reference(s, defs)})
        }
        Endpoints => {
            let endpoint = type_schema(Endpoint, defs);
            json!({"type": "array", "minItems": 2, "maxItems": 2, "items": endpoint})
        }
        Endpoint => json!({"anyOf": [{"type": "string"}, reference(&ENDPOINT, defs)]}),
    }
}
