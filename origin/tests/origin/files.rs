//! Audio files made on the spot, and what programs make of ours.

use antiphon_core::Rendition;
use antiphon_origin::demo;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether ffmpeg is there; says so out loud when it is not, and fails in CI.
pub fn has_ffmpeg() -> bool {
    let there =
        |program| Command::new(program).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found =
        ["ffmpeg", "ffprobe"].into_iter().all(|program| there(program).is_ok_and(|status| status.success()));
    found || skipped("ffmpeg is missing")
}

/// Says that a test is not run, and why.
pub fn skipped(why: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "{why}, and CI must not skip");
    eprintln!("SKIPPED: {why}");
    false
}

/// Runs ffmpeg; what it writes to standard output.
pub fn ffmpeg<A: AsRef<OsStr>>(arguments: &[A]) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Six seconds of a demo track, tagged, as a file of the kind its ending says.
pub fn music(file: &Path) {
    let source = file.with_extension("demo.m4a");
    std::fs::write(&source, demo_file(Rendition::Aac320)).unwrap();
    let tags = "-metadata title=Sechs -metadata artist=Uhren -metadata album=Turm";
    let input = ["-ss", "2", "-t", "6", "-i", source.to_str().unwrap()].map(String::from);
    let mut arguments = input.to_vec();
    arguments.extend(tags.split(' ').map(String::from));
    if file.extension().is_some_and(|ending| ending == "ogg") {
        arguments.extend(["-c:a", "libvorbis"].map(String::from));
    }
    arguments.push(file.display().to_string());
    ffmpeg(&arguments);
    std::fs::remove_file(source).unwrap();
}

/// One rendition of the first demo track.
pub fn demo_file(rendition: Rendition) -> bytes::Bytes {
    let found = demo::tracks()[0].renditions().into_iter().find(|(name, _)| *name == rendition);
    found.unwrap().1
}

/// 16-bit samples, both channels, as ffmpeg decodes them.
pub fn decode(file: &Path, options: &[&str]) -> Vec<i16> {
    let mut arguments: Vec<&str> = options.to_vec();
    arguments.extend([
        "-i",
        file.to_str().unwrap(),
        "-map",
        "0:a:0",
        "-f",
        "s16le",
        "-c:a",
        "pcm_s16le",
        "-",
    ]);
    ffmpeg(&arguments).chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}
