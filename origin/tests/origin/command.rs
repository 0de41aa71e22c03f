//! `antiphon-origin` as an operator meets it.

use crate::world::{Origin, World};
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

fn origin() -> Command {
    Command::new(env!("CARGO_BIN_EXE_antiphon-origin"))
}

fn with_config(text: &str, command: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("origin.toml");
    std::fs::write(&file, text).unwrap();
    origin().args([command, "--config", file.to_str().unwrap()]).output().unwrap()
}

#[test]
fn a_bad_file_is_refused_with_its_place_and_exit_code_2() {
    for (text, hint) in [
        ("[serve]\nconcurent_max = 1\n", "origin.toml:2:1: unknown field `concurent_max`"),
        ("[serve]\nconcurrent_max = 0\n", "serve.concurrent_max = 0 is not between 1 and 65536"),
        ("listen = \"0.0.0.0:8280\"\n", "private_network = true"),
        ("[log]\nfilter = \"=,=\"\n", "log.filter"),
        ("[store]\nkind = \"s3\"\n", "store.s3.endpoint is empty"),
    ] {
        let output = with_config(text, "check");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(hint) && output.stdout.is_empty(), "{said}");
    }
    let output = origin().args(["check", "--config", "no-such.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_is_printed_can_be_read_back() {
    let printed = origin().arg("print-config").output().unwrap();
    assert_eq!(printed.status.code(), Some(0));
    let text = String::from_utf8(printed.stdout).unwrap();
    let again = with_config(&text, "print-config");
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
    assert_eq!(with_config(&text, "check").status.code(), Some(0));
}

#[tokio::test]
async fn a_start_without_keys_says_which_file_is_missing() {
    let world = World::new();
    std::fs::remove_file(world.keyring().join("keyring.json")).unwrap();
    let text = antiphon_core::config::render(&world.config()).unwrap();
    let file = world.folder.path().join("origin.toml");
    std::fs::write(&file, text).unwrap();
    let output = origin().arg("--config").arg(&file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("keyring.json"), "{said}");
}

#[tokio::test]
async fn it_serves_until_sigterm_and_leaves_with_0() {
    let world = World::new();
    let file = world.folder.path().join("origin.toml");
    std::fs::write(&file, antiphon_core::config::render(&world.config()).unwrap()).unwrap();
    let mut child = origin().arg("--config").arg(&file).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = log.find_map(|line| line.ok().filter(|line| line.contains("origin serves"))).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let admin = line["admin_address"].as_str().unwrap().parse().unwrap();
    assert_eq!(Origin::ask_at(admin, "/healthz").await.text(), "alive\n");
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}
