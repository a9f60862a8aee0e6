//! Keys that sign: RSA of any size that makes sense, and whatever else the library reads.

use crate::PkiError;
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use rsa::RsaPrivateKey;
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPublicKey};
use rsa::pkcs1v15;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rsa::rand_core::OsRng;
use rsa::sha2::Sha256;
use rsa::signature::{SignatureEncoding, Signer};

/// Sizes of keys that make sense.
const SIZES: std::ops::RangeInclusive<usize> = 1024..=8192;

/// A private key.
pub enum Key {
    /// RSA, signed with here: the library refuses small ones, which old network systems have.
    Rsa {
        /// Signs.
        signer: pkcs1v15::SigningKey<Sha256>,
        /// The public key, as in a certificate.
        public: Vec<u8>,
        /// As text.
        pem: String,
    },
    /// Another.
    Other(KeyPair),
}

fn wrong(e: impl std::fmt::Display) -> PkiError {
    PkiError::Key(e.to_string())
}

impl Key {
    /// Makes an RSA key of so many bits.
    pub fn new(bits: usize) -> Result<Key, PkiError> {
        if !SIZES.contains(&bits) {
            return Err(PkiError::KeySize(bits));
        }
        Self::of(RsaPrivateKey::new(&mut OsRng, bits).map_err(wrong)?)
    }

    /// Reads one (PKCS #8 or #1).
    pub fn read(pem: &str, what: &'static str) -> Result<Key, PkiError> {
        let rsa = RsaPrivateKey::from_pkcs8_pem(pem).ok();
        match rsa.or_else(|| RsaPrivateKey::from_pkcs1_pem(pem).ok()) {
            Some(key) => Self::of(key),
            None => Ok(Key::Other(
                KeyPair::from_pem(pem).map_err(|e| PkiError::Bad { what, why: e.to_string() })?,
            )),
        }
    }

    fn of(key: RsaPrivateKey) -> Result<Key, PkiError> {
        let public = key.to_public_key().to_pkcs1_der().map_err(wrong)?.into_vec();
        let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(wrong)?.to_string();
        Ok(Key::Rsa { signer: pkcs1v15::SigningKey::new(key), public, pem })
    }

    /// As text.
    pub fn pem(&self) -> String {
        match self {
            Key::Rsa { pem, .. } => pem.clone(),
            Key::Other(key) => key.serialize_pem(),
        }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Key::Rsa { public, .. } => public,
            Key::Other(key) => key.der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Key::Rsa { .. } => &PKCS_RSA_SHA256,
            Key::Other(key) => key.algorithm(),
        }
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Key::Rsa { signer, .. } => match signer.try_sign(message) {
                Ok(signature) => Ok(signature.to_vec()),
                Err(_) => Err(rcgen::Error::RemoteKeyError),
            },
            Key::Other(key) => key.sign(message),
        }
    }
}
