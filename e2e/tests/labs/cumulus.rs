//! The lab for Cumulus Linux in a container, on Debian with ifupdown2 and FRR.

use netloom_e2e::{Sandbox, images};

#[test]
fn the_cumulus_lab() {
    images::recipes(&["cumulus", "host"]);
    let _alone = super::alone();
    let s = Sandbox::new();
    let folder = s.copy("cumulus");
    let file = folder.join("cldemo2-mini.clab.yml");
    s.deploy(&file);
    println!("{}", s.checks(&file, &folder.join("checks.yml")).stdout);
    // The ports have the names of the file, nothing else.
    let ports = s.exec(&file, "leaf01", "ls -d /sys/class/net/swp*").ok().stdout;
    assert_eq!(ports.lines().count(), 5, "{ports}");
    s.gone(&file);
}
