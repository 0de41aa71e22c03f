//! Speaks to a running control plane: as an operator (admin listener) and as a demo listener (quickstart).

use antiphon_core::{Secret, SongId};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::time::Duration;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is shown to the operator, in characters.
const SHOWN_MAX: usize = 400;

/// An operator at the admin listener.
pub struct Operator {
    http: reqwest::Client,
    base: String,
    token: Secret,
}

/// A listener at the public listener.
pub struct Listener {
    http: reqwest::Client,
    base: String,
    access_token: String,
}

impl Operator {
    /// Speaks to the admin listener at `base` (`http://127.0.0.1:9380`) with the token in `token_file`.
    pub fn new(base: &str, token_file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(token_file).with_context(|| format!("read {}", token_file.display()))?;
        let token = Secret::from_text(&text).with_context(|| format!("read {}", token_file.display()))?;
        let http = reqwest::Client::builder().timeout(PATIENCE).build().context("set up HTTP")?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), token })
    }

    /// Tells the control plane about a song.
    pub async fn put_song(&self, song: &SongId, record: &impl Serialize) -> Result<()> {
        let url = format!("{}/admin/v1/songs/{song}", self.base);
        let token = String::from_utf8_lossy(self.token.expose()).into_owned();
        let answer = self.http.put(&url).bearer_auth(token).json(record).send().await;
        let answer = answer.with_context(|| format!("reach the control plane at {}", self.base))?;
        let status = answer.status();
        if !status.is_success() {
            bail!("the control plane refused song {song}: {status} {}", shown(answer).await);
        }
        Ok(())
    }
}

impl Listener {
    /// Logs a demo listener in at `base`, trusting the authority in `ca`.
    pub async fn log_in(base: &str, ca: &Path, name: &str, password: &str) -> Result<Self> {
        let pem = std::fs::read(ca).with_context(|| format!("read {}", ca.display()))?;
        let authority =
            reqwest::Certificate::from_pem(&pem).with_context(|| format!("read {}", ca.display()))?;
        let http = reqwest::Client::builder()
            .tls_certs_only([authority])
            .timeout(PATIENCE)
            .build()
            .context("set up HTTPS")?;
        let form = [("grant_type", "password"), ("username", name), ("password", password)];
        let answer = http.post(format!("{base}/oauth/token")).form(&form).send().await;
        let answer: Json = read(answer.with_context(|| format!("reach {base}"))?, "log in").await?;
        let access_token =
            answer["access_token"].as_str().context("the control plane gave no access token")?.to_owned();
        Ok(Self { http, base: base.to_owned(), access_token })
    }

    /// Asks to play a song; gives back where its bytes are.
    pub async fn stream_url(&self, song: &SongId) -> Result<String> {
        let ask = json!({"song_id": song, "quality": "premium", "device_id": "device_quickstart"});
        let url = format!("{}/api/v1/stream/play", self.base);
        let answer = self.http.post(url).bearer_auth(&self.access_token).json(&ask).send().await;
        let answer: Json = read(answer.context("ask to play")?, "play").await?;
        Ok(answer["stream_url"].as_str().context("the control plane gave no stream_url")?.to_owned())
    }
}

async fn read<T: DeserializeOwned>(answer: reqwest::Response, what: &str) -> Result<T> {
    let status = answer.status();
    if !status.is_success() {
        bail!("{what}: the control plane answered {status} {}", shown(answer).await);
    }
    answer.json().await.with_context(|| format!("{what}: read the control plane's answer"))
}

async fn shown(answer: reqwest::Response) -> String {
    answer.text().await.unwrap_or_default().chars().take(SHOWN_MAX).collect()
}
