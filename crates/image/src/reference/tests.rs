//! References: normal forms, equalities, refusals.

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn full(text: &str) -> String {
    Reference::parse(text).expect(text).to_string()
}

#[test]
fn normal_forms() {
    let digest = format!("@sha256:{HEX}");
    for (text, wanted) in [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("nicolaka/netshoot", "docker.io/nicolaka/netshoot:latest"),
        ("index.docker.io/library/alpine", "docker.io/library/alpine:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("quay.io/frr/frr:8.5.3", "quay.io/frr/frr:8.5.3"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("ceos:4.30.2F", "docker.io/library/ceos:4.30.2F"),
        ("vrnetlab/vr-sros:23.3.R1", "docker.io/vrnetlab/vr-sros:23.3.R1"),
        ("a/b__c/d--e.f", "docker.io/a/b__c/d--e.f:latest"),
        ("[::1]:5000/x:y", "[::1]:5000/x:y"),
        ("host.example/x", "host.example/x:latest"),
    ] {
        assert_eq!(full(text), wanted, "{text}");
        assert_eq!(full(wanted), wanted, "{text}");
    }
    assert_eq!(full(&format!("x/y{digest}")), format!("docker.io/x/y{digest}"));
    assert_eq!(full(&format!("x/y:1{digest}")), format!("docker.io/x/y:1{digest}"));
}

#[test]
fn spellings_match() {
    let parse = |text| Reference::parse(text).expect(text);
    assert_eq!(parse("nicolaka/netshoot"), parse("docker.io/nicolaka/netshoot:latest"));
    assert_ne!(parse("alpine:3"), parse("alpine"));
    assert!(parse("alpine:3").same_repository(&parse("docker.io/library/alpine")));
}

#[test]
fn short_forms() {
    for (text, wanted) in [
        ("docker.io/library/alpine:latest", "alpine:latest"),
        ("nicolaka/netshoot", "nicolaka/netshoot:latest"),
        ("quay.io/frr/frr:8.5.3", "quay.io/frr/frr:8.5.3"),
    ] {
        assert_eq!(Reference::parse(text).expect(text).short(), wanted);
        assert_eq!(Reference::parse(wanted), Reference::parse(text));
    }
}

#[test]
fn serde_uses_the_text() {
    let reference: Reference = serde_json::from_str("\"alpine\"").expect("a reference");
    let json = serde_json::to_string(&reference).expect("json");
    assert_eq!(json, "\"docker.io/library/alpine:latest\"");
}

#[test]
fn refusals_say_what_and_why() {
    for (text, message, hint) in [
        ("", "empty", "alpine"),
        ("$CEOS_IMAGE", "variable `CEOS_IMAGE` is not set", "export CEOS_IMAGE"),
        ("ceos:${VER}", "variable `VER` is not set", "${VER:=value}"),
        ("ceos:${VER:-}", "variable `VER` is not set", "VER"),
        ("Alpine", "`Alpine` contains upper-case", "`alpine`"),
        ("quay.io/FRR/frr", "`FRR` contains upper-case", "`frr`"),
        ("alpine:", "no tag behind it", "`alpine`"),
        ("alpine:-x", "`-x` is not a tag", "128"),
        ("alpine@sha256:12", "`sha256:12` is not a digest", "64"),
        ("alpine linux", "white space", "remove"),
        ("https://quay.io/x", "`https://`", "`quay.io/x`"),
        ("docker://alpine", "`docker://`", "`alpine`"),
        ("a//b", "empty part", "slash"),
        ("/a", "empty part", "slash"),
        ("a/", "empty part", "slash"),
        ("a._b", "`a._b` begins or ends", "joined by"),
        ("-a", "`-a` begins or ends", "joined by"),
        ("a%b", "contains `%`", "joined by"),
        ("localhost:99999/x", "`localhost:99999` is not a host", "quay.io/"),
        (HEX, "is an image id", "name"),
    ] {
        let error = Reference::parse(text).expect_err(text);
        assert!(error.to_string().contains(message), "{text}: {error}");
        assert!(error.hint().contains(hint), "{text}: {}", error.hint());
    }
    let long = "a".repeat(260);
    assert!(matches!(Reference::parse(&long), Err(ReferenceError::TooLong { .. })));
}
