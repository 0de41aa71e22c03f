//! What operators do: print and check configuration, run each role on its own, stop it.

use antiphon_e2e::{Evening, needs, output_within};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const ROLES: [&str; 3] = ["edge", "origin", "control"];

#[test]
fn the_shipped_configurations_are_what_each_binary_prints() {
    for role in ROLES {
        let shipped =
            std::fs::read_to_string(root().join(format!("config/{role}.toml"))).expect("a shipped file");
        let own = output(Command::new(role_binary(role)).arg("print-config"));
        let operators = output(Command::new(Evening::binary()).args(["print-config", role]));
        for printed in [own, operators] {
            assert!(printed.status.success());
            assert!(
                String::from_utf8_lossy(&printed.stdout) == shipped,
                "config/{role}.toml: run `cargo xtask config`"
            );
        }
    }
}

#[test]
fn a_misspelt_key_is_refused_with_its_line_and_a_suggestion() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    for (role, text, meant) in [
        ("edge", "[cache]\ncapacity_byte = \"1GiB\"\n", "capacity_bytes"),
        ("origin", "[admin]\nlisten_ = \"127.0.0.1:1\"\n", "listen"),
        ("control", "[limits]\nbody_byte = 1\n", "body_bytes"),
    ] {
        let file = folder.path().join(format!("{role}.toml"));
        std::fs::write(&file, text).expect("write a file");
        for mut command in [
            with_arguments(Command::new(role_binary(role)), &["check", "--config", &file.to_string_lossy()]),
            with_arguments(Command::new(role_binary(role)), &["--config", &file.to_string_lossy()]),
            with_arguments(Command::new(Evening::binary()), &["check", role, &file.to_string_lossy()]),
        ] {
            let refused = output(&mut command);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(2), "{command:?}: {said}");
            assert!(said.contains(&format!("{role}.toml:2:1")), "{said}");
            assert!(said.contains(&format!("did you mean `{meant}`?")), "{said}");
        }
    }
}

#[test]
fn the_three_roles_do_the_same_job_as_processes_of_their_own() {
    let Some(()) = needs::program("curl") else { return };
    let mut evening = Evening::start();
    assert!(evening.stop().success());
    let roles: Vec<Role> = ["origin", "control", "edge"].map(|role| Role::start(role, &evening)).into();
    for admin in ["origin_admin_url", "control_admin_url", "edge_admin_url"] {
        wait_until(|| evening.answers(&format!("{}/readyz", evening.fact(admin))));
    }
    let access_token = evening.log_in("premium");
    let bearer = format!("Authorization: Bearer {access_token}");
    let songs =
        evening.curl_json(&["--header", &bearer, &format!("{}/api/v1/songs", evening.fact("control_url"))]);
    let play =
        evening.play(&access_token, songs["songs"][0]["song_id"].as_str().expect("a song id"), "premium");
    let object = evening.curl(&["--fail", play["stream_url"].as_str().expect("a stream url")]);
    assert_eq!(&object[4..12], b"ftypiso6");
    for role in roles {
        role.stop();
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut command = Command::new(Evening::binary());
    command.args(["quickstart", "--origin-port", &port, "--data-dir"]).arg(folder.path());
    let refused = output(&mut command);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
}

#[test]
fn keys_are_made_listed_and_never_printed() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let keyring = folder.path().join("keyring");
    let keys =
        |word: &str| output(Command::new(Evening::binary()).args(["keys", word, "--dir"]).arg(&keyring));
    assert!(keys("init").status.success());
    let kek = std::fs::read_to_string(keyring.join("kek")).expect("a kek");
    let url_keys = std::fs::read_to_string(keyring.join("url-keys.json")).expect("url keys");
    let secret =
        url_keys.split("\"secret\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a secret");
    for word in ["init", "list", "extend"] {
        let done = keys(word);
        let said =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && !said.contains(kek.trim()) && !said.contains(secret), "{said}");
    }
    assert_eq!(std::fs::read_to_string(keyring.join("kek")).expect("a kek"), kek);
}

/// One role as a process of its own.
struct Role {
    name: &'static str,
    child: Child,
}

impl Role {
    fn start(name: &'static str, evening: &Evening) -> Self {
        let log = std::fs::File::create(evening.data().join(format!("{name}.log"))).expect("a log file");
        let mut command = Command::new(role_binary(name));
        command.arg("--config").arg(evening.data().join(format!("{name}.toml")));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log file")).stderr(log);
        Self { name, child: command.spawn().expect("start a role") }
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        let mut ended = None;
        wait_until(|| {
            ended = self.child.try_wait().expect("wait");
            ended.is_some()
        });
        assert!(ended.is_some_and(|status| status.success()), "{} ended with {ended:?}", self.name);
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Already stopped is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not come true");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn with_arguments(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

fn output(command: &mut Command) -> Output {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    output_within(copy, Duration::from_secs(60))
}

fn role_binary(role: &str) -> PathBuf {
    Evening::binary().with_file_name(format!("antiphon-{role}"))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
