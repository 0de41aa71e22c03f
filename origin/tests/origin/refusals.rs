//! Files that are refused, one by one: by name, by reason, with nothing written.

use crate::files::{demo_file, ffmpeg, has_ffmpeg, music};
use crate::world::World;
use antiphon_core::{ByteSize, Rendition};
use antiphon_origin::config::IngestConfig;
use antiphon_origin::ingest::{Facts, IngestError, Mode};
use std::path::{Path, PathBuf};

/// Takes in a file that must be refused; nothing is stored, nothing is left. Gives the line an operator reads.
async fn refused(
    world: &World,
    file: &Path,
    change: impl FnOnce(&mut IngestConfig),
) -> (IngestError, String) {
    let error = world.ingest_with(change).file(file, &Facts::default(), &()).await.unwrap_err();
    let line = error.to_string();
    assert!(line.starts_with(&format!("{}: ", file.display())) && !line.contains('\n'), "{line}");
    assert_eq!(world.stored(), []);
    assert_eq!(std::fs::read_dir(world.scratch()).unwrap().count(), 0);
    (error, line)
}

fn in_world(world: &World, name: &str) -> PathBuf {
    world.folder.path().join(name)
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let world = World::new();
    let (error, _) = refused(&world, &in_world(&world, "absent.wav"), |_| ()).await;
    assert!(matches!(error, IngestError::Unreadable { .. }), "{error:?}");
    let (error, _) = refused(&world, world.folder.path(), |_| ()).await;
    assert!(matches!(error, IngestError::Folder { .. }), "{error:?}");
    let (error, _) = refused(&world, Path::new("/dev/zero"), |_| ()).await;
    assert!(matches!(error, IngestError::NotAFile { .. }), "{error:?}");
    let empty = in_world(&world, "empty.wav");
    std::fs::write(&empty, "").unwrap();
    let (error, _) = refused(&world, &empty, |_| ()).await;
    assert!(matches!(error, IngestError::Empty { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_is_taken_up_to_the_byte_limit_and_not_past_it() {
    let world = World::new();
    let file = in_world(&world, "ready.m4a");
    let ready = demo_file(Rendition::Aac64);
    std::fs::write(&file, &ready).unwrap();
    let len = ready.len() as u64;
    let (error, line) = refused(&world, &file, |config| config.source_bytes_max = ByteSize(len - 1)).await;
    assert!(
        matches!(error, IngestError::TooLarge { .. }) && line.contains("ingest.source_bytes_max"),
        "{line}"
    );
    let ingest = world.ingest_with(|config| config.source_bytes_max = ByteSize(len)).with_mode(Mode::AsIs);
    assert!(ingest.file(&file, &Facts::default(), &()).await.is_ok());
}

#[tokio::test]
async fn what_holds_no_sound_is_refused() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    let text = in_world(&world, "poem.mp3");
    std::fs::write(&text, "Rough winds do shake the darling buds of May,\n".repeat(100)).unwrap();
    let (error, _) = refused(&world, &text, |_| ()).await;
    assert!(matches!(error, IngestError::NotAudio { .. }), "{error:?}");

    let picture = in_world(&world, "cover.png");
    ffmpeg(&["-f", "lavfi", "-i", "color=red:size=16x16", "-frames:v", "1", picture.to_str().unwrap()]);
    let (error, _) = refused(&world, &picture, |_| ()).await;
    assert!(matches!(error, IngestError::NotAudio { .. }), "{error:?}");

    let silent_film = in_world(&world, "film.mp4");
    ffmpeg(&["-f", "lavfi", "-i", "color=red:size=16x16", "-t", "1", silent_film.to_str().unwrap()]);
    let (error, line) = refused(&world, &silent_film, |_| ()).await;
    assert!(matches!(error, IngestError::NotAudio { .. }) && line.ends_with("it holds no sound"), "{line}");
}

#[tokio::test]
async fn a_playlist_cannot_make_ffmpeg_read_another_file() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    let secret = in_world(&world, "secret.aac");
    music(&secret);
    let hls =
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nfile:{}\n#EXT-X-ENDLIST\n", secret.display());
    let concat = format!("ffconcat version 1.0\nfile '{}'\n", secret.display());
    for (name, text) in [("list.m3u8", hls), ("list.ffconcat", concat)] {
        let list = in_world(&world, name);
        std::fs::write(&list, text).unwrap();
        let (error, _) = refused(&world, &list, |_| ()).await;
        assert!(matches!(error, IngestError::NotAudio { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn headers_without_samples_are_refused() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    for ending in ["wav", "flac", "m4a"] {
        let file = in_world(&world, &format!("silent.{ending}"));
        ffmpeg(&["-f", "lavfi", "-i", "anullsrc", "-t", "0", file.to_str().unwrap()]);
        let (error, _) = refused(&world, &file, |_| ()).await;
        let named = matches!(error, IngestError::NoSamples { .. } | IngestError::NotAudio { .. });
        assert!(named, "{ending}: {error:?}");
    }
    // The plainest of all: a WAV header that promises nothing.
    let header =
        b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\x44\xac\0\0\x10\xb1\x02\0\x04\0\x10\0data\0\0\0\0";
    let file = in_world(&world, "header.wav");
    std::fs::write(&file, header).unwrap();
    let (error, _) = refused(&world, &file, |_| ()).await;
    assert!(matches!(error, IngestError::NoSamples { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_that_was_cut_is_refused() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    for ending in ["wav", "flac", "mp3", "m4a", "aac", "ogg", "opus"] {
        let whole = in_world(&world, &format!("whole.{ending}"));
        music(&whole);
        let bytes = std::fs::read(&whole).unwrap();
        for part in [bytes.len() / 2, bytes.len() * 9 / 10] {
            let cut = in_world(&world, &format!("cut.{ending}"));
            std::fs::write(&cut, &bytes[..part]).unwrap();
            let (error, line) = refused(&world, &cut, |_| ()).await;
            let named = matches!(error, IngestError::Damaged { .. } | IngestError::NotAudio { .. });
            assert!(named, "{ending} cut at {part} of {}: {line}", bytes.len());
        }
    }
}

#[tokio::test]
async fn a_file_with_a_scratch_is_refused() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    // A WAV file has nothing to notice it by.
    for ending in ["flac", "mp3", "m4a", "aac", "ogg", "opus"] {
        let whole = in_world(&world, &format!("whole.{ending}"));
        music(&whole);
        let mut bytes = std::fs::read(&whole).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 3000]
            .iter_mut()
            .zip(1_u32..)
            .for_each(|(byte, n)| *byte ^= (n * 37 % 255) as u8 | 1);
        let scratched = in_world(&world, &format!("scratched.{ending}"));
        std::fs::write(&scratched, bytes).unwrap();
        let (error, line) = refused(&world, &scratched, |_| ()).await;
        assert!(matches!(error, IngestError::Damaged { .. }), "{ending}: {line}");
    }
}

#[tokio::test]
async fn a_track_is_taken_up_to_its_length_and_not_past_it() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    for ending in ["wav", "aac"] {
        let file = in_world(&world, &format!("six.{ending}"));
        music(&file);
        let (error, line) = refused(&world, &file, |config| config.track_secs_max = 5).await;
        assert!(matches!(error, IngestError::TooLong { max: 5, .. }), "{ending}: {line}");
    }
    let exactly = in_world(&world, "six.wav");
    let ingest = world.ingest_with(|config| config.track_secs_max = 6);
    assert!(ingest.file(&exactly, &Facts::default(), &()).await.is_ok());
}

#[tokio::test]
async fn without_ffmpeg_only_ready_aac_is_taken_and_the_reason_is_said() {
    let world = World::new();
    let none = |config: &mut IngestConfig| config.ffmpeg = "no-such-ffmpeg".into();
    let text = in_world(&world, "song.wav");
    std::fs::write(&text, "RIFF....WAVE").unwrap();
    let (error, line) = refused(&world, &text, none).await;
    assert!(matches!(error, IngestError::NeedsFfmpeg { .. }) && line.contains("ffmpeg"), "{line}");

    let cut = in_world(&world, "cut.m4a");
    let ready = demo_file(Rendition::Aac64);
    std::fs::write(&cut, &ready[..ready.len() / 2]).unwrap();
    let (error, _) = refused(&world, &cut, none).await;
    assert!(matches!(error, IngestError::NotReady { .. }), "{error:?}");

    let ladder = world.ingest_with(none).with_mode(Mode::Ladder);
    let error = ladder.file(&cut, &Facts::default(), &()).await.unwrap_err();
    assert!(matches!(error, IngestError::NeedsFfmpeg { .. }), "{error:?}");
}

#[tokio::test]
async fn another_codec_is_not_taken_as_it_is() {
    if !has_ffmpeg() {
        return;
    }
    let world = World::new();
    let (source, file) = (in_world(&world, "song.wav"), in_world(&world, "song.mp4"));
    music(&source);
    ffmpeg(&["-i", source.to_str().unwrap(), "-c:a", "libopus", file.to_str().unwrap()]);
    let error = world.ingest().with_mode(Mode::AsIs).file(&file, &Facts::default(), &()).await.unwrap_err();
    assert!(matches!(error, IngestError::NotAac { .. }), "{error:?}");
}

#[tokio::test]
async fn renditions_of_different_recordings_are_refused() {
    let world = World::new();
    let [one, other] = [0, 1].map(|n| antiphon_origin::demo::tracks()[n].renditions());
    let mixed = vec![one[0].clone(), other[1].clone()];
    let error =
        world.ingest().encoded("mixed", mixed, &Facts::default(), None, &"00".repeat(32)).await.unwrap_err();
    assert!(matches!(error, IngestError::Uneven { .. }), "{error:?}");
    let error =
        world.ingest().encoded("none", vec![], &Facts::default(), None, &"00".repeat(32)).await.unwrap_err();
    assert!(matches!(error, IngestError::Seal { .. }), "{error:?}");
    assert_eq!(world.stored(), []);
}

#[tokio::test]
async fn an_ffmpeg_that_does_not_end_is_given_up() {
    let world = World::new();
    let file = in_world(&world, "song.wav");
    std::fs::write(&file, "RIFF").unwrap();
    // A program that starts and, asked for its version, says so; asked for anything else, it waits.
    let slow = in_world(&world, "slow-ffprobe");
    std::fs::write(&slow, "#!/bin/sh\n[ \"$1\" = -version ] && exit 0\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&slow, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let change = |config: &mut IngestConfig| {
        config.ffmpeg = slow.clone();
        config.ffprobe = slow.clone();
        config.child_secs_max = 1;
    };
    let (error, _) = refused(&world, &file, change).await;
    let IngestError::Tool { cause, .. } = error else { panic!("{error:?}") };
    assert!(cause.to_string().contains("took longer than 1 s"), "{cause}");
}
