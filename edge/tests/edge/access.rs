use crate::client::{EVERY, get};
use crate::world::{JINGLE, NOW, World};
use parking_lot::Mutex;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn every_request_leaves_one_line_and_no_line_has_a_token() {
    let lines = Lines::default();
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::TRACE);
    // The runtime of this test has one thread, so that the whole edge logs here.
    let guard = tracing::subscriber::set_default(log.with_writer(lines.clone()).finish());
    let world = World::new().await;
    let token = world.token(JINGLE);
    for via in EVERY {
        get(&world, via, &world.signed(JINGLE), &[("range", "bytes=10-19"), ("referer", &token)]).await;
        get(&world, via, &format!("{JINGLE}?st={token}x"), &[]).await;
        get(&world, via, &format!("/oops/{token}"), &[]).await;
        get(&world, via, &format!("{JINGLE}&st={token}"), &[]).await;
    }
    world.edge.stop().await;
    drop(guard);
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    let (payload, mac) =
        token.rsplit_once('.').map(|(head, mac)| (head.rsplit_once('.').unwrap().1, mac)).unwrap();
    for secret in [payload, mac, "127.0.0.1:", crate::world::SECRET] {
        let line = text.lines().find(|line| line.contains(secret) && line.contains("\"access\""));
        assert_eq!(line, None);
    }
    assert!(!text.contains(mac) && !text.contains(payload) && !text.contains(crate::world::SECRET), "{text}");
    let access: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["target"] == "access")
        .collect();
    assert_eq!(access.len(), 4 * EVERY.len(), "{access:?}");
    let played = &access[0];
    let wanted: [(&str, Value); 12] = [
        ("time", NOW.0.into()),
        ("proto", "h1".into()),
        ("method", "GET".into()),
        ("path", JINGLE.into()),
        ("status", 206.into()),
        ("range", "10-19".into()),
        ("bytes", 10.into()),
        ("source", "upstream".into()),
        ("end", "whole".into()),
        ("u", "usr-9f2c".into()),
        ("s", "sess-01HZX".into()),
        ("key", "k1".into()),
    ];
    for (key, value) in wanted {
        assert_eq!(played[key], value, "{key} in {played}");
    }
    assert!(played["ms"].as_f64().unwrap() >= 0.0);
    assert_eq!((access[1]["refused"].as_str(), &access[1]["u"]), (Some("bad_mac"), &Value::Null));
    assert_eq!(
        (access[2]["refused"].as_str(), access[2]["path"].as_str()),
        (Some("no_such_path"), Some("-"))
    );
}
