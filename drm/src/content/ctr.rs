//! The only door to the AES crates: one sample in counter mode, from any byte on.

use aes::Aes128;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper, StreamCipherSeek};
use ctr::{CtrCore, flavors};
use std::fmt;
use zeroize::ZeroizeOnDrop;

/// The expanded key of one object; made once, used for every sample. Zeroed on drop (crate feature).
pub(super) struct SampleCipher {
    aes: Aes128,
}

/// Holds the crate feature to its word: without it this does not compile.
const _: fn() = || {
    fn zeroed_on_drop<T: ZeroizeOnDrop>() {}
    zeroed_on_drop::<Aes128>();
};

/// What one sample's key stream begins with: variant and number of the sample (MEDIA.md §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SampleIv(pub [u8; 8]);

impl SampleIv {
    /// The IV of sample `number` of the track, in `variant` 0 (A) or 1 (B).
    pub(super) fn new(variant: u8, number: u32) -> Self {
        let mut iv = u64::from(number).to_be_bytes();
        iv[0] = variant;
        Self(iv)
    }
}

impl SampleCipher {
    pub(super) fn new(key: &[u8; 16]) -> Self {
        Self { aes: Aes128::new(key.into()) }
    }

    /// Encrypts (or decrypts) `bytes`, which stand `from` bytes into their sample. The counter block is the
    /// IV and a 64-bit block count from 0 (ISO/IEC 23001-7 §9.3).
    pub(super) fn apply(&self, iv: SampleIv, from: u32, bytes: &mut [u8]) {
        let mut block = [0; 16];
        block[..8].copy_from_slice(&iv.0);
        let core = CtrCore::<&Aes128, flavors::Ctr64BE>::inner_iv_init(&self.aes, &block.into());
        let mut stream = StreamCipherCoreWrapper::from_core(core);
        if from > 0 {
            stream.seek(from);
        }
        stream.apply_keystream(bytes);
    }
}

impl fmt::Debug for SampleCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SampleCipher(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_begins_with_the_encrypted_counter_block() {
        // FIPS 197 appendix C.1: this key and this block; the block read as IV and block count.
        let key = std::array::from_fn(|i| i as u8);
        let mut bytes = [0; 16];
        SampleCipher::new(&key).apply(SampleIv([0; 8]), 0, &mut bytes);
        // AES-128 of the zero block under that key.
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), "c6a13b37878f5b826f4f8162a1c8d879");
    }

    #[test]
    fn a_sample_may_be_encrypted_from_any_byte_on() {
        let cipher = SampleCipher::new(&[7; 16]);
        let iv = SampleIv::new(0, 0x0102_0304);
        assert_eq!(iv, SampleIv([0, 0, 0, 0, 1, 2, 3, 4]));
        let mut whole = [0; 100];
        cipher.apply(iv, 0, &mut whole);
        for from in 0..100 {
            let mut tail = vec![0; 100 - from];
            cipher.apply(iv, from as u32, &mut tail);
            assert_eq!(tail, whole[from..], "from {from}");
        }
    }

    #[test]
    fn variants_of_a_sample_never_share_an_iv() {
        assert_ne!(SampleIv::new(0, 5), SampleIv::new(1, 5));
        let (mut a, mut b) = ([0; 16], [0; 16]);
        SampleCipher::new(&[7; 16]).apply(SampleIv::new(0, 5), 0, &mut a);
        SampleCipher::new(&[7; 16]).apply(SampleIv::new(1, 5), 0, &mut b);
        assert_ne!(a, b);
    }
}
