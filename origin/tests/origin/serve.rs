//! Objects, layouts and manifests over the wire.

use crate::files::{decode, demo_file, ffmpeg, has_ffmpeg};
use crate::ingest::spoil;
use crate::world::{Origin, Reply, SECRET, World, read, request};
use antiphon_core::{AssetId, CHUNK_LEN, Epoch, ObjectPath, Rendition, Scheme};
use antiphon_drm::content::mezzanine::{self, DataKey, Identity, Kind, Sealing};
use antiphon_drm::content::source::AudioFile;
use antiphon_drm::content::template::Template;
use antiphon_drm::keys::{KeyWrap, epoch_at, epoch_ends};
use antiphon_drm::manifest::TrackLayout;
use antiphon_origin::AHEAD_SECS;
use antiphon_origin::ingest::Facts;
use data_encoding::{BASE64, HEXLOWER};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use sha2::{Digest, Sha256};

/// A world with the first demo track, and its origin.
async fn playing() -> (World, Origin, AssetId) {
    let world = World::new();
    let song = world.with_demo().await;
    let origin = world.start().await;
    (world, origin, song.asset)
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64.encode(&Sha256::digest(bytes)))
}

#[tokio::test]
async fn an_object_is_told_whole_with_all_that_an_edge_needs() {
    let (world, origin, asset) = playing().await;
    for rendition in Rendition::AAC {
        let path = world.path(asset, rendition);
        let reply = origin.get(path).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
        assert_eq!(reply.header("content-digest"), Some(sha256(&reply.body).as_str()));
        assert_eq!(reply.header("etag"), Some(path.etag().as_str()));
        assert_eq!(reply.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(reply.header("accept-ranges"), Some("bytes"));
        assert_eq!(reply.header("content-type"), Some("audio/mp4"));
        assert_eq!(reply.header("last-modified"), Some("Mon, 21 Sep 2026 14:13:20 GMT"));
        assert_eq!(&reply.body[4..8], b"ftyp");
        let head = origin.head(path, &[("range", "bytes=0-9")]).await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0), "a range is GET's alone");
        for name in
            ["content-length", "etag", "cache-control", "accept-ranges", "content-type", "last-modified"]
        {
            assert_eq!(head.header(name), reply.header(name), "{name}");
        }
    }
}

#[tokio::test]
async fn every_range_is_that_part_of_the_whole() {
    let (world, origin, asset) = playing().await;
    let path = world.path(asset, Rendition::Aac320);
    let whole = origin.get(path).await.body;
    let len = whole.len();
    let chunk = CHUNK_LEN as usize;
    let mut ranges = vec![
        (0, 1),
        (0, 100),
        (len - 1, len),
        (0, len),
        (chunk, 2 * chunk),
        (chunk - 1, chunk + 1),
        (65_535, 65_537),
        (4 * chunk, len),
        (3 * chunk, 4 * chunk),
        (1, len),
        (4 * chunk - 1, 4 * chunk + 1),
    ];
    // And a hundred from a counter that looks like chance.
    let mut state = 1_u64;
    let mut draw = |max: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % max
    };
    for _ in 0..100 {
        let start = draw(len);
        ranges.push((start, (start + 1 + draw(300_000)).min(len)));
    }
    for (start, end) in ranges {
        let reply = origin.ask(path, &[("range", &format!("bytes={start}-{}", end - 1))]).await;
        assert_eq!(reply.status, StatusCode::PARTIAL_CONTENT);
        assert!(reply.body == whole[start..end], "{start}..{end}");
        assert_eq!(reply.header("content-range"), Some(format!("bytes {start}-{}/{len}", end - 1).as_str()));
        let aligned = start % chunk == 0 && (end % chunk == 0 || end == len);
        let digest = aligned.then(|| sha256(&reply.body));
        assert_eq!(reply.header("content-digest"), digest.as_deref(), "{start}..{end}");
    }
    assert_eq!(origin.ask(path, &[("range", "bytes=-7")]).await.body, whole[len - 7..]);
    assert_eq!(origin.ask(path, &[("range", "bytes=1000000-")]).await.body, whole[1_000_000..]);
    let several = origin.ask(path, &[("range", "bytes=0-1,5-6")]).await;
    assert_eq!((several.status, several.body.len()), (StatusCode::OK, len));
}

#[tokio::test]
async fn conditions_are_answered_as_rfc_9110_has_it() {
    let (world, origin, asset) = playing().await;
    let path = world.path(asset, Rendition::Aac64);
    let etag = path.etag();
    let same = origin.ask(path, &[("if-none-match", &etag)]).await;
    assert_eq!(
        (same.status, same.body.len(), same.header("etag")),
        (StatusCode::NOT_MODIFIED, 0, Some(etag.as_str()))
    );
    assert_eq!(origin.ask(path, &[("if-match", "\"other\"")]).await.status, StatusCode::PRECONDITION_FAILED);
    let range = ("range", "bytes=0-9");
    assert_eq!(origin.ask(path, &[range, ("if-range", &etag)]).await.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(origin.ask(path, &[range, ("if-range", "\"other\"")]).await.status, StatusCode::OK);
    let past = origin.ask(path, &[("range", "bytes=99999999-")]).await;
    let len = origin.head(path, &[]).await.header("content-length").unwrap().to_owned();
    assert_eq!(past.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(past.header("content-range"), Some(format!("bytes */{len}").as_str()));
}

#[tokio::test]
async fn two_origins_with_the_same_masters_tell_the_same_bytes() {
    let ((world, one, asset), (_elsewhere, other, _)) = (playing().await, playing().await);
    for rendition in Rendition::AAC {
        let path = world.path(asset, rendition);
        assert!(one.get(path).await.body == other.get(path).await.body);
    }
    let layout = format!("/layout/c/{}/{asset}.json", world.path(asset, Rendition::Aac64).epoch);
    assert_eq!(one.get(&layout).await.body, other.get(&layout).await.body);
}

#[tokio::test]
async fn epochs_differ_in_key_ids_and_samples_only() {
    let (world, origin, asset) = playing().await;
    let path = world.path(asset, Rendition::Aac64);
    let before = ObjectPath { epoch: Epoch(path.epoch.0 - 1), ..path };
    let (now, then) = (origin.get(path).await, origin.get(before).await);
    assert_eq!((now.status, then.status, now.body.len()), (StatusCode::OK, StatusCode::OK, then.body.len()));
    let layout: TrackLayout = layout(&origin, path).await;
    let entry = &layout.renditions[0];
    // Same boxes around the key ids, same index; other samples.
    let index = entry.index_start as usize..=entry.index_end as usize;
    assert!(now.body[index.clone()] == then.body[index]);
    let differing = |range: std::ops::Range<usize>| {
        now.body[range.clone()].iter().zip(&then.body[range]).filter(|(a, b)| a != b).count()
    };
    let in_init = differing(0..entry.init_end as usize + 1);
    assert!((60..=80).contains(&in_init), "one key id in tenc, four in pssh: {in_init}");
    assert!(differing(entry.index_end as usize + 1..now.body.len()) > now.body.len() * 9 / 10);
}

async fn layout(origin: &Origin, path: ObjectPath) -> TrackLayout {
    let reply = origin.get(format!("/layout/c/{}/{}.json", path.epoch, path.asset)).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn an_epoch_is_served_from_a_day_before_it_to_the_end_of_the_next() {
    let (world, origin, asset) = playing().await;
    let path = world.path(asset, Rendition::Aac64);
    let at = |epoch: u32| ObjectPath { epoch: Epoch(epoch), ..path };
    let present = path.epoch.0;
    let status = async |epoch| origin.head(at(epoch), &[]).await.status.as_u16();
    // Wound to a day and a second before the flip, then on to a day before it.
    let flip = epoch_ends(&asset, &path.epoch, 0);
    world.clock.wind(flip.0 - AHEAD_SECS - 1 - antiphon_core::Clock::now(&world.clock).0);
    assert_eq!(
        [
            status(present - 2).await,
            status(present - 1).await,
            status(present).await,
            status(present + 1).await
        ],
        [404, 200, 200, 404]
    );
    world.clock.wind(1);
    assert_eq!(
        [
            status(present - 1).await,
            status(present).await,
            status(present + 1).await,
            status(present + 2).await
        ],
        [200, 200, 200, 404]
    );
    world.clock.wind(AHEAD_SECS);
    assert_eq!(epoch_at(&asset, antiphon_core::Clock::now(&world.clock), 0), Epoch(present + 1));
    assert_eq!(
        [status(present - 1).await, status(present).await, status(present + 1).await],
        [404, 200, 200]
    );
}

#[tokio::test]
async fn a_new_epoch_in_the_key_ring_is_found_without_a_restart() {
    let (world, origin, asset) = playing().await;
    // Three months on: the ring that was opened knows nothing of these epochs.
    world.clock.wind(90 * 86_400);
    let path = world.path(asset, Rendition::Aac64);
    let reply = origin.get(path).await;
    assert_eq!((reply.status, reply.text()), (StatusCode::INTERNAL_SERVER_ERROR, "no_masters\n"));
    assert_eq!(origin.admin("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    world.make_masters();
    assert_eq!(origin.get(path).await.status, 500, "read again at most every ten seconds");
    world.clock.wind(antiphon_origin::keys::REREAD_SECS);
    assert_eq!(origin.get(path).await.status, StatusCode::OK);
    assert_eq!(origin.admin("/readyz").await.text(), "ready\n");
}

#[tokio::test]
async fn nothing_is_told_without_the_secret() {
    let (world, origin, asset) = playing().await;
    let path = world.path(asset, Rendition::Aac64);
    let right = format!("Bearer {SECRET}");
    let ask = async |values: &[&str], path: String| {
        let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
        origin.raw(Method::GET, path, &headers).await
    };
    let wrong = [
        format!("{right}x"),
        right[..right.len() - 1].into(),
        SECRET.into(),
        format!("Basic {SECRET}"),
        "Bearer ".into(),
    ];
    for value in &wrong {
        let reply = ask(&[value], path.to_string()).await;
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (StatusCode::UNAUTHORIZED, Some("Bearer"))
        );
        assert!(!reply.text().contains(SECRET));
    }
    assert_eq!(ask(&[], "/anything".into()).await.status, 401, "not even whether a path exists");
    assert_eq!(ask(&[&right, &right], path.to_string()).await.status, 401);
    assert_eq!(ask(&[&right.replace("Bearer", "bearer")], path.to_string()).await.status, 200);
    assert_eq!(origin.counter("origin_refused_total{reason=\"unauthorised\"}").await, 7.0);
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_its_fault() {
    let (world, origin, asset) = playing().await;
    let path = world.path(asset, Rendition::Aac64);
    let absent = AssetId::from_bytes([9; 16]);
    for (asked, status) in [
        (path.to_string().replace("/a/", "/a//"), 400),
        (path.to_string().replace("64.mp4", "%364.mp4"), 400),
        (path.to_string().replace("64.mp4", "../x"), 400),
        ("/".into(), 400),
        ("/favicon.ico".into(), 404),
        (world.path(absent, Rendition::Aac64).to_string(), 404),
        (world.path(asset, Rendition::Flac).to_string(), 404),
        (ObjectPath { scheme: Scheme::Cbcs, ..path }.to_string(), 404),
        (format!("/layout/c/{}/{absent}.json", path.epoch), 404),
        (format!("/layout/c/{}/{asset}.json", path.epoch.0 + 5), 404),
        (format!("/m/c/{}/{asset}.mpd?max_kbps=63", path.epoch), 404),
        (format!("/m/c/{}/{asset}.mpd?max_kbps=abc", path.epoch), 400),
        (format!("/m/c/{}/{asset}.mpd?st=token", path.epoch), 400),
    ] {
        let reply = origin.get(&asked).await;
        assert_eq!(reply.status.as_u16(), status, "{asked}: {}", reply.text());
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{asked}");
        assert_eq!(reply.text().lines().count(), 1, "{asked}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let reply = origin.send(method, path, &[]).await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (StatusCode::METHOD_NOT_ALLOWED, Some("GET, HEAD"))
        );
    }
}

#[tokio::test]
async fn a_layout_tells_where_everything_lies() {
    let (world, origin, asset) = playing().await;
    let path = world.path(asset, Rendition::Aac64);
    let layout = layout(&origin, path).await;
    assert_eq!(
        (layout.asset, layout.epoch, layout.timescale, layout.priming),
        (asset, path.epoch, 44_100, 1024)
    );
    assert_eq!(layout.renditions.len(), 4);
    for entry in &layout.renditions {
        let reply = origin.get(&entry.path).await;
        assert_eq!(reply.body.len() as u64, entry.size);
        assert_eq!(&reply.body[entry.index_start as usize + 4..][..4], b"sidx");
        assert_eq!(&reply.body[entry.index_end as usize + 5..][..4], b"moof");
        let kid = HEXLOWER.decode(entry.kid.to_string().as_bytes()).unwrap();
        assert_eq!(reply.body.windows(16).filter(|window| *window == kid).count(), 2, "in tenc and in pssh");
    }
}

#[tokio::test]
async fn a_manifest_lists_what_the_limit_allows_and_is_tagged_by_its_text() {
    let (world, origin, asset) = playing().await;
    let path = format!("/m/c/{}/{asset}.mpd", world.path(asset, Rendition::Aac64).epoch);
    let all = origin.get(&path).await;
    assert_eq!((all.status, all.header("content-type")), (StatusCode::OK, Some("application/dash+xml")));
    assert_eq!(all.text().matches("<Representation ").count(), 4);
    assert_eq!(all.header("content-digest"), Some(sha256(&all.body).as_str()));
    let free = origin.get(format!("{path}?max_kbps=128")).await;
    assert_eq!(free.text().matches("<Representation ").count(), 2);
    assert!(!free.text().contains("320.mp4") && !free.text().contains("st="));
    let etag = free.header("etag").unwrap();
    assert_ne!(Some(etag), all.header("etag"));
    assert_eq!(origin.ask(format!("{path}?max_kbps=128"), &[("if-none-match", etag)]).await.status, 304);
    let head = origin.head(&path, &[]).await;
    assert_eq!(
        (head.header("etag"), head.header("content-length")),
        (all.header("etag"), all.header("content-length"))
    );
}

#[tokio::test]
async fn ffmpeg_decrypts_an_object_to_the_samples_of_the_clear_file() {
    if !has_ffmpeg() {
        return;
    }
    let (world, origin, asset) = playing().await;
    for rendition in Rendition::AAC {
        let path = world.path(asset, rendition);
        let (object, clear) = (world.folder.path().join("object.mp4"), world.folder.path().join("clear.m4a"));
        std::fs::write(&object, origin.get(path).await.body).unwrap();
        std::fs::write(&clear, demo_file(rendition)).unwrap();
        let key = HEXLOWER.encode(world.key(&path).expose());
        // ffmpeg applies the edit list of a progressive file, but not of a fragmented one (MEDIA.md 2.1).
        let ours = decode(&object, &["-decryption_key", &key]);
        let theirs = decode(&clear, &[]);
        let ours = &ours[2 * 1024..];
        assert!(ours.len() >= theirs.len() && ours[..theirs.len()] == theirs, "{rendition}");
        assert!(theirs.iter().any(|sample| sample.unsigned_abs() > 10_000), "{rendition} is silent");
    }
}

#[tokio::test]
async fn a_damaged_seal_is_an_error_and_never_bytes() {
    let (world, origin, asset) = playing().await;
    let path = world.path(asset, Rendition::Aac64);
    let whole = origin.get(path).await.body;
    let stored = world.store.dir.join(format!("assets/{asset}/64.c.mez"));
    let good = std::fs::read(&stored).unwrap();
    // A bit of the third sealed chunk; found anew by an origin that starts now.
    spoil(&stored, 4096 + 2 * 65_552 + 1000);
    let fresh = world.start().await;
    let hit = fresh.ask(path, &[("range", "bytes=140000-140010")]).await;
    assert_eq!((hit.status, hit.text()), (StatusCode::BAD_GATEWAY, "sealed\n"));
    let near = fresh.ask(path, &[("range", "bytes=0-131071")]).await;
    assert!(near.status == 206 && near.body == whole[..131_072], "what is intact is still served");
    assert_eq!(fresh.counter("origin_sealed_damaged_total").await, 1.0);

    // Headers, lengths, and whole files in the wrong place.
    let other = std::fs::read(world.store.dir.join(format!("assets/{asset}/128.c.mez"))).unwrap();
    for (what, bytes) in [
        ("header", flipped(&good, 30)),
        ("cut", good[..good.len() - 1].to_vec()),
        ("moved", other),
        ("tiny", b"x".to_vec()),
    ] {
        std::fs::write(&stored, bytes).unwrap();
        let reply = world.start().await.get(path).await;
        assert!(reply.status.is_server_error() && reply.body.len() < 20, "{what}: {}", reply.status);
    }
    std::fs::remove_file(&stored).unwrap();
    assert_eq!(world.start().await.get(path).await.text(), "store_missing\n");
    std::fs::write(&stored, good).unwrap();
    spoil(&world.store.dir.join(format!("assets/{asset}/64.c.six")), 4200);
    assert_eq!(world.start().await.get(path).await.text(), "sealed\n");
    std::fs::write(world.store.dir.join(format!("assets/{asset}/asset.json")), "{}").unwrap();
    assert_eq!(world.start().await.get(path).await.text(), "record\n");
}

#[tokio::test]
async fn an_index_of_another_template_is_noticed() {
    let (world, origin, asset) = playing().await;
    let path = world.path(asset, Rendition::Aac64);
    // Sealed properly, in the right place, and yet that of the 128 kbit/s template.
    let index =
        Template::build(&AudioFile::parse(&demo_file(Rendition::Aac128)).unwrap(), 86, 4, Scheme::Cenc)
            .unwrap()
            .index;
    let identity = Identity { kind: Kind::Index, asset, rendition: Rendition::Aac64, scheme: Scheme::Cenc };
    let data_key = DataKey::from_bytes([3; 32]);
    let kek = antiphon_origin::keys::open_kek(&world.keyring()).unwrap();
    let wrapped = kek.wrap(data_key.expose(), &identity.wrap_context(), [4; 12]).unwrap();
    let (wrapper, nonce_prefix) = (kek.id(), [5; 8]);
    let sealing = Sealing {
        identity,
        data_key: &data_key,
        wrapper,
        wrapped_key: &wrapped,
        nonce_prefix,
        kid_patches: &[],
    };
    let sealed = mezzanine::seal(&index.to_bytes(), &sealing).unwrap();
    std::fs::write(world.store.dir.join(format!("assets/{asset}/64.c.six")), sealed).unwrap();
    let reply = origin.get(path).await;
    assert_eq!(
        (reply.status, reply.text()),
        (
            StatusCode::BAD_GATEWAY,
            "unmatched
"
        )
    );
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[tokio::test]
async fn past_the_limit_of_answers_an_edge_hears_503_and_a_slow_reader_is_broken_off() {
    let world = World::new();
    let song = world.with_demo().await;
    let origin = world
        .start_with(|config| {
            config.serve.concurrent_max = 1;
            config.serve.slow_reader_ms = 1000;
            config.serve.retry_after_secs = 3;
        })
        .await;
    let path = world.path(song.asset, Rendition::Aac320);
    // A reader that takes the head and then nothing; HTTP/2 flow control holds the body back.
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .http2_initial_stream_window_size(65_535)
        .http2_initial_connection_window_size(65_535)
        .build_http();
    let bearer = format!("Bearer {SECRET}");
    let slow = request(origin.running.address, Method::GET, path, &[("authorization", &bearer)]);
    let held = client.request(slow).await.unwrap();
    assert_eq!(held.status(), StatusCode::OK);

    let busy = origin.get(path).await;

    assert_eq!((busy.status, busy.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("3")));
    assert_eq!(origin.head(path, &[]).await.status, 200, "what has no body needs no place");
    // Its place is free once it was too slow; the other answer is whole then, its own visibly not.
    let whole: Reply = loop {
        let reply = origin.get(path).await;
        if reply.status == 200 {
            break reply;
        }
    };
    assert_eq!(whole.header("content-digest"), Some(sha256(&whole.body).as_str()));
    assert!(held.into_body().collect().await.is_err());
    assert_eq!(origin.counter("origin_broken_off_total{why=\"slow\"}").await, 1.0);
}

#[tokio::test]
async fn an_edge_that_hangs_up_frees_its_place() {
    let world = World::new();
    let song = world.with_demo().await;
    // A patient origin: only the hanging up can free the place in time.
    let origin = world
        .start_with(|config| {
            config.serve.concurrent_max = 1;
            config.serve.slow_reader_ms = 3_600_000;
        })
        .await;
    let path = world.path(song.asset, Rendition::Aac320);
    let bearer = format!("Bearer {SECRET}");
    for _ in 0..3 {
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .http2_initial_stream_window_size(65_535)
            .build_http();
        let asked = request(origin.running.address, Method::GET, path, &[("authorization", &bearer)]);
        let response: http::Response<hyper::body::Incoming> = loop {
            let response = client.request(asked.clone()).await.unwrap();
            if response.status() == 200 {
                break response;
            }
            read(response).await.unwrap();
        };
        drop(response);
    }
}

#[tokio::test]
async fn an_object_longer_than_the_buffer_is_digested_too() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    let file = world.folder.path().join("noise.m4a");
    let noise = "anoisesrc=duration=150:seed=1:amplitude=0.3";
    ffmpeg(&["-f", "lavfi", "-i", noise, "-ac", "2", "-c:a", "aac", "-b:a", "320k", file.to_str().unwrap()]);
    // Without ffmpeg nobody listens to all of it first.
    let ingest = world.ingest_with(|config| config.ffmpeg = "no-such-ffmpeg".into());
    let song = ingest.file(&file, &Facts::default(), &()).await.unwrap().record;
    let origin = world.start().await;
    let path = world.path(song.asset, song.renditions[0]);

    let whole = origin.get(path).await;

    assert!(whole.body.len() as u64 > 4 * 1024 * 1024, "{} bytes", whole.body.len());
    assert_eq!(whole.header("content-digest"), Some(sha256(&whole.body).as_str()));
    let tail = origin.ask(path, &[("range", "bytes=262144-")]).await;
    assert!(tail.body == whole.body[262_144..]);
    assert_eq!(tail.header("content-digest"), Some(sha256(&tail.body).as_str()));
    let odd = origin.ask(path, &[("range", "bytes=1-")]).await;
    assert!(odd.body == whole.body[1..] && odd.header("content-digest").is_none());
}

#[tokio::test]
async fn many_at_once_open_a_recording_once_and_hear_the_same() {
    let (world, origin, asset) = playing().await;
    let path = world.path(asset, Rendition::Aac64);
    let replies = futures_util::future::join_all((0..30).map(|_| origin.get(path))).await;
    let whole = &replies[0].body;
    for reply in &replies {
        assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, whole.len()));
        assert!(reply.body == whole);
    }
}
