//! Recordings that are taken in: each kind of file, twice, interrupted, as they are.

use crate::faults::{Fault, Faulty};
use crate::files::{demo_file, ffmpeg, has_ffmpeg, music};
use crate::weed::Weed;
use crate::world::World;
use antiphon_core::{Gapless, Rendition, Span};
use antiphon_origin::demo;
use antiphon_origin::ingest::{Facts, IngestError, Mode, Outcome, Progress, Step};
use object_store::local::LocalFileSystem;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Nothing is left of an ingest's work.
fn is_swept(world: &World) -> bool {
    std::fs::read_dir(world.scratch()).unwrap().count() == 0
}

/// Puts of a song with four renditions: two objects each, the asset, the song, the source.
const PUTS: usize = 4 * 2 + 3;

#[tokio::test]
async fn every_kind_of_file_becomes_the_ladder() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    let ingest = world.ingest();
    for ending in ["wav", "flac", "mp3", "m4a", "aac", "ogg", "opus"] {
        let file = world.folder.path().join(format!("six-seconds.{ending}"));
        music(&file);
        let taken = ingest.file(&file, &Facts::default(), &()).await.unwrap();
        let record = taken.record;
        assert_eq!(taken.outcome, Outcome::New, "{ending}");
        assert_eq!(record.renditions, Rendition::AAC, "{ending}");
        assert!((5_950..=6_150).contains(&record.duration_ms), "{ending}: {} ms", record.duration_ms);
        let loudness = record.loudness.unwrap();
        assert!(
            (-25.0..-8.0).contains(&loudness.integrated_lufs) && loudness.true_peak_dbtp < 0.5,
            "{ending}"
        );
        assert!(
            record.gapless.priming == 1024 && [44_100, 48_000].contains(&record.gapless.timescale),
            "{ending}"
        );
        // ADTS carries no tags.
        let tagged =
            if ending == "aac" { ["six-seconds", "Unknown artist", ""] } else { ["Sechs", "Uhren", "Turm"] };
        assert_eq!([record.title, record.artist, record.album], tagged, "{ending}");
    }
    assert!(is_swept(&world));
}

#[tokio::test]
async fn odd_rates_and_channels_become_stereo_at_a_rate_players_know() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    for (ending, options, rate) in [
        ("mono.wav", "-ac 1 -ar 22050", 44_100),
        ("surround.flac", "-ac 6 -ar 48000", 48_000),
        ("fine.wav", "-ar 96000 -c:a pcm_s24le", 48_000),
        ("phone.wav", "-ac 1 -ar 8000 -c:a pcm_mulaw", 48_000),
    ] {
        let (source, file) = (world.folder.path().join("source.wav"), world.folder.path().join(ending));
        music(&source);
        let mut arguments = vec!["-i", source.to_str().unwrap()];
        arguments.extend(options.split(' '));
        arguments.push(file.to_str().unwrap());
        ffmpeg(&arguments);
        let record = world.ingest().file(&file, &Facts::default(), &()).await.unwrap().record;
        assert_eq!((record.gapless.timescale, record.renditions.len()), (rate, 4), "{ending}");
        assert!((5_990..=6_010).contains(&record.duration_ms), "{ending}: {} ms", record.duration_ms);
    }
}

#[tokio::test]
async fn the_same_file_gives_the_same_song_and_writes_nothing_new() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    let file = world.folder.path().join("song.flac");
    music(&file);
    let first = world.ingest().file(&file, &Facts::default(), &()).await.unwrap();
    let before = world.stored();
    let renamed = world.folder.path().join("another name.flac");
    std::fs::copy(&file, &renamed).unwrap();

    let second = world.ingest().file(&renamed, &Facts::default(), &()).await.unwrap();

    assert_eq!((second.outcome, &second.record), (Outcome::Known, &first.record));
    assert!(world.stored() == before);

    // Somewhere else it becomes the same asset, sealed under other data keys.
    let elsewhere = World::new();
    let third = elsewhere.ingest().file(&file, &Facts::default(), &()).await.unwrap();
    assert_eq!(third.record, first.record);
    assert!(elsewhere.stored() != before);
}

#[tokio::test]
async fn what_the_operator_says_wins_over_tags_and_can_be_said_later() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    let file = world.folder.path().join("song.mp3");
    music(&file);
    let facts = Facts { title: Some("Seven".into()), ..Facts::default() };
    let first = world.ingest().file(&file, &facts, &()).await.unwrap();
    assert_eq!([first.record.title.as_str(), &first.record.artist], ["Seven", "Uhren"]);

    let facts = Facts { artist: Some("Bells\n".into()), ..Facts::default() };
    let second = world.ingest().file(&file, &facts, &()).await.unwrap();

    assert_eq!(second.outcome, Outcome::Renamed);
    assert_eq!(
        [second.record.title.as_str(), &second.record.artist, &second.record.album],
        ["Seven", "Bells", "Turm"]
    );
    assert_eq!(world.ingest().file(&file, &facts, &()).await.unwrap().outcome, Outcome::Known);
}

#[tokio::test]
async fn progress_runs_through_all_steps_and_never_back() {
    struct Heard(Mutex<Vec<(Step, f32)>>);
    impl Progress for Heard {
        fn at(&self, step: Step, share: f32) {
            self.0.lock().unwrap().push((step, share));
        }
    }
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    let file = world.folder.path().join("song.wav");
    music(&file);
    let heard = Heard(Mutex::default());
    world.ingest().file(&file, &Facts::default(), &heard).await.unwrap();
    let heard = heard.0.into_inner().unwrap();
    let order = [Step::Copy, Step::Listen, Step::Encode, Step::Store];
    let place = |step| order.iter().position(|one| *one == step).unwrap();
    assert!(heard.is_sorted_by(|a, b| (place(a.0), a.1) <= (place(b.0), b.1)), "{heard:?}");
    assert!(order.iter().all(|step| heard.iter().any(|(one, _)| one == step)), "{heard:?}");
    assert_eq!(heard.last(), Some(&(Step::Store, 1.0)));
}

#[tokio::test]
async fn a_demo_track_needs_no_ffmpeg() {
    let world = World::new();
    let none = |config: &mut antiphon_origin::config::IngestConfig| config.ffmpeg = "no-such-ffmpeg".into();
    let ingest = world.ingest_with(none);
    assert!(!ingest.has_ffmpeg().await);

    let taken = ingest.demo(&demo::tracks()[0]).await.unwrap();

    assert_eq!((taken.outcome, taken.record.title.as_str()), (Outcome::New, "First Light"));
    assert_eq!(taken.record.gapless, Gapless { timescale: 44_100, priming: 1024, play: 1_622_250 });
    assert_eq!(taken.record.duration_ms, 36_785);
    assert_eq!(world.stored().len(), PUTS);
    assert_eq!(ingest.demo(&demo::tracks()[0]).await.unwrap().outcome, Outcome::Known);
}

#[tokio::test]
async fn a_ready_file_is_taken_as_it_is_without_ffmpeg() {
    let world = World::new();
    let file = world.folder.path().join("ready.m4a");
    std::fs::write(&file, demo_file(Rendition::Aac128)).unwrap();
    let ingest = world.ingest_with(|config| config.ffprobe = "no-such-ffprobe".into());

    let record = ingest.file(&file, &Facts::default(), &()).await.unwrap().record;

    assert_eq!((record.renditions, record.loudness), (vec![Rendition::Aac128], None));
    assert_eq!((record.title.as_str(), record.artist.as_str()), ("ready", "Unknown artist"));

    // With ffmpeg the same file makes the whole ladder, later.
    if has_ffmpeg() {
        let as_is = world.ingest().with_mode(Mode::AsIs).file(&file, &Facts::default(), &()).await.unwrap();
        assert_eq!(as_is.outcome, Outcome::Known);
        let ladder = world.ingest().file(&file, &Facts::default(), &()).await.unwrap();
        assert_eq!((ladder.outcome, ladder.record.renditions.len()), (Outcome::New, 4));
    }
}

#[tokio::test]
async fn as_is_with_ffmpeg_is_listened_to_as_well() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    let file = world.folder.path().join("ready.m4a");
    std::fs::write(&file, demo_file(Rendition::Aac256)).unwrap();
    let record =
        world.ingest().with_mode(Mode::AsIs).file(&file, &Facts::default(), &()).await.unwrap().record;
    assert_eq!(record.renditions, [Rendition::Aac256]);
    assert!((record.loudness.unwrap().integrated_lufs + 15.0).abs() < 0.5);
}

#[tokio::test]
async fn a_power_cut_between_any_two_writes_leaves_nothing_visible() {
    let whole = World::new();
    let song = whole.with_demo().await;
    let path = whole.path(song.asset, Rendition::Aac64);
    let there = whole.start().await.get(path).await.body;
    for puts in 0..PUTS {
        let world = World::new();
        std::fs::create_dir_all(&world.store.dir).unwrap();
        let disk = Arc::new(LocalFileSystem::new_with_prefix(&world.store.dir).unwrap());
        let pulled = Faulty::over(disk, Fault::PutsFailAfter(puts));

        let error = world.ingest_over(pulled).demo(&demo::tracks()[0]).await.unwrap_err();

        assert!(matches!(error, IngestError::Store { .. }), "{error:?}");
        let names: Vec<_> = world.stored().into_iter().map(|(name, _)| name).collect();
        let (songs, sources): (Vec<_>, Vec<_>) = names
            .iter()
            .filter(|name| !name.starts_with("assets/"))
            .partition(|name| name.starts_with("songs/"));
        let objects = names.iter().filter(|name| name.ends_with(".mez") || name.ends_with(".six")).count();
        let asset = names.iter().any(|name| name.ends_with("asset.json"));
        // Each of these says that all before it is there.
        assert_eq!((objects, asset), (puts.min(8), puts > 8), "after {puts}: {names:?}");
        assert_eq!((songs.len(), sources.len()), (usize::from(puts > 9), 0), "after {puts}: {names:?}");

        // An origin does not show it, and the next run makes it whole.
        let origin = world.start().await;
        assert_eq!(origin.get(path).await.status.as_u16(), if asset { 200 } else { 404 }, "after {puts}");
        origin.running.stop().await;
        assert_eq!(world.with_demo().await, song);
        assert!(world.start().await.get(path).await.body == there, "after {puts}");
    }
}

#[tokio::test]
async fn an_ingest_that_is_dropped_leaves_no_scratch_no_child_and_nothing_visible() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    let file = world.folder.path().join("song.wav");
    music(&file);
    // Dropped at each step: as soon as it says that it is there.
    for wanted in [Step::Copy, Step::Listen, Step::Encode, Step::Store] {
        let hangs = Faulty::in_memory(Fault::PutsHangAfter(1));
        let ingest = world.ingest_over(hangs);
        let (reached, mut is_reached) = tokio::sync::mpsc::unbounded_channel();
        let progress = Reached(wanted, reached);
        let facts = Facts::default();
        tokio::select! {
            biased;
            _ = is_reached.recv() => {}
            done = ingest.file(&file, &facts, &progress) => panic!("{done:?}"),
        }
        assert!(is_swept(&world), "dropped while {wanted:?}");
    }
}

struct Reached(Step, tokio::sync::mpsc::UnboundedSender<()>);

impl Progress for Reached {
    fn at(&self, step: Step, _: f32) {
        if step == self.0 {
            self.1.send(()).ok();
        }
    }
}

#[tokio::test]
async fn a_store_that_hangs_ends_the_ingest_in_time() {
    let mut world = World::new();
    world.store.write_ms = 100;
    let error = world
        .ingest_over(Faulty::in_memory(Fault::PutsHangAfter(3)))
        .demo(&demo::tracks()[0])
        .await
        .unwrap_err();
    let IngestError::Store { cause, .. } = error else { panic!("{error:?}") };
    assert!(cause.to_string().contains("waited 100ms for the store to write assets/"), "{cause}");
}

#[tokio::test]
async fn an_asset_that_is_served_keeps_its_objects_when_it_comes_again() {
    let world = World::new();
    world.with_demo().await;
    let before = world.stored();
    // The same recording from another file: another source, the same asset.
    let track = &demo::tracks()[0];
    world.clock.wind(1000);
    let again = world
        .ingest()
        .encoded("again", track.renditions(), &track.facts(), None, &"ab".repeat(32))
        .await
        .unwrap();
    assert_eq!(again.outcome, Outcome::New);
    let sealed = |stored: &[(String, Vec<u8>)]| -> Vec<_> {
        stored.iter().filter(|(name, _)| !name.ends_with(".json")).cloned().collect()
    };
    assert!(sealed(&world.stored()) == sealed(&before));
}

#[tokio::test]
async fn a_damaged_object_is_mended_by_ingesting_again() {
    let world = World::new();
    let song = world.with_demo().await;
    let path = world.path(song.asset, Rendition::Aac64);
    let origin = world.start().await;
    let good = origin.get(path).await.body;
    let name = world.store.dir.join(format!("assets/{}/64.c.mez", song.asset));
    spoil(&name, 100);
    std::fs::remove_file(world.store.dir.join(format!("sources/{}.json", song.source_sha256))).unwrap();

    world.with_demo().await;

    // The origin that had it open finds the new version by itself.
    let reply = origin.get(path).await;
    assert!(reply.status == 200 && reply.body == good);
}

/// Flips a bit of a file.
pub fn spoil(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn on_s3_it_becomes_the_same_song_with_the_same_bytes() {
    let Some(weed) = Weed::start() else { return };
    weed.ready().await;
    let (far, near) = (World::with_store(weed.store("songs")), World::new());
    let song = far.with_demo().await;
    assert_eq!(song, near.with_demo().await);
    assert_eq!(far.ingest().demo(&demo::tracks()[0]).await.unwrap().outcome, Outcome::Known);
    let (origin, reference) = (far.start().await, near.start().await);
    assert_eq!(origin.admin("/readyz").await.text(), "ready\n");
    for rendition in Rendition::AAC {
        let path = far.path(song.asset, rendition);
        let whole = reference.get(path).await.body;
        assert!(origin.get(path).await.body == whole, "{rendition}");
        let part = Span::new(65_000, 200_000).unwrap();
        let reply = origin.ask(path, &[("range", &part.as_spec().to_string())]).await;
        assert!(reply.status == 206 && reply.body == whole.slice(65_000..200_000), "{rendition}");
    }
    tokio::time::timeout(Duration::from_secs(5), origin.running.stop()).await.unwrap();
}
