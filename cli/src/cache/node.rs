//! A running edge, by its admin listener.

use super::At;
use super::offline::bytes;
use antiphon_core::Secret;
use antiphon_edge::admin::volumes::ORDER_HEADER;
use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::fmt::Write;
use std::time::Duration;

/// A running edge.
pub struct Node {
    http: reqwest::Client,
    base: String,
    secret: Option<Secret>,
}

const PATIENCE: Duration = Duration::from_secs(10);
/// How often a scrub is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest answer that is shown, in characters.
const SHOWN_MAX: usize = 400;

impl Node {
    /// The edge at `at`.
    pub fn new(at: &At) -> Result<Self> {
        let read = |file: &std::path::PathBuf| {
            let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            Secret::from_text(&text).with_context(|| format!("read {}", file.display()))
        };
        let secret = at.secret_file.as_ref().map(read).transpose()?;
        let http = reqwest::Client::builder().timeout(PATIENCE).build().context("set up HTTP")?;
        Ok(Self { http, base: at.node.trim_end_matches('/').to_owned(), secret })
    }

    /// How its volumes are, as it says it.
    pub async fn volumes_text(&self) -> Result<String> {
        self.answer(self.http.get(format!("{}/cache/volumes", self.base))).await
    }

    /// The same, read.
    pub async fn volumes(&self) -> Result<Vec<Json>> {
        let text = self.volumes_text().await?;
        serde_json::from_str(&text).context("read the edge's answer")
    }

    /// Gives an order; what the edge says to it.
    pub async fn tell(&self, volume: &str, order: &str) -> Result<String> {
        self.order(&format!("volumes/{volume}/{order}"), order).await
    }

    /// Purges; what the edge says to it.
    pub async fn purge(&self, soft: bool, scope: &str) -> Result<String> {
        let manner = if soft { "soft" } else { "hard" };
        self.order(&format!("purge/{manner}/{scope}"), "purge").await
    }

    /// What it knows about an object, as JSON.
    pub async fn explain(&self, path: &str) -> Result<String> {
        let path = path.trim_start_matches('/');
        self.answer(self.http.get(format!("{}/cache/objects/{path}", self.base))).await
    }

    async fn order(&self, path: &str, order: &str) -> Result<String> {
        let url = format!("{}/cache/{path}", self.base);
        let mut request = self.http.post(url).header(ORDER_HEADER, order);
        if let Some(secret) = &self.secret {
            request = request.bearer_auth(String::from_utf8_lossy(secret.expose()));
        }
        Ok(self.answer(request).await?.trim_end().to_owned())
    }

    /// Has every chunk of `volume` checked and waits; how many were damaged.
    pub async fn verify(&self, volume: &str) -> Result<u64> {
        let before = self.counts(volume).await?;
        self.tell(volume, "scrub").await?;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.counts(volume).await?;
            // The round that was under way does not count, the one after it does.
            if now.rounds >= before.rounds + 2 {
                let damaged = now.damaged.saturating_sub(before.damaged);
                println!("{} records are good, {damaged} damaged", now.records);
                return Ok(damaged);
            }
        }
    }

    async fn counts(&self, volume: &str) -> Result<Counts> {
        let volumes = self.volumes().await?;
        let status = volumes.iter().find(|status| status["name"] == volume);
        let stats = &status.with_context(|| format!("the edge has no volume {volume:?}"))?["stats"];
        let count = |name: &str| stats[name].as_u64();
        let counts = || {
            let damaged = count("damaged")? + count("unreadable")?;
            Some(Counts { rounds: count("scrub_passes")?, damaged, records: count("records")? })
        };
        counts().with_context(|| format!("volume {volume} is out: put it back first"))
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<String> {
        let answer = request.send().await.with_context(|| format!("reach the edge at {}", self.base))?;
        let status = answer.status();
        let text = answer.text().await.context("read the edge's answer")?;
        if !status.is_success() {
            bail!("{status}: {}", text.trim_end().chars().take(SHOWN_MAX).collect::<String>());
        }
        Ok(text)
    }
}

struct Counts {
    rounds: u64,
    damaged: u64,
    records: u64,
}

/// Volumes for a person.
pub fn table(volumes: &[Json]) -> String {
    if volumes.is_empty() {
        return "this edge keeps chunks in memory only: no volume is configured\n".to_owned();
    }
    let mut text = format!(
        "{:<12} {:<5} {:<11} {:>9} {:>11} {:>12} {:>7} {:>5} {:>7}  why\n",
        "volume", "class", "state", "for", "size", "records", "errors", "late", "damaged"
    );
    for volume in volumes {
        let word = |name: &str| volume[name].as_str().unwrap_or("").to_owned();
        let count = |name: &str| volume[name].as_u64().unwrap_or(0);
        let stat = |name: &str| volume["stats"][name].as_u64().unwrap_or(0);
        let state = if volume["bypassed"] == true { "hangs".to_owned() } else { word("state") };
        let why = [word("cause"), word("last_error")].join(" ");
        // A String takes every write.
        let _ = writeln!(
            text,
            "{:<12} {:<5} {:<11} {:>8}s {:>11} {:>12} {:>7} {:>5} {:>7}  {}",
            word("name"),
            word("class"),
            state,
            count("state_secs"),
            bytes(stat("capacity_bytes")),
            stat("records"),
            count("errors"),
            count("late"),
            stat("damaged") + stat("unreadable"),
            why.trim(),
        );
        for remark in volume["remarks"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "{:<12} note: {}", "", remark.as_str().unwrap_or(""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_volume_that_is_out_is_shown_with_its_reason() {
        let volume = json!({
            "name": "nvme0", "class": "ssd", "state": "failed", "cause": "errors", "bypassed": false,
            "state_secs": 61, "errors": 5, "late": 2, "last_error": "Read Data at byte 4096: EIO", "stats": null,
            "remarks": ["no O_DIRECT here"],
        });
        let shown = table(&[volume]);
        let line = shown.lines().nth(1).unwrap();
        for word in ["nvme0", "failed", "61s", "errors Read Data at byte 4096: EIO"] {
            assert!(line.contains(word), "{line}");
        }
        assert!(shown.contains("note: no O_DIRECT here"));
        assert!(table(&[]).contains("memory only"));
    }
}
