//! draw.io, also known as diagrams.net: its uncompressed XML.

use std::fmt::Write;

use crate::Picture;
use crate::layout::layout;

/// Size of a node.
const SIZE: (i64, i64) = (120, 60);

/// The picture as a page of draw.io.
#[must_use]
pub fn drawio(picture: &Picture) -> String {
    let mut cells = String::new();
    for (at, (point, (x, y))) in picture.points.iter().zip(layout(picture)).enumerate() {
        let style = match point.kind.is_empty() {
            true => "ellipse;whiteSpace=wrap;html=0;dashed=1;",
            false => "rounded=1;whiteSpace=wrap;html=0;",
        };
        let label = match point.kind.as_str() {
            "" => escaped(&point.name),
            kind => format!("{}&#10;{}", escaped(&point.name), escaped(kind)),
        };
        let (width, height) = SIZE;
        let _ = writeln!(
            cells,
            "        <mxCell id=\"node{at}\" value=\"{label}\" style=\"{style}\" vertex=\"1\" parent=\"1\">\n          \
             <mxGeometry x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" as=\"geometry\"/>\n        </mxCell>"
        );
    }
    for (at, line) in picture.lines.iter().enumerate() {
        let _ = writeln!(
            cells,
            "        <mxCell id=\"link{at}\" style=\"endArrow=none;html=0;\" edge=\"1\" parent=\"1\" source=\"node{}\" target=\"node{}\">\n          \
             <mxGeometry relative=\"1\" as=\"geometry\"/>\n        </mxCell>",
            line.a.point, line.b.point
        );
        for (side, end, x) in [("a", &line.a, "-0.7"), ("b", &line.b, "0.7")] {
            let _ = writeln!(
                cells,
                "        <mxCell id=\"link{at}{side}\" value=\"{}\" style=\"edgeLabel;html=0;fontSize=9;\" vertex=\"1\" connectable=\"0\" parent=\"link{at}\">\n          \
                 <mxGeometry x=\"{x}\" relative=\"1\" as=\"geometry\"/>\n        </mxCell>",
                escaped(&end.interface)
            );
        }
    }
    format!(
        "<mxfile host=\"netloom\">\n  <diagram id=\"lab\" name=\"{}\">\n    <mxGraphModel grid=\"1\" page=\"0\">\n      <root>\n        \
         <mxCell id=\"0\"/>\n        <mxCell id=\"1\" parent=\"0\"/>\n{cells}      </root>\n    </mxGraphModel>\n  </diagram>\n</mxfile>\n",
        escaped(&picture.name)
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::picture::tests::picture;

    #[test]
    fn every_node_and_link_is_a_cell() {
        let text = super::drawio(&picture());
        assert_eq!(text.matches("vertex=\"1\" parent=\"1\"").count(), 4, "{text}");
        assert_eq!(text.matches(" edge=\"1\"").count(), 3);
        assert!(text.contains("value=\"br|x&amp;y&#10;bridge\""), "{text}");
        assert!(text.contains("value=\"h&quot;1\""), "{text}");
        assert!(text.contains("source=\"node1\" target=\"node2\""));
        assert_eq!(text.matches("<mxCell").count(), text.matches("</mxCell>").count() + 2);
    }
}
