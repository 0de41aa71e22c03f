//! The binary: `check`, `print-config`, exit codes.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_antiphon-control")).args(arguments).output().unwrap()
}

fn check(text: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.toml");
    std::fs::write(&file, text).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_printed_configuration_is_the_shipped_one_and_is_accepted() {
    let printed = run(&["print-config"]);
    assert!(printed.status.success());
    let text = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(text, include_str!("../../../config/control.toml"));
    assert_eq!(check(&text), (Some(0), String::new()));
}

#[test]
fn a_bad_configuration_ends_with_2_and_names_the_place() {
    let (code, said) = check("[limits]\nbody_byte = 1\n");
    assert_eq!(code, Some(2));
    assert!(said.contains("control.toml:2:1: ") && said.contains("did you mean `body_bytes`?"), "{said}");
    let (code, said) = check("listen = [\"0.0.0.0:8480\"]\n");
    assert_eq!(code, Some(2));
    assert!(said.contains("demo.listeners: ") && said.contains("0.0.0.0:8480"), "{said}");
    let missing = run(&["check", "--config", "/nowhere/control.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("/nowhere/control.toml"));
    assert_eq!(run(&["check"]).status.code(), Some(2));
}

#[test]
fn a_start_without_its_files_ends_with_1_and_names_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.toml");
    std::fs::write(&file, "[tls]\ncert_file = \"/nowhere/cert.pem\"\n").unwrap();
    let output = run(&["--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nowhere/cert.pem"));
}
