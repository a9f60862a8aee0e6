//! A real Open vSwitch with its userspace datapath, in a sandbox of its own.

use crate::command::Running;
use crate::sandbox::Sandbox;
use crate::wait::eventually;
use nix::sys::signal::Signal;

/// Database server and switch, which end with it.
pub struct OpenVSwitch {
    database: Running,
    switch: Running,
}

impl OpenVSwitch {
    /// Starts both; what the database held before is kept.
    #[track_caller]
    pub fn start(s: &Sandbox) -> OpenVSwitch {
        let folder = s.ovs_dir();
        std::fs::create_dir_all(&folder).expect("make the switch's folder");
        let at = folder.display();
        s.sh("[ -f ovs.db ] || ovsdb-tool create ovs.db /usr/share/openvswitch/vswitch.ovsschema")
            .ok();
        let database = s
            .run("ovsdb-server")
            .args(["-vconsole:off".into(), "ovs.db".into(), format!("--remote=punix:{at}/db.sock")])
            .args([format!("--unixctl={at}/db.ctl"), format!("--pidfile={at}/db.pid")])
            .start();
        eventually("the switch's database answers", 5, || {
            s.sh("ovs-vsctl --timeout=2 --no-wait init").code == 0
        });
        let switch = s
            .run("ovs-vswitchd")
            .args(["-vconsole:off".into(), format!("unix:{at}/db.sock")])
            .args([format!("--unixctl={at}/vs.ctl"), format!("--pidfile={at}/vs.pid")])
            .start();
        s.sh("ovs-vsctl --timeout=10 show").ok();
        OpenVSwitch { database, switch }
    }

    /// Ends the switch alone; the database goes with the sandbox.
    pub fn stop_switch(self) {
        self.switch.signal(Signal::SIGKILL);
        self.switch.finish();
    }

    /// Ends both.
    pub fn stop(self) {
        for daemon in [self.switch, self.database] {
            daemon.signal(Signal::SIGKILL);
            daemon.finish();
        }
    }
}
