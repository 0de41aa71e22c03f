//! AES-GCM records without a copy: what is sent is encrypted from where it lies.
//!
//! rustls copies the bytes of a record into its buffer and encrypts them there. For us that copy reads a chunk from
//! memory that no processor cache holds, and costs more than the cipher. The suites made here differ from those of
//! rustls in that one step: bytes that lie in one piece are encrypted into the buffer directly.
//!
//! Promises: the same records, to the byte, as the suites of rustls (a test compares them).
//!
//! Does not know: who is connected.

use aws_lc_rs::aead::{Aad, Algorithm, Nonce as AeadNonce, TlsProtocolId, TlsRecordSealingKey};
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, Nonce, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm, UnsupportedOperationError, make_tls13_aad,
};
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, SupportedCipherSuite,
    Tls13CipherSuite,
};

/// A cipher of rustls whose records are made out of place.
struct OutOfPlace {
    rustls: &'static dyn Tls13AeadAlgorithm,
    algorithm: &'static Algorithm,
}

/// Makes the records of one direction of one connection.
struct Sealer {
    key: TlsRecordSealingKey,
    iv: Iv,
}

/// Bytes of a record that are encrypted besides what is sent: its content type (RFC 8446 §5.2).
const TYPE_BYTES: usize = 1;
/// Room for a record, to be written over.
static ROOM: [u8; 16 * 1024 + TYPE_BYTES + 16] = [0; 16 * 1024 + TYPE_BYTES + 16];

/// `suite` with records that are made out of place; `algorithm` is its cipher. Other than TLS 1.3 suites stay as
/// they are. Call it once per suite: it lives as long as the process.
pub fn out_of_place(suite: SupportedCipherSuite, algorithm: &'static Algorithm) -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls13(theirs) = suite else { return suite };
    let aead_alg: &'static OutOfPlace =
        Box::leak(Box::new(OutOfPlace { rustls: theirs.aead_alg, algorithm }));
    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: theirs.common.suite,
            hash_provider: theirs.common.hash_provider,
            confidentiality_limit: theirs.common.confidentiality_limit,
        },
        hkdf_provider: theirs.hkdf_provider,
        aead_alg,
        quic: theirs.quic,
    })))
}

impl Tls13AeadAlgorithm for OutOfPlace {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        match TlsRecordSealingKey::new(self.algorithm, TlsProtocolId::TLS13, key.as_ref()) {
            Ok(key) => Box::new(Sealer { key, iv }),
            // Only a key of a wrong length: rustls knows what it does with its own.
            Err(_) => self.rustls.encrypter(key, iv),
        }
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.rustls.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.rustls.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.rustls.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.rustls.fips()
    }
}

impl MessageEncrypter for Sealer {
    fn encrypt(&mut self, msg: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let total_len = self.encrypted_payload_len(msg.payload.len());
        let nonce = AeadNonce::assume_unique_for_key(Nonce::new(&self.iv, seq).0);
        let aad = Aad::from(make_tls13_aad(total_len));
        let content_type = msg.typ.to_array();
        let mut payload = PrefixedPayload::with_capacity(total_len);
        match msg.payload {
            OutboundChunks::Single(plain) if total_len <= ROOM.len() => {
                payload.extend_from_slice(&ROOM[..total_len]);
                let (out, type_and_tag) = payload.as_mut().split_at_mut(plain.len());
                self.key.seal_out_of_place_scatter(nonce, aad, plain, out, &content_type, type_and_tag)
            }
            pieces => {
                payload.extend_from_chunks(&pieces);
                payload.extend_from_slice(&content_type);
                self.key.seal_in_place_append_tag(nonce, aad, &mut payload)
            }
        }
        .map_err(|_| Error::EncryptError)?;
        // RFC 8446 §5.1 and §5.2: these two are fixed.
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + TYPE_BYTES + self.key.algorithm().tag_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::aead::AES_256_GCM;
    use proptest::prelude::*;
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;

    /// With a key of 32 bytes, the only length that can be made from outside; AES-128 is heard by the client in the
    /// tests of `records`.
    fn encrypter(suite: SupportedCipherSuite) -> Box<dyn MessageEncrypter> {
        let SupportedCipherSuite::Tls13(suite) = suite else { unreachable!("a TLS 1.3 suite") };
        suite.aead_alg.encrypter(AeadKey::from([7; 32]), Iv::from([9; 12]))
    }

    fn records(suite: SupportedCipherSuite, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut encrypter = encrypter(suite);
        let whole = pieces.concat();
        let message = |payload| OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_2,
            payload,
        };
        [OutboundChunks::Single(&whole), OutboundChunks::new(pieces)]
            .into_iter()
            .enumerate()
            .map(|(seq, payload)| encrypter.encrypt(message(payload), seq as u64).unwrap().encode())
            .collect()
    }

    fn suites() -> (SupportedCipherSuite, SupportedCipherSuite) {
        (out_of_place(TLS13_AES_256_GCM_SHA384, &AES_256_GCM), TLS13_AES_256_GCM_SHA384)
    }

    proptest! {
        #[test]
        fn records_are_those_of_rustls(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5_000), 1..4),
        ) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let (ours, theirs) = suites();
            prop_assert_eq!(records(ours, &pieces), records(theirs, &pieces));
        }
    }

    #[test]
    fn a_full_record_is_that_of_rustls_too() {
        let (ours, theirs) = suites();
        let full = vec![3; 16 * 1024];
        assert_eq!(records(ours, &[&full]), records(theirs, &[&full]));
    }
}
