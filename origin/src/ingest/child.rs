//! Runs one child process to its end, within bounds of time and of what it says.
//!
//! Promises
//! - No shell, no standard input, no environment but `PATH`: what a file is called cannot become a command.
//! - The child is dead before [`run`] has returned, and soon after its future was dropped.
//! - At most [`SAID_LEN_MAX`] bytes of each output are kept; the rest is read and thrown away, so a child that
//!   says a lot is neither blocked nor believed.
//!
//! Does not know: ffmpeg, audio.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Most bytes kept of standard output, and of standard error.
pub const SAID_LEN_MAX: usize = 1024 * 1024;

/// What a child left behind.
#[derive(Debug)]
pub(super) struct Said {
    /// Whether it exited with 0.
    pub success: bool,
    /// Standard output, cut at [`SAID_LEN_MAX`].
    pub out: Vec<u8>,
    /// Standard error, cut likewise, odd bytes replaced.
    pub err: String,
    /// Whether standard error was longer than that.
    pub err_cut: bool,
}

/// Why a child did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// There is no such program.
    #[error("{} is not installed", program.display())]
    Absent {
        /// The program.
        program: PathBuf,
    },
    /// The system would not start or watch it.
    #[error("run {}", program.display())]
    Broke {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("{} took longer than {} s", program.display(), limit.as_secs())]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// Time it had.
        limit: Duration,
    },
}

/// Runs `program` with `arguments`; `hear` gets each piece of standard output as it comes.
pub(super) async fn run(
    program: &Path,
    arguments: &[OsString],
    limit: Duration,
    mut hear: impl FnMut(&[u8]) + Send,
) -> Result<Said, ChildError> {
    let broke = |cause| ChildError::Broke { program: program.to_owned(), cause };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let mut child = command.kill_on_drop(true).spawn().map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => ChildError::Absent { program: program.to_owned() },
        _ => broke(cause),
    })?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let listening = async {
        let (out, err) = tokio::try_join!(gather(out, &mut hear), gather(err, |_: &[u8]| ()))?;
        Ok((out, err, child.wait().await?))
    };
    match tokio::time::timeout(limit, listening).await {
        Ok(Ok(((out, _), (err, err_cut), status))) => {
            let err = String::from_utf8_lossy(&err).into_owned();
            Ok(Said { success: status.success(), out, err, err_cut })
        }
        Ok(Err(cause)) => Err(broke(cause)),
        Err(_) => {
            // Also reaps it. That a child is already gone is no failure.
            drop(child.kill().await);
            Err(ChildError::TimedOut { program: program.to_owned(), limit })
        }
    }
}

/// Reads a pipe to its end, keeping the first [`SAID_LEN_MAX`] bytes; tells whether there were more.
async fn gather(
    pipe: Option<impl AsyncRead + Unpin>,
    mut hear: impl FnMut(&[u8]),
) -> io::Result<(Vec<u8>, bool)> {
    let (mut kept, mut cut) = (Vec::new(), false);
    let Some(mut pipe) = pipe else { return Ok((kept, cut)) };
    let mut piece = [0; 8192];
    loop {
        let len = pipe.read(&mut piece).await?;
        if len == 0 {
            return Ok((kept, cut));
        }
        hear(&piece[..len]);
        let room = SAID_LEN_MAX - kept.len();
        cut |= len > room;
        kept.extend_from_slice(&piece[..len.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(list: &[&str]) -> Vec<OsString> {
        list.iter().map(OsString::from).collect()
    }

    #[tokio::test]
    async fn a_child_that_is_not_there_is_named() {
        let error = run(Path::new("no-such-program"), &[], Duration::from_secs(9), |_| ()).await.unwrap_err();
        assert_eq!(error.to_string(), "no-such-program is not installed");
    }

    #[tokio::test]
    async fn a_child_that_does_not_end_is_killed() {
        let limit = Duration::from_millis(50);
        let error = run(Path::new("sleep"), &arguments(&["600"]), limit, |_| ()).await.unwrap_err();
        assert!(matches!(error, ChildError::TimedOut { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_child_that_says_too_much_is_cut_and_not_blocked() {
        let long = (SAID_LEN_MAX + 1).to_string();
        let mut heard = 0;
        let said = run(
            Path::new("head"),
            &arguments(&["-c", &long, "/dev/zero"]),
            Duration::from_secs(9),
            |piece| {
                heard += piece.len();
            },
        )
        .await
        .unwrap();
        assert!(said.success && said.out.len() == SAID_LEN_MAX && heard == SAID_LEN_MAX + 1);
    }
}
