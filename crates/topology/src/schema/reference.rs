//! The reference page of the format.

use super::Type::*;
use super::keys::*;
use super::*;
use std::fmt::Write;

/// The reference page of the format, generated from the table.
pub fn topology_reference() -> String {
    let mut out = String::new();
    for (title, shape) in [
        ("The file", &TOPOLOGY_FILE),
        ("`mgmt`", &MGMT),
        ("`settings`", &SETTINGS),
        ("`settings.certificate-authority`", &AUTHORITY),
        ("`topology`", &TOPOLOGY),
        ("A node", &NODE),
        ("`stages`", &STAGES),
        ("A stage", &STAGE),
        ("`wait-for`", &WAIT_FOR),
        ("A stage's `exec`", &STAGE_EXEC),
        ("`dns`", &DNS),
        ("`certificate`", &CERTIFICATE),
        ("`healthcheck`", &HEALTHCHECK),
        ("`credentials`", &CREDENTIALS),
        ("`extras`", &EXTRAS),
        ("`components`", &COMPONENT),
        ("A link", &LINK),
        ("An endpoint", &ENDPOINT),
    ] {
        let node = std::ptr::eq(shape, &NODE);
        let _ = writeln!(out, "### {title}\n");
        out.push_str(if node {
            "| key | holds | levels | meaning |\n|---|---|---|---|\n"
        } else {
            "| key | holds | meaning |\n|---|---|---|\n"
        });
        for key in shape.keys {
            let levels = if node { format!("{} | ", key.merge.words()) } else { String::new() };
            let _ = writeln!(out, "| `{}` | {} | {levels}{} |", key.name, holds(key.ty), key.doc);
        }
        for (old, new) in shape.old {
            let what = if new.is_empty() {
                "ignored, with a warning".into()
            } else {
                format!("old spelling of `{new}`, with a warning")
            };
            let levels = if node { " | " } else { "" };
            let _ = writeln!(out, "| `{old}` | | {levels}{what} |");
        }
        out.push('\n');
    }
    out
}

fn holds(ty: Type) -> String {
    match ty {
        Text => "text".into(),
        Word(words) => words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", "),
        Bool => "boolean".into(),
        Int => "whole number".into(),
        Number => "number".into(),
        TextList => "list of texts".into(),
        TextMap => "texts by name".into(),
        Any => "anything".into(),
        Object(s) => format!("map ({})", s.name),
        ObjectList(s) => format!("list of {}", s.name),
        ObjectMap(s) => format!("{} by name", s.name),
        Endpoints => "two endpoints".into(),
        Endpoint => "`node:interface`, or a map".into(),
    }
}
