//! Who may hear what: the rules of the tiers, and nothing else.
//!
//! Promises
//! - Pure: the same listener, wish, recording and moment always give the same answer.
//! - A free listener is never granted more than [`FREE_KBPS_MAX`], whatever was wished for.
//!
//! Does not know: HTTP, tokens, databases, clocks.

use antiphon_core::{Quality, Rendition, UnixTime};
use serde::{Deserialize, Serialize};

/// What a listener pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Pays nothing.
    Free,
    /// Pays a subscription.
    Premium,
}

/// What one play is allowed, from now until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The rendition to begin with: the best one within the wish.
    pub rendition: Rendition,
    /// All renditions that this play may switch to, by rising bit rate. Invariant: holds `rendition`, and
    /// nothing above `max_kbps`.
    pub renditions: Vec<Rendition>,
    /// The most kbit/s this play may fetch.
    pub max_kbps: u32,
    /// When the play ends; the player may then ask again.
    pub expires: UnixTime,
}

/// Why nothing may be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// All renditions of the track are above the tier.
    #[error("this track has no rendition of {max_kbps} kbit/s or less")]
    AboveTier {
        /// The tier's ceiling.
        max_kbps: u32,
    },
}

/// Most kbit/s of a free listener.
pub const FREE_KBPS_MAX: u32 = 128;
/// Most kbit/s of a premium listener.
pub const PREMIUM_KBPS_MAX: u32 = 320;

impl Tier {
    /// The most kbit/s this tier may hear.
    pub const fn max_kbps(self) -> u32 {
        match self {
            Self::Free => FREE_KBPS_MAX,
            Self::Premium => PREMIUM_KBPS_MAX,
        }
    }

    /// The tier's name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Premium => "premium",
        }
    }
}

/// Grants a play that begins at `now` and lasts `play_secs`.
///
/// A wish above the tier is granted at the tier's best; a wish below everything stored is granted at the
/// lowest rendition of the tier, because music at 128 kbit/s is nearer to the wish than silence.
pub fn grant(
    tier: Tier,
    wish: Quality,
    stored: &[Rendition],
    now: UnixTime,
    play_secs: u32,
) -> Result<Grant, PolicyError> {
    let max_kbps = tier.max_kbps();
    let mut renditions: Vec<Rendition> =
        stored.iter().copied().filter(|rendition| rendition.kbps() <= max_kbps).collect();
    renditions.sort_by_key(|rendition| (rendition.kbps(), *rendition));
    renditions.dedup();
    let within_wish = renditions.iter().rev().find(|rendition| rendition.kbps() <= wish.kbps());
    let Some(rendition) = within_wish.or(renditions.first()).copied() else {
        return Err(PolicyError::AboveTier { max_kbps });
    };
    debug_assert!(renditions.contains(&rendition) && rendition.kbps() <= max_kbps);
    Ok(Grant { rendition, renditions, max_kbps, expires: now.plus(play_secs.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn heard(tier: Tier, wish: Quality) -> u32 {
        grant(tier, wish, &Rendition::AAC, NOW, 3600).unwrap().rendition.kbps()
    }

    #[test]
    fn a_free_listener_who_wishes_for_more_hears_128() {
        assert_eq!(heard(Tier::Free, Quality::Low), 64);
        for wish in [Quality::Normal, Quality::High, Quality::Premium, Quality::Lossless] {
            assert_eq!(heard(Tier::Free, wish), 128);
        }
    }

    #[test]
    fn a_premium_listener_hears_what_was_wished_for_up_to_320() {
        let heard: Vec<u32> =
            [Quality::Low, Quality::Normal, Quality::High, Quality::Premium, Quality::Lossless]
                .map(|wish| heard(Tier::Premium, wish))
                .to_vec();
        assert_eq!(heard, [64, 128, 256, 320, 320]);
    }

    #[test]
    fn a_wish_below_everything_stored_gets_the_lowest() {
        let granted =
            grant(Tier::Premium, Quality::Low, &[Rendition::Aac256, Rendition::Aac128], NOW, 60).unwrap();
        assert_eq!(granted.rendition, Rendition::Aac128);
        assert_eq!(granted.renditions, [Rendition::Aac128, Rendition::Aac256]);
        assert_eq!(granted.expires, UnixTime(NOW.0 + 60));
    }

    #[test]
    fn a_track_stored_above_the_tier_only_is_refused() {
        assert_eq!(
            grant(Tier::Free, Quality::Low, &[Rendition::Aac320], NOW, 60),
            Err(PolicyError::AboveTier { max_kbps: 128 })
        );
        assert!(grant(Tier::Premium, Quality::Low, &[], NOW, 60).is_err());
    }

    proptest! {
        #[test]
        fn no_play_reaches_above_its_tier(
            free in any::<bool>(),
            wish in prop::sample::select(vec![Quality::Low, Quality::Normal, Quality::High, Quality::Premium, Quality::Lossless]),
            stored in prop::collection::vec(prop::sample::select(Rendition::ALL.to_vec()), 0..9),
        ) {
            let tier = if free { Tier::Free } else { Tier::Premium };
            if let Ok(granted) = grant(tier, wish, &stored, NOW, 60) {
                prop_assert!(granted.renditions.iter().all(|rendition| rendition.kbps() <= tier.max_kbps()));
                prop_assert!(granted.renditions.contains(&granted.rendition));
                prop_assert!(granted.renditions.iter().all(|rendition| stored.contains(rendition)));
            }
        }
    }
}
