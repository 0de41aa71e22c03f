//! The command itself: what it prints, how it ends.

use crate::world::World;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn edge(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_antiphon-edge"));
    command.args(arguments).env_remove("NOTIFY_SOCKET");
    command
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Ends the process, however the test goes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_prints_the_shipped_configuration() {
    let output = edge(&["print-config"]).output().unwrap();
    let shipped = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/edge.toml")).unwrap();
    assert_eq!((output.status.code(), output.stdout == shipped), (Some(0), true));
}

#[test]
fn a_configuration_that_cannot_work_is_exit_code_2_and_one_precise_line() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("edge.toml");
    for (text, what) in [
        ("[limits]\nidle_sec = 3\n", "edge.toml:2:1: unknown field `idle_sec`"),
        ("[limits]\nconnections_max = 0\n", "limits.connections_max: 0 is too small"),
        ("[upstream]\nurl = \"origin\"\n", "upstream.url: \"origin\" has another scheme"),
        ("[log]\nfilter = \"a=b=c\"\n", "log.filter"),
        ("listen = \n", "edge.toml:1:"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, error) = said(&edge(&["check", "--config", file.to_str().unwrap()]).output().unwrap());
        assert!(code == Some(2) && error.contains(what), "{text:?}: {code:?} {error}");
    }
    let (code, error) = said(&edge(&["check", "--config", "/nowhere.toml"]).output().unwrap());
    assert!(code == Some(2) && error.contains("read /nowhere.toml"), "{error}");
    std::fs::write(&file, "[tls]\ncert_file = \"/nowhere.pem\"\n").unwrap();
    let (code, error) = said(&edge(&["--config", file.to_str().unwrap()]).output().unwrap());
    assert!(code == Some(2) && error.contains("read certificates from /nowhere.pem"), "{error}");
}

#[tokio::test]
async fn it_says_when_it_is_ready_and_ends_well_when_told_to() {
    // A world for its files; its own edge is not used.
    let world = World::new().await;
    let file = world.files.path().join("edge.toml");
    std::fs::write(&file, antiphon_core::config::render(&world.config).unwrap()).unwrap();
    let mut command = edge(&["--config", file.to_str().unwrap()]);
    let mut running = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let ready = log.find(|line| line.as_ref().unwrap().contains("\"ready\"")).unwrap().unwrap();
    assert!(ready.contains("127.0.0.1:"), "{ready}");
    for (signal, answer) in [("-HUP", "read the token keys anew"), ("-TERM", "stopping")] {
        let sent = Command::new("kill").args([signal, &running.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let line = log.find(|line| line.as_ref().unwrap().contains(answer));
        assert!(line.is_some(), "{signal}");
    }
    assert!(running.0.wait().unwrap().success());
}
