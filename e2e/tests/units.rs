//! The shipped systemd units and configuration files are what this build expects.

use antiphon_e2e::needs;
use std::path::Path;
use std::process::Command;

const ROLES: [&str; 3] = ["edge", "origin", "control"];

#[test]
fn systemd_verifies_each_unit_without_a_word() {
    let Some(()) = needs::program("systemd-analyze") else { return };
    let scratch = tempfile::tempdir().expect("a scratch folder");
    for role in ROLES {
        let name = format!("antiphon-{role}.service");
        let unit = std::fs::read_to_string(root().join("systemd").join(&name)).expect("a unit");
        // The binary is not installed here; any program stands in for its path.
        let unit = unit.replace(&format!("/usr/bin/antiphon-{role}"), "/bin/true");
        let file = scratch.path().join(&name);
        std::fs::write(&file, unit).expect("write the unit");
        let output =
            Command::new("systemd-analyze").arg("verify").arg(&file).output().expect("systemd-analyze");
        // An unknown key exits 0 and only prints: stderr must be empty.
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn systemd_finds_little_exposed() {
    let Some(()) = needs::program("systemd-analyze") else { return };
    for role in ROLES {
        let file = root().join(format!("systemd/antiphon-{role}.service"));
        let arguments = ["security", "--offline=yes", "--threshold=25", "--no-pager"];
        let output =
            Command::new("systemd-analyze").args(arguments).arg(&file).output().expect("systemd-analyze");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "antiphon-{role}.service is exposed above 2.5: {text}");
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
