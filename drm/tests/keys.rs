//! Content keys from outside: derivation, rotation rehearsed, masters at rest (MEDIA.md §4).

#![allow(clippy::unwrap_used, reason = "a test may stop where it is wrong")]

use antiphon_core::{AssetId, Epoch, Rendition, Scheme, UnixTime};
use antiphon_drm::keys::{
    ContentKey, EPOCH_SECS, EPOCHS_MAX, FileKek, KekError, KeyError, KeyId, KeyWrap, Keyring, KeyringError,
    SHARDS, WrapError, epoch_at, epoch_ends, epochs_needed, epochs_served,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::OnceLock;

const ASSET: &str = "4f1c0d2e9b7a4c554f1c0d2e9b7a4c55";
const DAY: u64 = 86_400;
const START: UnixTime = UnixTime(1_800_000_000);

fn asset() -> AssetId {
    ASSET.parse().unwrap()
}

/// Many recordings, spread as hashes are.
fn catalogue(size: u32) -> Vec<AssetId> {
    (0..size)
        .map(|n| AssetId::from_bytes(Sha256::digest(n.to_be_bytes())[..16].try_into().unwrap()))
        .collect()
}

/// A random source for tests: repeats for the same seed, never within a run.
fn chance(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut turn = 0_u64;
    move |buffer: &mut [u8]| {
        for piece in buffer.chunks_mut(32) {
            turn += 1;
            let hash =
                Sha256::new().chain_update(seed.to_be_bytes()).chain_update(turn.to_be_bytes()).finalize();
            piece.copy_from_slice(&hash[..piece.len()]);
        }
    }
}

fn kek() -> FileKek {
    FileKek::from_bytes(&[5; 32])
}

fn ring(first: u32, last: u32) -> Keyring {
    let mut ring = Keyring::new();
    ring.extend(Epoch(first)..=Epoch(last), &mut chance(1)).unwrap();
    ring
}

/// One small ring at rest, sealed once for all tests.
fn sealed() -> &'static str {
    static SEALED: OnceLock<String> = OnceLock::new();
    SEALED.get_or_init(|| ring(692, 693).seal(&kek(), &mut chance(2)).unwrap())
}

#[test]
fn key_ids_are_those_of_the_specification() {
    let id = KeyId::derive(&asset(), Scheme::Cenc, Rendition::Aac128, Epoch(692));
    assert_eq!(id.to_string(), "5e3658d6b59ca4c2cb8e008beb2ace94");
    let id = KeyId::derive(&asset(), Scheme::Cbcs, Rendition::Opus96, Epoch(693));
    assert_eq!(id.to_string(), "10d3383664dbfa2dfc041ef1613f1e6a");
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!("10D3383664DBFA2DFC041EF1613F1E6A".parse::<KeyId>().is_err());
}

#[test]
fn content_keys_are_those_of_the_specification() {
    let mut ring = Keyring::new();
    let mut shard = 0;
    ring.extend(Epoch(692)..=Epoch(692), &mut |master: &mut [u8]| {
        master.fill(shard);
        shard = shard.wrapping_add(1);
    })
    .unwrap();
    let (id, key) = ring.content_key(&asset(), Scheme::Cenc, Rendition::Aac128, Epoch(692)).unwrap();
    assert_eq!(id.to_string(), "5e3658d6b59ca4c2cb8e008beb2ace94");
    // HKDF-SHA256 over 32 bytes of 4f, the shard of this asset, computed by hand with another HMAC.
    let expected = data_encoding::HEXLOWER.decode(b"726a0725132ca720e70fe15ef31c28c3").unwrap();
    assert_eq!(key.expose().as_slice(), expected);
}

#[test]
fn no_two_objects_share_a_key() {
    let ring = ring(692, 693);
    let mut seen = BTreeSet::new();
    for asset in catalogue(40) {
        for (scheme, epoch) in [(Scheme::Cenc, 692), (Scheme::Cbcs, 692), (Scheme::Cenc, 693)] {
            for rendition in Rendition::ALL {
                let (id, key) = ring.content_key(&asset, scheme, rendition, Epoch(epoch)).unwrap();
                assert!(seen.insert((id, *key.expose())), "{asset} {rendition} {epoch}");
            }
        }
    }
    let (ids, keys): (BTreeSet<_>, BTreeSet<_>) = seen.iter().copied().unzip();
    assert_eq!((ids.len(), keys.len()), (40 * 3 * 7, 40 * 3 * 7));
}

#[test]
fn an_asset_changes_epochs_once_a_period_at_its_own_second() {
    // Computed by the formula of MEDIA.md §4: shift 2,064,369.
    assert_eq!(epoch_at(&asset(), START, 0), Epoch(695));
    let ends = epoch_ends(&asset(), &Epoch(695), 0);
    assert_eq!(ends, UnixTime(696 * EPOCH_SECS - 2_064_369));
    assert_eq!(epoch_at(&asset(), UnixTime(ends.0 - 1), 0), Epoch(695));
    assert_eq!(epoch_at(&asset(), ends, 0), Epoch(696));
    assert_eq!(epoch_at(&asset(), ends, 3), Epoch(699));
    assert_eq!(epoch_ends(&asset(), &Epoch(698), 3), ends);
    assert_eq!(epoch_at(&asset(), UnixTime(u64::MAX), u32::MAX), Epoch(u32::MAX));
}

#[test]
fn a_month_of_rotation_moves_a_thirtieth_of_the_catalogue_a_day_and_no_play_misses_its_key() {
    let tracks = catalogue(6000);
    let mut keyring = Keyring::new();
    let mut fill = chance(3);
    let mut epochs: Vec<Epoch> = tracks.iter().map(|asset| epoch_at(asset, START, 0)).collect();
    let mut flips_of = vec![0; tracks.len()];
    for day in 1..=30 {
        let now = START.plus(day * DAY);
        // The daily task of the operator: make what will be needed, keep it wrapped, open it again.
        keyring.extend(epochs_needed(now), &mut fill).unwrap();
        let mut flips = 0;
        for ((asset, epoch), flips_of) in tracks.iter().zip(&mut epochs).zip(&mut flips_of) {
            let today = epoch_at(asset, now, 0);
            if today != *epoch {
                assert_eq!(today.0, epoch.0 + 1, "{asset} skips an epoch");
                let changed = epoch_ends(asset, epoch, 0);
                assert!(changed <= now && now.since(changed) < DAY, "{asset} changes when it says it does");
                (*epoch, flips, *flips_of) = (today, flips + 1, *flips_of + 1);
            }
            // What origins serve: the last epoch, this one, and the next a day before it begins.
            for served in [today.0 - 1, today.0, epoch_at(asset, now.plus(DAY), 0).0] {
                assert!(keyring.content_key(asset, Scheme::Cenc, Rendition::Aac128, Epoch(served)).is_ok());
            }
        }
        assert!((140..=260).contains(&flips), "day {day}: {flips} of 6000 change, a thirtieth is 200");
    }
    assert!(flips_of.iter().all(|flips| *flips == 1), "every asset changes exactly once in 30 days");
    let sealed = keyring.seal(&kek(), &mut fill).unwrap();
    let reopened = Keyring::open(&sealed, &kek()).unwrap();
    assert!(reopened.epochs().eq(keyring.epochs()));
}

#[test]
fn masters_are_made_a_week_before_the_first_asset_needs_them() {
    for hour in 0..24 * 70 {
        let now = START.plus(hour * 3600);
        let needed = epochs_needed(now);
        let week = now.plus(7 * DAY);
        let (slowest, fastest) = (now.0 / EPOCH_SECS, week.0.div_ceil(EPOCH_SECS));
        assert!(u64::from(needed.start().0) == slowest - 1 && u64::from(needed.end().0) > fastest);
        assert!(needed.end().0 - needed.start().0 <= 4, "a few epochs, not a year of them");
    }
    assert_eq!(epochs_needed(UnixTime(0)).start(), &Epoch(0));
    assert!(epochs_needed(UnixTime(u64::MAX)).end() >= &Epoch(u32::MAX));
}

#[test]
fn a_ring_extended_once_in_thirty_days_always_has_what_is_served() {
    for first_hour in 0..24 * 30 {
        let mut made = epochs_needed(START.plus(first_hour * 3600));
        for hour in (0..24 * 90).step_by(7) {
            let now = START.plus((first_hour + hour) * 3600);
            if hour > 0 && (hour / (24 * 30)) > ((hour - 7) / (24 * 30)) {
                made = *made.start()..=*epochs_needed(now).end();
            }
            let served = epochs_served(now);
            assert!(made.contains(served.start()) && made.contains(served.end()), "{served:?} of {made:?}");
        }
    }
}

#[test]
fn what_is_served_is_what_some_asset_is_in_was_in_or_is_in_tomorrow() {
    let tracks = catalogue(800);
    for hour in (0..24 * 32).step_by(9) {
        let now = START.plus(hour * 3600);
        let served = epochs_served(now);
        let of = |at: UnixTime| tracks.iter().map(move |asset| epoch_at(asset, at, 0));
        assert!(of(now).chain(of(now.plus(DAY))).all(|epoch| served.contains(&epoch)));
        assert!(of(now).all(|epoch| served.contains(&Epoch(epoch.0 - 1))));
        assert!(served.end().0 - served.start().0 <= 3);
    }
}

#[test]
fn extending_a_ring_changes_no_key_that_exists() {
    let mut ring = ring(692, 693);
    let key =
        |ring: &Keyring| ring.content_key(&asset(), Scheme::Cenc, Rendition::Aac64, Epoch(693)).unwrap();
    let before = key(&ring);
    ring.extend(Epoch(690)..=Epoch(695), &mut chance(99)).unwrap();
    assert_eq!(key(&ring), before);
    assert!(ring.epochs().eq((690..=695).map(Epoch)));
    ring.extend(Epoch(5)..=Epoch(4), &mut |_| unreachable!("an empty range asks for nothing")).unwrap();
}

#[test]
fn a_ring_is_bounded() {
    let mut ring = Keyring::new();
    let last = u32::try_from(EPOCHS_MAX).unwrap() - 1;
    assert_eq!(
        ring.extend(Epoch(0)..=Epoch(last + 1), &mut |_| unreachable!("nothing is made past the limit")),
        Err(KeyringError::TooManyEpochs(EPOCHS_MAX as u64 + 1))
    );
    assert!(matches!(
        ring.extend(Epoch(0)..=Epoch(u32::MAX), &mut |_| unreachable!()),
        Err(KeyringError::TooManyEpochs(_))
    ));
    ring.extend(Epoch(0)..=Epoch(last), &mut |_| ()).unwrap();
    assert_eq!(ring.extend(Epoch(1)..=Epoch(last), &mut |_| unreachable!()), Ok(()));
    assert_eq!(
        ring.extend(Epoch(1)..=Epoch(last + 1), &mut |_| unreachable!()),
        Err(KeyringError::TooManyEpochs(EPOCHS_MAX as u64 + 1))
    );
}

#[test]
fn a_retired_epoch_has_no_keys_for_anybody() {
    let mut ring = ring(692, 695);
    assert_eq!(ring.retire(Epoch(694)), 2);
    let key = |epoch| ring.content_key(&asset(), Scheme::Cenc, Rendition::Aac64, Epoch(epoch)).map(|_| ());
    assert_eq!(key(693), Err(KeyError::NoEpoch { epoch: Epoch(693) }));
    assert_eq!(key(694), Ok(()));
}

#[test]
fn a_sealed_ring_opens_to_the_same_keys() {
    let opened = Keyring::open(sealed(), &kek()).unwrap();
    let plain = ring(692, 693);
    for asset in catalogue(300) {
        let key =
            |ring: &Keyring| ring.content_key(&asset, Scheme::Cenc, Rendition::Aac64, Epoch(692)).unwrap();
        assert_eq!(key(&opened), key(&plain));
    }
    assert!(sealed().len() < 50_000, "two epochs are {} bytes", sealed().len());
}

/// A ring at rest with one thing changed.
fn tampered(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut json = serde_json::from_str(sealed()).unwrap();
    change(&mut json);
    json.to_string()
}

fn opening(text: &str) -> KeyringError {
    Keyring::open(text, &kek()).map(|_| ()).unwrap_err()
}

#[test]
fn another_kek_is_named_and_a_forged_name_does_not_help() {
    let other = FileKek::from_bytes(&[6; 32]);
    let error = Keyring::open(sealed(), &other).unwrap_err();
    assert_eq!(error, KeyringError::WrongKek { sealed_by: kek().id().into(), given: other.id().into() });
    let renamed = tampered(|json| json["kek"] = other.id().into());
    let error = Keyring::open(&renamed, &other).unwrap_err();
    assert_eq!(error, KeyringError::Unwrap { epoch: Epoch(692), shard: 0, cause: WrapError::Refused });
}

#[test]
fn a_master_cannot_be_passed_off_as_another() {
    let refused =
        |epoch, shard| KeyringError::Unwrap { epoch: Epoch(epoch), shard, cause: WrapError::Refused };
    let swapped = tampered(|json| json["epochs"][0]["masters"].as_array_mut().unwrap().swap(3, 200));
    assert_eq!(opening(&swapped), refused(692, 3));
    let renumbered = tampered(|json| {
        json["epochs"][0]["epoch"] = 700.into();
    });
    assert_eq!(opening(&renumbered), refused(700, 0));
    let copied = tampered(|json| json["epochs"][1]["masters"][7] = json["epochs"][0]["masters"][7].clone());
    assert_eq!(opening(&copied), refused(693, 7));
}

#[test]
fn a_damaged_ring_is_refused_by_name_of_the_damage() {
    let shards = |found| KeyringError::Shards { epoch: Epoch(692), found };
    let short = |json: &mut serde_json::Value| {
        json["epochs"][0]["masters"].as_array_mut().unwrap().truncate(SHARDS - 1)
    };
    assert_eq!(opening(&tampered(short)), shards(SHARDS - 1));
    let twice = tampered(|json| json["epochs"][1] = json["epochs"][0].clone());
    assert_eq!(opening(&twice), shards(SHARDS));
    assert_eq!(opening(&tampered(|json| json["version"] = 2.into())), KeyringError::Version { found: 2 });
    let cut = tampered(|json| json["epochs"][0]["masters"][9] = "AAAA".into());
    let cause = WrapError::Short { len: 3 };
    assert_eq!(opening(&cut), KeyringError::Unwrap { epoch: Epoch(692), shard: 9, cause });
    let no_base64 = tampered(|json| json["epochs"][0]["masters"][9] = "=".into());
    assert!(matches!(opening(&no_base64), KeyringError::Unwrap { shard: 9, .. }));
    let many = tampered(|json| json["epochs"] = vec![json["epochs"][0].clone(); EPOCHS_MAX + 1].into());
    assert_eq!(opening(&many), KeyringError::TooManyEpochs(EPOCHS_MAX as u64 + 1));
    for text in
        ["", "{}", "[]", "null", &sealed()[..sealed().len() - 1], &tampered(|json| json["note"] = 1.into())]
    {
        assert!(matches!(opening(text), KeyringError::Json(_)), "{text:.40}");
    }
}

#[test]
fn a_kek_is_64_digits_on_one_line() {
    let text = FileKek::file_text(&[0xab; 32]);
    assert_eq!(*text, "ab".repeat(32) + "\n");
    let kek = FileKek::from_text(&text).unwrap();
    assert_eq!(kek.id(), FileKek::from_bytes(&[0xab; 32]).id());
    assert_eq!(FileKek::from_text(&"AB".repeat(32)).unwrap().id(), kek.id());
    let digits = "ab".repeat(32);
    for text in [
        "",
        "\n",
        &digits[1..],
        &format!("{digits}a"),
        &format!("{digits} "),
        &format!(" {digits}"),
        &digits.replacen('a', "g", 1),
    ] {
        assert_eq!(FileKek::from_text(text).map(|_| ()), Err(KekError), "{text:?}");
    }
    assert!(!format!("{kek:?}").contains("abab"), "{kek:?}");
}

#[test]
fn secrets_do_not_print() {
    assert_eq!(format!("{:?}", ContentKey::from_bytes([7; 16])), "ContentKey(hidden)");
    assert_eq!(format!("{:?}", ring(1, 2)), "Keyring(2 epochs, hidden)");
    assert!(ContentKey::from_bytes([7; 16]) == ContentKey::from_bytes([7; 16]));
    assert!(ContentKey::from_bytes([7; 16]) != ContentKey::from_bytes([8; 16]));
}

proptest! {
    #[test]
    fn an_epoch_ends_where_the_next_begins(bytes in any::<[u8; 16]>(), at in 0_u64..1 << 40, bump in 0_u32..1000) {
        let asset = AssetId::from_bytes(bytes);
        let epoch = epoch_at(&asset, UnixTime(at), bump);
        let ends = epoch_ends(&asset, &epoch, bump);
        prop_assert!(at < ends.0 && ends.0 - at <= EPOCH_SECS);
        prop_assert_eq!(epoch_at(&asset, ends, bump), Epoch(epoch.0 + 1));
        prop_assert_eq!(epoch_at(&asset, UnixTime(ends.0 - 1), bump), epoch);
    }

    #[test]
    fn what_is_wrapped_opens_in_its_context_only(
        plain in proptest::collection::vec(any::<u8>(), 0..64), context in "[a-z]{0,20}", other in "[a-z]{0,20}",
        nonce in any::<[u8; 12]>(), flip in any::<proptest::sample::Index>(), bit in 0_u8..8,
    ) {
        let kek = kek();
        let mut blob = kek.wrap(&plain, context.as_bytes(), nonce).unwrap();
        prop_assert_eq!(&*kek.unwrap(&blob, context.as_bytes()).unwrap(), &plain);
        if other != context {
            prop_assert_eq!(kek.unwrap(&blob, other.as_bytes()).unwrap_err(), WrapError::Refused);
        }
        let at = flip.index(blob.len());
        blob[at] ^= 1 << bit;
        prop_assert_eq!(kek.unwrap(&blob, context.as_bytes()).unwrap_err(), WrapError::Refused);
    }

    #[test]
    fn no_text_opens_a_ring_by_accident(text in "\\PC{0,200}") {
        prop_assert!(Keyring::open(&text, &kek()).is_err());
    }

    #[test]
    fn a_ring_with_a_changed_byte_does_not_open_to_other_keys(at in any::<proptest::sample::Index>(), byte in 0x20_u8..0x7f) {
        let mut bytes = sealed().as_bytes().to_vec();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert!(Keyring::open(std::str::from_utf8(&bytes).unwrap(), &kek()).is_err(), "byte {at}");
    }

    #[test]
    fn no_bytes_open_as_a_wrapped_key(blob in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(kek().unwrap(&blob, b"").is_err());
    }
}
