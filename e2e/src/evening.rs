//! One running `antiphon quickstart`, and the words to ask things of it.

use serde_json::Value as Json;
use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long quickstart may take until it has printed its lines. The promise to users is 5 s for a release
/// build on an idle machine; here a debug build shares two cores with other tests.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A running quickstart in a folder of its own.
pub struct Evening {
    child: Child,
    folder: tempfile::TempDir,
    facts: Json,
}

impl Evening {
    /// Starts all roles on free ports and waits until the demo tracks can be heard.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a scratch folder"))
    }

    /// The same, in a folder that may hold an earlier evening.
    pub fn start_in(folder: tempfile::TempDir) -> Self {
        let log = std::fs::File::create(folder.path().join("evening.log")).expect("a log file");
        let mut command = Command::new(Self::binary());
        command.arg("quickstart").arg("--data-dir").arg(folder.path().join("data"));
        for flag in [
            "--edge-port",
            "--control-port",
            "--edge-admin-port",
            "--origin-port",
            "--origin-admin-port",
            "--control-admin-port",
        ] {
            command.arg(flag).arg(free_port().to_string());
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log file")).stderr(log);
        let child = command.spawn().expect("start antiphon quickstart");
        let mut evening = Self { child, folder, facts: Json::Null };
        evening.wait_until_ready();
        evening
    }

    /// The `antiphon` that `cargo xtask test` built, beside the test's own folder.
    pub fn binary() -> PathBuf {
        let test = std::env::current_exe().expect("the path of this test");
        let binary = test.ancestors().nth(2).map_or_else(PathBuf::new, |folder| folder.join("antiphon"));
        assert!(
            binary.is_file(),
            "build it first: cargo build --package antiphon-cli ({})",
            binary.display()
        );
        binary
    }

    /// One of the facts quickstart leaves in `quickstart.json`.
    pub fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_else(|| panic!("no fact {name:?} in {}", self.facts))
    }

    /// The folder quickstart keeps everything in.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The process, for those who want to kill it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far, both streams.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("evening.log")).unwrap_or_default()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data().join("quickstart.log")).unwrap_or_default()
    }

    /// Kills it without warning and gives back the folder, to start again in it.
    pub fn pull_the_plug(mut self) -> tempfile::TempDir {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a scratch folder"))
    }

    /// Asks it to stop and says how it ended.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "it does not stop: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs `curl` with the evening's certificate authority; gives back what it printed.
    pub fn curl(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "30", "--cacert", self.fact("ca")])
            .args(arguments);
        let output = output_within(command, Duration::from_secs(60));
        assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Whether a URL answers with a success.
    pub fn answers(&self, url: &str) -> bool {
        let mut command = Command::new("curl");
        command.args(["--silent", "--fail", "--max-time", "5", "--cacert", self.fact("ca"), url]);
        output_within(command, Duration::from_secs(10)).status.success()
    }

    /// The JSON that `curl` prints.
    pub fn curl_json(&self, arguments: &[&str]) -> Json {
        let body = self.curl(arguments);
        serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)))
    }

    /// Logs a demo listener in; gives back the access token.
    pub fn log_in(&self, listener: &str) -> String {
        let url = format!("{}/oauth/token", self.fact("control_url"));
        let form = format!("grant_type=password&username={listener}&password=listen");
        let answer = self.curl_json(&["--data", &form, &url]);
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no access token in {answer}")).to_owned()
    }

    /// Asks to play a song; gives back the play answer.
    pub fn play(&self, access_token: &str, song: &str, quality: &str) -> Json {
        let url = format!("{}/api/v1/stream/play", self.fact("control_url"));
        let body = format!(r#"{{"song_id":"{song}","quality":"{quality}","device_id":"device_e2e"}}"#);
        let bearer = format!("Authorization: Bearer {access_token}");
        self.curl_json(&["--header", &bearer, "--json", &body, &url])
    }

    fn wait_until_ready(&mut self) {
        let began = Instant::now();
        let file = self.data().join("quickstart.json");
        // An earlier evening's file names another process.
        let pid = u64::from(self.child.id());
        loop {
            let facts = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Json>(&text).ok());
            if let Some(facts) = facts.filter(|facts| facts["pid"].as_u64() == Some(pid)) {
                self.facts = facts;
                return;
            }
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none(), "quickstart ended ({ended:?}): {}", self.printed());
            assert!(began.elapsed() < READY_WITHIN, "quickstart is not ready: {}", self.printed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Evening {
    fn drop(&mut self) {
        // Already stopped is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command, killed when it takes longer than `limit`.
pub fn output_within(mut command: Command, limit: Duration) -> std::process::Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let read = |mut stream: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("a pipe")));
    let stderr = read(Box::new(child.stderr.take().expect("a pipe")));
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait") {
            break status;
        }
        if began.elapsed() > limit {
            child.kill().expect("kill");
            child.wait().expect("wait");
            panic!("took longer than {limit:?}: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let join = |thread: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        thread.join().expect("reader").expect("read")
    };
    std::process::Output { status, stdout: join(stdout), stderr: join(stderr) }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
