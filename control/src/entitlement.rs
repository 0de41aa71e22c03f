//! The entitlement to one play: the `drm_token` that manifests and licences are given for.
//!
//! Promises
//! - It names one session, song, asset, epoch, device and set of renditions, and ends with the play.
//! - It is signed with a key of its own for an audience of its own: an access token opens no licence, and this
//!   token opens no API.
//!
//! Does not know: content keys, HTTP.

use crate::jwt::{JwtError, Kind, Mint, SignError};
use antiphon_core::ids::ListenerId;
use antiphon_core::{AssetId, DeviceId, Epoch, Rendition, Secret, SessionId, SongId, UnixTime};
use serde::{Deserialize, Serialize};

/// Makes and reads entitlements.
#[derive(Debug)]
pub struct Entitlements {
    mint: Mint<Claims>,
}

/// What one play may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// Who plays.
    pub listener: ListenerId,
    /// On what.
    pub device: DeviceId,
    /// The play.
    pub session: SessionId,
    /// The track as the catalogue names it.
    pub song: SongId,
    /// The recording.
    pub asset: AssetId,
    /// Whose keys.
    pub epoch: Epoch,
    /// The renditions of the asset within the tier.
    pub renditions: Vec<Rendition>,
    /// The tier's ceiling, kbit/s.
    pub max_kbps: u32,
    /// When the play ends.
    pub expires: UnixTime,
}

const KIND: Kind = Kind { issuer: "antiphon", audience: "antiphon-licence", media_type: "JWT" };

/// Short names: the token travels in URLs.
#[derive(Serialize, Deserialize)]
struct Claims {
    dev: DeviceId,
    sid: SessionId,
    song: SongId,
    ast: AssetId,
    ep: Epoch,
    r: Vec<Rendition>,
    q: u32,
}

impl Entitlements {
    /// Entitlements under `key`.
    pub fn new(key: &Secret, leeway_secs: u32) -> Self {
        Self { mint: Mint::new(KIND, key, leeway_secs) }
    }

    /// Signs the token of an entitlement that begins at `now`.
    pub fn sign(&self, entitlement: Entitlement, now: UnixTime) -> Result<String, SignError> {
        let Entitlement { listener, device, session, song, asset, epoch, renditions, max_kbps, expires } =
            entitlement;
        let claims =
            Claims { dev: device, sid: session, song, ast: asset, ep: epoch, r: renditions, q: max_kbps };
        self.mint.sign(listener.as_str(), claims, now, expires)
    }

    /// What the holder of this token is entitled to.
    pub fn verify(&self, token: &str, now: UnixTime) -> Result<Entitlement, JwtError> {
        let verified = self.mint.verify(token, now)?;
        let listener = verified.subject.parse().map_err(|_| JwtError::Malformed)?;
        let Claims { dev, sid, song, ast, ep, r, q } = verified.claims;
        Ok(Entitlement {
            listener,
            device: dev,
            session: sid,
            song,
            asset: ast,
            epoch: ep,
            renditions: r,
            max_kbps: q,
            expires: verified.expires,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::{DEMO_LISTENERS, Issuer};

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn key() -> Secret {
        Secret::from_bytes(vec![3; 32])
    }

    fn entitlement() -> Entitlement {
        Entitlement {
            listener: "demo-free".parse().unwrap(),
            device: "device_xyz".parse().unwrap(),
            session: "session_0".parse().unwrap(),
            song: "song_0123456789abcdef".parse().unwrap(),
            asset: AssetId::from_bytes([5; 16]),
            epoch: Epoch(694),
            renditions: vec![Rendition::Aac64, Rendition::Aac128],
            max_kbps: 128,
            expires: NOW.plus(3600),
        }
    }

    #[test]
    fn an_entitlement_is_read_back_and_survives_a_query_string() {
        let token = Entitlements::new(&key(), 30).sign(entitlement(), NOW).unwrap();
        assert_eq!(Entitlements::new(&key(), 30).verify(&token, NOW), Ok(entitlement()));
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')));
        assert!(token.len() < 600, "{} bytes", token.len());
    }

    #[test]
    fn an_access_token_is_no_entitlement_even_under_the_same_key() {
        let issuer = Issuer::new(&key(), &DEMO_LISTENERS, 3600, 30);
        let access = issuer.log_in("free", "listen", NOW).unwrap().token;
        let token = Entitlements::new(&key(), 30).sign(entitlement(), NOW).unwrap();
        assert!(Entitlements::new(&key(), 30).verify(&access, NOW).is_err());
        assert!(issuer.listener(&token, NOW).is_err());
    }
}
