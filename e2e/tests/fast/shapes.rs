//! JSON as containerlab's users read it: the same keys in the same order, the same types.

use netloom_e2e::{Docker, Sandbox};
use serde_json::Value;

/// The shape of a document: every path with its type, `*` for keys that are data.
fn shape(value: &Value, data: &[&str]) -> Vec<String> {
    fn walk(value: &Value, at: &str, data: &[&str], out: &mut Vec<String>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(list) => {
                if list.is_empty() {
                    out.push(format!("{at}[] nothing"));
                }
                for item in list {
                    walk(item, &format!("{at}[]"), data, out);
                }
                return;
            }
            Value::Object(map) => {
                if map.is_empty() {
                    out.push(format!("{at} {{}}"));
                }
                for (key, item) in map {
                    let key = if data.contains(&at) { "*" } else { key };
                    walk(item, &format!("{at}.{key}"), data, out);
                }
                return;
            }
        };
        out.push(format!("{at} {kind}"));
    }
    let mut out = Vec::new();
    walk(value, "", data, &mut out);
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|line| seen.insert(line.clone()));
    out
}

/// A node as `inspect` lists it.
const NODE: [&str; 13] = [
    "lab_name string",
    "labPath string",
    "absLabPath string",
    "name string",
    "container_id string",
    "image string",
    "kind string",
    "group string",
    "state string",
    "status string",
    "ipv4_address string",
    "ipv6_address string",
    "owner string",
];
/// A node in all its details; what is ours alone is below `Netloom`.
const DETAILS: [&str; 22] = [
    ".*[].Names[] string",
    ".*[].ID string",
    ".*[].ShortID string",
    ".*[].Image string",
    ".*[].State string",
    ".*[].Status string",
    ".*[].Labels.* string",
    ".*[].Pid number",
    ".*[].NetworkName string",
    ".*[].NetworkSettings.IPv4addr string",
    ".*[].NetworkSettings.IPv4pLen number",
    ".*[].NetworkSettings.IPv4Gw string",
    ".*[].NetworkSettings.IPv6addr string",
    ".*[].NetworkSettings.IPv6pLen number",
    ".*[].NetworkSettings.IPv6Gw string",
    ".*[].Mounts[].Source string",
    ".*[].Mounts[].Destination string",
    ".*[].Ports[].host_ip string",
    ".*[].Ports[].host_port number",
    ".*[].Ports[].port number",
    ".*[].Ports[].protocol string",
    ".*[].Ports[] nothing",
];
/// An interface; under this name without addresses.
const INTERFACES: [&str; 8] = [
    "[].name string",
    "[].interfaces[].name string",
    "[].interfaces[].alias string",
    "[].interfaces[].mac string",
    "[].interfaces[].ifindex number",
    "[].interfaces[].mtu number",
    "[].interfaces[].type string",
    "[].interfaces[].state string",
];
const EXEC: [&str; 4] =
    [".*[].cmd[] string", ".*[].return-code number", ".*[].stdout string", ".*[].stderr string"];
const IMPAIRED: [&str; 6] = [
    ".*[].interface string",
    ".*[].delay string",
    ".*[].jitter string",
    ".*[].packet_loss number",
    ".*[].rate number",
    ".*[].corruption number",
];
const LAB: &str = "
nodes:
  a: {kind: linux, image: 'e2e/busybox:latest', group: g, ports: ['18080:80'], labels: {x: y},
      binds: ['shapes.clab.yml:/x:ro']}
  b: {kind: linux, image: 'e2e/busybox:latest', group: g, binds: ['shapes.clab.yml:/x:ro']}
links:
  - endpoints: [a:eth1, b:eth1]
";

#[test]
fn json_under_the_other_name() {
    let mut s = Sandbox::new();
    let _docker = Docker::start(&mut s);
    let clab = s.folders()[0].join("containerlab");
    std::os::unix::fs::symlink(netloom_e2e::binary::netloom(), &clab).unwrap();
    s.remember();
    let file = s.lab("shapes", LAB);
    let ask = |args: &str| -> Value {
        let mut list: Vec<String> = args.split(' ').map(String::from).collect();
        if list.last().is_some_and(|a| a == "-t") {
            list.push(file.display().to_string());
        }
        let done = s.run(&clab).args(&list).within(60).run().ok();
        let value: Value = serde_json::from_str(&done.stdout)
            .unwrap_or_else(|e| panic!("{args}: {e}: {}", done.stdout));
        if !args.starts_with("version") {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            assert_eq!(done.stdout.trim_end(), pretty, "{args}");
        }
        value
    };
    let plan = ask("deploy --dry-run -f json -t");
    assert_eq!(
        plan,
        serde_json::json!({
            "dry-run": true, "deployed-lab": true, "lab-name": "shapes", "added-nodes": [],
            "deleted-nodes": [], "recreated-nodes": [], "started-nodes": [], "added-links": [],
            "deleted-endpoints": [], "restarted-nodes": [],
        })
    );
    let nodes: Vec<String> = NODE.iter().map(|line| format!(".*[].{line}")).collect();
    let deployed = ask("deploy -f json -t");
    assert_eq!(shape(&deployed, &[""]), nodes);
    for args in ["inspect -f json -t", "inspect --all -f json"] {
        assert_eq!(shape(&ask(args), &[""]), nodes, "{args}");
    }
    // The owner comes last, with a group and without.
    let plain = LAB.replace(", group: g", "");
    s.lab("shapes", &plain);
    let changed = ask("deploy -f json -t");
    let ungrouped: Vec<String> = nodes.iter().filter(|l| !l.contains(".group ")).cloned().collect();
    assert_eq!(shape(&changed, &[""]), ungrouped);

    let mut details = shape(&ask("inspect --details -t"), &["", ".*[].Labels"]);
    details.retain(|line| !line.contains("].Netloom."));
    assert_eq!(details, DETAILS);
    let interfaces = ask("inspect interfaces -f json -t");
    assert_eq!(shape(&interfaces, &[]), INTERFACES);
    let lo = interfaces[0]["interfaces"].as_array().unwrap().iter().find(|i| i["name"] == "lo");
    let lo = lo.unwrap();
    assert_eq!(
        (&lo["mac"], &lo["state"], &lo["type"]),
        (&"".into(), &"unknown".into(), &"device".into())
    );
    assert_eq!(shape(&ask("exec -f json --cmd true -t"), &[""]), EXEC);
    assert_eq!(ask("tools netem show -n clab-shapes-a -f json")["clab-shapes-a"], Value::Null);
    s.run(&clab)
        .args("tools netem set -n clab-shapes-a -i eth1 --rate 100000".split(' '))
        .run()
        .ok();
    let impaired = ask("tools netem show -n clab-shapes-a -f json");
    assert_eq!(shape(&impaired, &[""]), IMPAIRED);
    let version: Vec<String> = shape(&ask("version -j"), &[]);
    let words = ["version", "commit", "date", "repository", "releaseNotes"];
    assert_eq!(version, words.map(|word| format!(".{word} string")));

    // A change: one node more, one less, one anew.
    let text = "
nodes:
  a: {kind: linux, image: 'e2e/busybox:latest', labels: {x: z}}
  c: {kind: linux, image: 'e2e/busybox:latest'}
links:
  - endpoints: [a:eth2, c:eth1]
";
    s.lab("shapes", text);
    let plan = ask("deploy --dry-run -f json -t");
    assert_eq!(
        plan,
        serde_json::json!({
            "dry-run": true, "deployed-lab": false, "added-nodes": ["c"],
            "deleted-nodes": ["b"], "recreated-nodes": ["a"], "started-nodes": [],
            "added-links": ["a:eth2 -- c:eth1"], "deleted-endpoints": ["a:eth1"],
            "restarted-nodes": [],
        })
    );
    let table = s.run(&clab).args(["deploy", "--dry-run", "-t"]).args([&file]).run().ok().stdout;
    assert!(table.contains("│ added links       │ a:eth2 -- c:eth1 │"), "{table}");
    s.gone(&file);
    let none = s.run(&clab).args(["inspect", "--all", "-f", "json"]).run().ok().stdout;
    assert_eq!(none.trim_end(), "{}");
}
