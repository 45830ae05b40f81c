//! Cipher suites of TLS 1.3 whose keys rest as the handshake left them.
//!
//! A key that is ready for use takes 584 bytes in aws-lc, and a connection has two:
//! more than a sixth of all that an idle subscription costs. These suites keep the 16 or
//! 32 bytes of which it is made, and make it ready for each record, in about 150 ns.
//! What a record looks like is RFC 8446 section 5.2; its sequence number, and when keys
//! have served long enough, remain rustls' affair.

use std::sync::LazyLock;

use ::aws_lc_rs::aead::{self, AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey};
use ::aws_lc_rs::error::Unspecified;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    Nonce, OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};

/// The cryptography of connections that phones keep open.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: SUITES.clone(),
        ..aws_lc_rs::default_provider()
    }
}

/// The suites of aws-lc in their order, those of TLS 1.3 with keys at rest.
static SUITES: LazyLock<Vec<SupportedCipherSuite>> = LazyLock::new(|| {
    let suites = aws_lc_rs::default_provider().cipher_suites;
    suites.into_iter().map(at_rest).collect()
});

fn at_rest(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls13(theirs) = suite else {
        return suite;
    };
    let Some(algorithm) = algorithm_of(theirs.common.suite) else {
        return suite;
    };
    // Once for each of three suites, to live as long as the process: rustls asks for that.
    let ours = Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: theirs.common.suite,
            hash_provider: theirs.common.hash_provider,
            confidentiality_limit: theirs.common.confidentiality_limit,
        },
        hkdf_provider: theirs.hkdf_provider,
        aead_alg: Box::leak(Box::new(algorithm)),
        quic: None,
    };
    SupportedCipherSuite::Tls13(Box::leak(Box::new(ours)))
}

fn algorithm_of(suite: CipherSuite) -> Option<AtRest> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some(AtRest(&AES_128_GCM)),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some(AtRest(&AES_256_GCM)),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some(AtRest(&CHACHA20_POLY1305)),
        _ => None,
    }
}

/// An algorithm whose keys rest.
struct AtRest(&'static aead::Algorithm);

impl AtRest {
    fn key(&self, key: AeadKey, iv: Iv) -> Box<RestingKey> {
        let algorithm = self.0;
        Box::new(RestingKey { algorithm, key, iv })
    }
}

impl Tls13AeadAlgorithm for AtRest {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.key(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.key(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    /// Nobody else is to continue a connection.
    fn extract_keys(
        &self,
        _: AeadKey,
        _: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

/// One direction's key; wiped when it goes.
struct RestingKey {
    algorithm: &'static aead::Algorithm,
    key: AeadKey,
    iv: Iv,
}

impl RestingKey {
    fn ready(&self) -> Result<LessSafeKey, Unspecified> {
        aead::UnboundKey::new(self.algorithm, self.key.as_ref()).map(LessSafeKey::new)
    }

    /// Rustls gives each record of a key another number.
    fn nonce(&self, number: u64) -> aead::Nonce {
        aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, number).0)
    }
}

impl MessageEncrypter for RestingKey {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let len = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(len);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let associated = Aad::from(make_tls13_aad(len));
        self.ready()
            .and_then(|key| {
                key.seal_in_place_append_tag(self.nonce(number), associated, &mut payload)
            })
            .map_err(|_| Error::EncryptError)?;
        Ok(OutboundOpaqueMessage::new(
            ContentType::ApplicationData,
            // What every record of TLS 1.3 says (RFC 8446 section 5.1).
            ProtocolVersion::TLSv1_2,
            payload,
        ))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + CONTENT_TYPE_LEN + self.algorithm.tag_len()
    }
}

impl MessageDecrypter for RestingKey {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let associated = Aad::from(make_tls13_aad(message.payload.len()));
        let plain_len = self
            .ready()
            .and_then(|key| {
                let plain = key.open_in_place(self.nonce(number), associated, &mut message.payload);
                plain.map(|plain| plain.len())
            })
            .map_err(|_| Error::DecryptError)?;
        message.payload.truncate(plain_len);
        message.into_tls13_unpadded_message()
    }
}

/// The true type of a record's content, which is encrypted with it.
const CONTENT_TYPE_LEN: usize = 1;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Arc;

    use rustls::{ClientConnection, ServerConnection};

    use super::super::test_configs::{configs, localhost};
    use super::*;

    /// A client of rustls' own, which offers one suite, and our server, after their handshake.
    fn connected(suite: CipherSuite) -> (ClientConnection, ServerConnection) {
        let mut theirs = aws_lc_rs::default_provider();
        theirs
            .cipher_suites
            .retain(|offered| offered.suite() == suite);
        let (server, client) = configs(provider(), theirs);
        let mut client = ClientConnection::new(Arc::new(client), localhost()).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            server.read_tls(&mut sent(&mut client).as_slice()).unwrap();
            server.process_new_packets().unwrap();
            client.read_tls(&mut sent(&mut server).as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
        (client, server)
    }

    fn sent<D>(end: &mut rustls::ConnectionCommon<D>) -> Vec<u8> {
        let mut bytes = Vec::new();
        while end.wants_write() {
            end.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// What `to` hears when `from` says this.
    fn said<F, T>(
        from: &mut rustls::ConnectionCommon<F>,
        to: &mut rustls::ConnectionCommon<T>,
        text: &[u8],
    ) -> Vec<u8>
    where
        T: rustls::SideData,
    {
        from.writer().write_all(text).unwrap();
        let bytes = sent(from);
        let mut bytes = bytes.as_slice();
        let mut heard = Vec::new();
        while !bytes.is_empty() {
            to.read_tls(&mut bytes).unwrap();
            to.process_new_packets().unwrap();
            // All there is; that more may come is no failure.
            let _ = to.reader().read_to_end(&mut heard);
        }
        heard
    }

    const SUITES_OF_TLS13: [CipherSuite; 3] = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ];

    #[test]
    fn a_client_of_each_suite_understands_and_is_understood_also_after_its_keys_changed() {
        for suite in SUITES_OF_TLS13 {
            let (mut client, mut server) = connected(suite);
            for (number, len) in [1, 300, 16_384, 40_000].into_iter().enumerate() {
                let text = vec![number as u8; len];
                assert_eq!(
                    said(&mut server, &mut client, &text),
                    text,
                    "{suite:?}, {len}"
                );
                assert_eq!(
                    said(&mut client, &mut server, &text),
                    text,
                    "{suite:?}, {len}"
                );
                server.refresh_traffic_keys().unwrap();
                client.refresh_traffic_keys().unwrap();
            }
        }
    }

    #[test]
    fn a_record_that_was_changed_on_its_way_is_refused() {
        for suite in SUITES_OF_TLS13 {
            let (mut client, mut server) = connected(suite);
            client.writer().write_all(b"hello").unwrap();
            let mut bytes = sent(&mut client);
            *bytes.last_mut().unwrap() ^= 1;
            server.read_tls(&mut bytes.as_slice()).unwrap();
            let refused = server.process_new_packets();
            assert_eq!(refused.unwrap_err(), Error::DecryptError, "{suite:?}");
        }
    }
}
