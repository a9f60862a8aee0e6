//! The file as a Go template, with the functions topology files may use.

use crate::actions::{actions, unbalanced};
use gotmpl::{Template, TemplateError, Value};
use ipnet::IpNet;
use netloom_yaml::{Node, Scalar, Value as Yaml};
use std::sync::Arc;

/// Most rounds of all `range` loops together.
const MAX_ROUNDS: u64 = 10_000_000;

/// Renders `text` with `data`; `others` are templates that `{{ template "name" }}` finds.
pub fn render(
    text: &str,
    others: &[(String, String)],
    data: &Value,
) -> Result<String, TemplateError> {
    let mut template = functions(Template::new("topology")).max_range_iters(MAX_ROUNDS);
    for (name, body) in others {
        if let Some((_, why)) = unbalanced(body) {
            return fail(format!("template `{name}`: {why}"));
        }
        let body = name_functions(body);
        template = template.parse(&format!("{{{{ define {name:?} }}}}{body}{{{{ end }}}}"))?;
    }
    template.parse(&name_functions(text))?.execute_to_string(data)
}

/// A YAML value as template data.
pub fn data(node: &Node) -> Value {
    match &node.value {
        Yaml::Seq(items) => Value::List(items.iter().map(data).collect()),
        Yaml::Map(entries) => Value::Map(Arc::new(
            entries.iter().map(|e| (Arc::from(e.key.as_str()), data(&e.value))).collect(),
        )),
        Yaml::Scalar { .. } => match node.typed() {
            Some(Scalar::Bool(b)) => Value::Bool(b),
            Some(Scalar::Int(n)) => Value::Int(n),
            Some(Scalar::Float(f)) => Value::Float(f),
            Some(Scalar::Str(s)) => Value::String(s.into()),
            _ => Value::Nil,
        },
    }
}

/// Merges template data; `over` wins, maps are merged at every depth.
pub fn merge(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Map(u), Value::Map(o)) => {
            let mut map = (*u).clone();
            for (key, value) in o.iter() {
                let merged = match map.remove(key) {
                    Some(have) => merge(have, value.clone()),
                    None => value.clone(),
                };
                map.insert(key.clone(), merged);
            }
            Value::Map(Arc::new(map))
        }
        (_, over) => over,
    }
}

fn fail<T>(message: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError::Exec(message.into()))
}

/// A number argument: numbers, and texts that are numbers.
fn number(function: &str, v: &Value) -> Result<f64, TemplateError> {
    match v {
        Value::Int(n) => Ok(*n as f64),
        Value::Uint(n) => Ok(*n as f64),
        Value::Float(f) => Ok(*f),
        Value::Bool(b) => Ok(f64::from(u8::from(*b))),
        Value::String(s) => {
            s.trim().parse().or_else(|_| fail(format!("{function}: `{s}` is not a number")))
        }
        other => fail(format!("{function}: {other} is not a number")),
    }
}

fn integer(function: &str, v: &Value) -> Result<i64, TemplateError> {
    match v {
        Value::Int(n) => Ok(*n),
        other => number(function, other).map(|f| f as i64),
    }
}

/// Whole when every argument is.
fn arithmetic(
    name: &'static str,
    args: &[Value],
    whole: fn(i64, i64) -> Option<i64>,
    real: fn(f64, f64) -> f64,
) -> Result<Value, TemplateError> {
    let Some((first, rest)) = args.split_first() else { return Ok(Value::Int(0)) };
    if args.iter().any(|a| matches!(a, Value::Float(_))) {
        let mut total = number(name, first)?;
        for a in rest {
            total = real(total, number(name, a)?);
        }
        return Ok(Value::Float(total));
    }
    let mut total = integer(name, first)?;
    for a in rest {
        match whole(total, integer(name, a)?) {
            Some(n) => total = n,
            None => return fail(format!("{name}: the result is not a number that can be had")),
        }
    }
    Ok(Value::Int(total))
}

/// Adds the functions beyond Go's own.
pub fn functions(template: Template) -> Template {
    template
        .func("add", |a| arithmetic("add", a, i64::checked_add, |x, y| x + y))
        .func("mul", |a| arithmetic("mul", a, i64::checked_mul, |x, y| x * y))
        .func("subtract", |a| arithmetic("subtract", a, i64::checked_sub, |x, y| x - y))
        .func("idiv", |a| arithmetic("idiv", a, i64::checked_div, |x, y| (x / y).trunc()))
        .func("rem", |a| arithmetic("rem", a, i64::checked_rem, |x, y| x % y))
        .func("div", |a| match a {
            [x, y] => {
                let by = number("div", y)?;
                if by == 0.0 {
                    fail("div: division by zero")
                } else {
                    Ok(Value::Float(number("div", x)? / by))
                }
            }
            _ => fail("div needs two numbers"),
        })
        .func("seq", seq)
        .func("slice", slice)
        .func("ToJSON", |a| Ok(Value::String(json(a.first(), None).into())))
        .func("ToJSONPretty", |a| match a {
            [indent, v] => Ok(Value::String(json(Some(v), Some(&indent.to_string())).into())),
            _ => fail("ToJSONPretty needs an indentation and a value"),
        })
        .func("ToLower", |a| Ok(Value::String(text(a, 0).to_lowercase().into())))
        .func("ToUpper", |a| Ok(Value::String(text(a, 0).to_uppercase().into())))
        .func("hasSuffix", |a| Ok(Value::Bool(text(a, 1).ends_with(&text(a, 0)))))
        .func("hasPrefix", |a| Ok(Value::Bool(text(a, 1).starts_with(&text(a, 0)))))
        .func("contains", |a| Ok(Value::Bool(text(a, 1).contains(&text(a, 0)))))
        .func("replace", |a| Ok(Value::String(text(a, 2).replace(&text(a, 0), &text(a, 1)).into())))
        .func("strings_Split", split)
        .func("strings_ReplaceAll", |a| {
            Ok(Value::String(text(a, 2).replace(&text(a, 0), &text(a, 1)).into()))
        })
        .func("conv_Join", join)
        .func("conv_ToInt", |a| {
            Ok(Value::Int(integer("conv.ToInt", a.first().unwrap_or(&Value::Nil))?))
        })
        .func("net_CIDRHost", cidr_host)
}

fn text(args: &[Value], i: usize) -> String {
    args.get(i).map(Value::to_string).unwrap_or_default()
}

/// Functions written `group.name`; the template engine knows them as `group_name`.
const GROUPED: [&str; 5] =
    ["strings.Split", "strings.ReplaceAll", "conv.Join", "conv.ToInt", "net.CIDRHost"];

/// Rewrites `strings.Split` to `strings_Split` inside actions, outside of quotes. The length stays
/// the same, so that positions in errors do.
pub fn name_functions(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    for action in actions(text) {
        let mut quote = 0u8;
        let mut i = action.start;
        while i < action.end {
            let b = out[i];
            if quote != 0 {
                match b {
                    b'\\' if quote == b'"' => i += 1,
                    b if b == quote => quote = 0,
                    _ => {}
                }
            } else if matches!(b, b'"' | b'`' | b'\'') {
                quote = b;
            } else if !(out[i - 1].is_ascii_alphanumeric() || b"._$".contains(&out[i - 1])) {
                let name = GROUPED.iter().find(|n| out[i..].starts_with(n.as_bytes()));
                if let Some(dot) = name.and_then(|n| n.find('.')) {
                    out[i + dot] = b'_';
                }
            }
            i += 1;
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_string())
}

fn split(args: &[Value]) -> Result<Value, TemplateError> {
    let (by, whole) = (text(args, 0), text(args, 1));
    Ok(Value::List(whole.split(by.as_str()).map(|p| Value::String(p.into())).collect()))
}

fn join(args: &[Value]) -> Result<Value, TemplateError> {
    match args.first() {
        Some(Value::List(items)) => {
            let words: Vec<String> = items.iter().map(Value::to_string).collect();
            Ok(Value::String(words.join(&text(args, 1)).into()))
        }
        _ => fail("conv.Join needs a list and a separator"),
    }
}

fn cidr_host(args: &[Value]) -> Result<Value, TemplateError> {
    // `net.CIDRHost 5 "10.0.0.0/24"`: the fifth address; negative counts from the end.
    let n = integer("net.CIDRHost", args.first().unwrap_or(&Value::Nil))?;
    let net = text(args, 1);
    let Ok(net) = net.parse::<IpNet>() else {
        return fail(format!("net.CIDRHost: `{net}` is not a subnet"));
    };
    let (base, size) = match net {
        IpNet::V4(v) => (u128::from(u32::from(v.network())), 1u128 << (32 - v.prefix_len())),
        IpNet::V6(v) => (
            u128::from(v.network()),
            1u128.checked_shl(128 - u32::from(v.prefix_len())).unwrap_or(u128::MAX),
        ),
    };
    let offset = if n < 0 { size.checked_sub(n.unsigned_abs().into()) } else { Some(n as u128) };
    match offset.filter(|o| *o < size) {
        Some(o) => {
            let address = match net {
                IpNet::V4(_) => std::net::IpAddr::V4(((base + o) as u32).into()),
                IpNet::V6(_) => std::net::IpAddr::V6((base + o).into()),
            };
            Ok(Value::String(address.to_string().into()))
        }
        None => fail(format!("net.CIDRHost: {net} has no address number {n}")),
    }
}

/// `seq [start] end [step]`, inclusive; a step in the wrong direction is turned round.
fn seq(args: &[Value]) -> Result<Value, TemplateError> {
    const MOST: i64 = 1_000_000;
    let n: Vec<i64> = args.iter().map(|a| integer("seq", a)).collect::<Result<_, _>>()?;
    let (start, end, step) = match n[..] {
        [end] => (1, end, 1),
        [start, end] => (start, end, 1),
        [start, end, step] => (start, end, step),
        _ => return fail("seq needs one to three numbers"),
    };
    if step == 0 {
        return Ok(Value::List(Vec::new().into()));
    }
    let distance = end.checked_sub(start);
    let rounds = distance.and_then(|d| d.checked_abs()?.checked_div(step.checked_abs()?));
    let Some(rounds) = rounds.filter(|rounds| *rounds <= MOST) else {
        return fail("seq: that would be more than a million numbers");
    };
    let step = if end >= start { step.abs() } else { -step.abs() };
    let list: Vec<Value> = (0..=rounds).map(|k| Value::Int(start + k * step)).collect();
    Ok(Value::List(list.into()))
}

/// A list of its arguments (not Go's slicing).
fn slice(args: &[Value]) -> Result<Value, TemplateError> {
    Ok(Value::List(args.to_vec().into()))
}

fn json(v: Option<&Value>, indent: Option<&str>) -> String {
    fn tree(v: &Value) -> serde_json::Value {
        match v {
            Value::Bool(b) => (*b).into(),
            Value::Int(n) => (*n).into(),
            Value::Uint(n) => (*n).into(),
            Value::Float(f) => (*f).into(),
            Value::String(s) => s.to_string().into(),
            Value::List(l) => l.iter().map(tree).collect(),
            Value::Map(m) => {
                serde_json::Value::Object(m.iter().map(|(k, v)| (k.to_string(), tree(v))).collect())
            }
            _ => serde_json::Value::Null,
        }
    }
    let tree = v.map_or(serde_json::Value::Null, tree);
    match indent {
        None => tree.to_string(),
        Some(indent) => {
            let mut out = Vec::new();
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            let mut ser = serde_json::Serializer::with_formatter(&mut out, formatter);
            let written = serde::Serialize::serialize(&tree, &mut ser);
            written.ok().and_then(|()| String::from_utf8(out).ok()).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gotmpl::tmap;

    fn go(text: &str) -> String {
        render(text, &[], &tmap! { "n" => 3, "name" => "x", "list" => vec!["a", "b"] }).unwrap()
    }

    #[test]
    fn functions_of_topology_files() {
        assert_eq!(go("{{range $i := seq 1 .n}}{{$i}},{{end}}"), "1,2,3,");
        assert_eq!(
            go("{{add 1 2 3}} {{mul 2 3}} {{subtract 5 3}} {{idiv 7 2}} {{rem 7 2}} {{div 7 2}}"),
            "6 6 2 3 1 3.5"
        );
        assert_eq!(go(r#"{{conv.Join .list "-"}} {{strings.ReplaceAll "a" "b" "aa"}}"#), "a-b bb");
        assert_eq!(go(r#"{{index (strings.Split "," "p,q") 1}} {{conv.ToInt "7"}}"#), "q 7");
        assert_eq!(go(r#"{{net.CIDRHost 5 "10.0.0.0/24"}}"#), "10.0.0.5");
        assert_eq!(go(r#"{{ToJSON .list}} {{index (slice "a" "b") 1}}"#), r#"["a","b"] b"#);
        assert_eq!(go(r#"{{printf "%03d-%05.2f" 7 3.14159}}"#), "007-03.14");
        assert_eq!(go("{{.missing}}"), "<no value>");
    }

    #[test]
    fn other_templates_and_blocks() {
        let others = [("greet".to_string(), "hi {{.}}".to_string())];
        let out = render(
            r#"{{template "greet" .name}}{{block "b" .}} b{{end}}{{with .name}} {{.}}{{end}}"#,
            &others,
            &tmap! { "name" => "x" },
        );
        assert_eq!(out.unwrap(), "hi x b x");
    }

    #[test]
    fn errors_are_errors() {
        assert!(render("{{ nosuch }}", &[], &Value::Nil).is_err());
        assert!(render("{{ div 1 0 }}{{ idiv 1 0 }}", &[], &Value::Nil).is_err());
        for far in
            ["1 99999999", "-9223372036854775807 9223372036854775807", "-9223372036854775807"]
        {
            let text = format!("{{{{ range seq {far} }}}}{{{{ end }}}}");
            assert!(render(&text, &[], &Value::Nil).is_err(), "{far}");
        }
        let edge = "{{ seq 9223372036854775806 9223372036854775807 }}{{ seq 3 1 }}{{ seq 1 5 2 }}";
        assert_eq!(go(edge), "[9223372036854775806 9223372036854775807][3 2 1][1 3 5]");
        assert_eq!(go("{{/* don't */}}{{ conv.Join .list \"-\" }}"), "a-b");
        let others = [("x".to_string(), "{{ if . }}".to_string())];
        assert!(render("{{ template \"x\" }}", &others, &Value::Nil).is_err());
    }
}
