//! Graphviz.

use std::fmt::Write;

use crate::Picture;

/// The picture in Graphviz's language.
#[must_use]
pub fn dot(picture: &Picture) -> String {
    let mut out = format!("graph {} {{\n", quoted(&picture.name));
    out.push_str("  node [shape=box, style=rounded, fontname=\"Helvetica\"];\n");
    out.push_str("  edge [fontname=\"Helvetica\", fontsize=9];\n");
    for point in &picture.points {
        let shape = if point.kind.is_empty() { ", shape=ellipse" } else { "" };
        let label = match point.kind.as_str() {
            "" => point.name.clone(),
            kind => format!("{}\n{kind}", point.name),
        };
        let _ = writeln!(out, "  {} [label={}{shape}];", quoted(&point.name), quoted(&label));
    }
    for line in &picture.lines {
        let _ = writeln!(
            out,
            "  {} -- {} [taillabel={}, headlabel={}];",
            quoted(&line.a.node),
            quoted(&line.b.node),
            quoted(&line.a.interface),
            quoted(&line.b.interface)
        );
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_quoted() {
        let wanted = "graph \"net\" {
  node [shape=box, style=rounded, fontname=\"Helvetica\"];
  edge [fontname=\"Helvetica\", fontsize=9];
  \"leaf1\" [label=\"leaf1\\nlinux\"];
  \"spine\" [label=\"spine\\nnokia_srlinux\"];
  \"br|x&y\" [label=\"br|x&y\\nbridge\"];
  \"host\" [label=\"host\", shape=ellipse];
  \"leaf1\" -- \"spine\" [taillabel=\"eth1\", headlabel=\"e1-1\"];
  \"spine\" -- \"br|x&y\" [taillabel=\"e1-2\", headlabel=\"p1\"];
  \"spine\" -- \"host\" [taillabel=\"e1-3\", headlabel=\"h\\\"1\"];
}
";
        assert_eq!(super::dot(&crate::picture::tests::picture()), wanted);
    }
}
