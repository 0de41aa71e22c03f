//! From a clear recording to the encrypted object that is served (MEDIA.md §3, §9, §10).
//!
//! [`source`] reads the progressive MP4 that ffmpeg makes; [`template`] lays it out once, with clear payload
//! and empty key ids, and [`index`] remembers where everything lies; [`mezzanine`] keeps both encrypted at
//! rest; [`encrypt`] turns any span of a template into the same span of the object of one epoch.
//!
//! Promises
//! - Every byte of an object is a function of its path: the layout comes from the asset, the key ids and
//!   samples from the epoch, so sizes, offsets and manifests never change with a key.
//! - A (key, IV) pair meets one plaintext: the key differs per asset, rendition, scheme and epoch, the IV per
//!   sample and variant, and [`asset_id`] covers all that a layout is made from.
//! - Bytes from outside are parsed within named limits; they end in an error, never in a panic.
//!
//! Does not know: where files are stored, which epoch is on, who asks.

mod asset;
mod boxes;
mod ctr;
pub mod encrypt;
pub mod index;
pub mod mezzanine;
pub mod source;
pub mod template;

pub use asset::asset_id;
pub use boxes::{BoxError, FourCc};

/// `numerator / denominator`, a half rounded to the even neighbour; saturates, and is 0 over 0.
///
/// Bit rates and durations are rounded this way everywhere, as the reference packager rounds them.
fn divide_half_even(numerator: u128, denominator: u128) -> u64 {
    let (Some(whole), Some(rest)) = (numerator.checked_div(denominator), numerator.checked_rem(denominator))
    else {
        return 0;
    };
    let up = match (rest * 2).cmp(&denominator) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => whole % 2 == 1,
        std::cmp::Ordering::Greater => true,
    };
    u64::try_from(whole + u128::from(up)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_goes_to_the_even_neighbour() {
        let rounded = [0, 1, 2, 3, 5, 7].map(|halves| divide_half_even(halves, 2));
        assert_eq!(rounded, [0, 0, 1, 2, 2, 4]);
        assert_eq!(divide_half_even(10, 3), 3);
        assert_eq!(divide_half_even(11, 3), 4);
        assert_eq!(divide_half_even(u128::MAX / 2, 1), u64::MAX);
        assert_eq!(divide_half_even(1, 0), 0);
    }
}
