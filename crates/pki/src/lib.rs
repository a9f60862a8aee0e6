//! The lab's certificate authority and the certificates of its nodes. The clock is passed in; keys
//! come from the system's source of randomness.
//!
//! RSA, because that is what network systems take; PEM, because that is what they read.
//!
//! Knows: certificates. Must never know: labs, nodes, files.

mod key;

use key::Key;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rsa::rand_core::{OsRng, RngCore};
use std::net::IpAddr;
use std::time::Duration;
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

/// Bits of a key when nobody says otherwise.
pub const KEY_SIZE: usize = 2048;
/// A certificate's life when nobody says otherwise.
pub const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A certificate that cannot be made or read.
#[derive(Debug, Error)]
pub enum PkiError {
    /// A key of this size.
    #[error("a key of {0} bits: it should have 1024 to 8192")]
    KeySize(usize),
    /// No key came out.
    #[error("no key could be made: {0}")]
    Key(String),
    /// A certificate or key that is no such thing, or does not fit.
    #[error("{what}: {why}")]
    Bad {
        /// Which.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

fn bad(what: &'static str) -> impl Fn(rcgen::Error) -> PkiError {
    move |e| PkiError::Bad { what, why: e.to_string() }
}

/// A certificate and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Whom a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Common name.
    pub name: String,
    /// Names it is good for.
    pub names: Vec<String>,
    /// Addresses it is good for.
    pub addresses: Vec<IpAddr>,
    /// Country, locality, organisation, organisational unit.
    pub place: [String; 4],
}

impl Subject {
    /// Somebody of a lab.
    pub fn of_lab(name: impl Into<String>) -> Self {
        let place = ["US", "", "containerlab", ""].map(str::to_owned);
        Subject { name: name.into(), names: Vec::new(), addresses: Vec::new(), place }
    }
}

/// How a certificate is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Bits of the key.
    pub key_size: usize,
    /// How long it is valid.
    pub valid: Duration,
    /// Now, in seconds since 1970.
    pub now: u64,
}

/// Makes an authority.
pub fn authority(subject: &Subject, terms: Terms) -> Result<Pair, PkiError> {
    let key = Key::new(terms.key_size)?;
    let mut params = params(subject, terms)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key).map_err(bad("the authority's certificate"))?;
    Ok(Pair { certificate: certificate.pem(), key: key.pem() })
}

/// Makes a certificate that an authority signs.
pub fn issue(authority: &Pair, subject: &Subject, terms: Terms) -> Result<Pair, PkiError> {
    let signer = Key::read(&authority.key, "the authority's key")?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signer)
        .map_err(bad("the authority's certificate"))?;
    let key = Key::new(terms.key_size)?;
    let mut params = params(subject, terms)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::NoCa;
    let certificate = params.signed_by(&key, &issuer).map_err(bad("the certificate"))?;
    Ok(Pair { certificate: certificate.pem(), key: key.pem() })
}

/// Whether an authority can sign: its certificate and key are such, and belong together.
pub fn check_authority(authority: &Pair) -> Result<(), PkiError> {
    let key = Key::read(&authority.key, "the authority's key")?;
    let der = der(&authority.certificate)?;
    let (_, certificate) = X509Certificate::from_der(&der)
        .map_err(|e| PkiError::Bad { what: "the authority's certificate", why: e.to_string() })?;
    let of_certificate = &certificate.public_key().subject_public_key.data;
    if of_certificate.as_ref() != key.der_bytes() {
        let why = "it is not that of the certificate".to_owned();
        return Err(PkiError::Bad { what: "the authority's key", why });
    }
    if !certificate.is_ca() {
        let why = "it may not sign others (CA:TRUE is missing)".to_owned();
        return Err(PkiError::Bad { what: "the authority's certificate", why });
    }
    Ok(())
}

/// Whether a certificate is still good: signed by the authority, valid for a day more, and for all
/// names and addresses of the subject.
pub fn serves(pair: &Pair, authority: &Pair, subject: &Subject, now: u64) -> bool {
    let check = || -> Option<bool> {
        let (own, above) = (der(&pair.certificate).ok()?, der(&authority.certificate).ok()?);
        let (_, certificate) = X509Certificate::from_der(&own).ok()?;
        let (_, issuer) = X509Certificate::from_der(&above).ok()?;
        let until = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        let signed = certificate.issuer() == issuer.subject() && signed_by(&certificate, &issuer);
        let key = Key::read(&pair.key, "its key").ok()?;
        let public = &certificate.public_key().subject_public_key.data;
        let ours = public.as_ref() == key.der_bytes();
        let (names, addresses) = names(&certificate);
        Some(
            signed
                && ours
                && until > now + 24 * 3600
                && subject.names.iter().all(|n| names.contains(n))
                && subject.addresses.iter().all(|a| addresses.contains(a)),
        )
    };
    check().unwrap_or(false)
}

/// Whether the key identifier a certificate names is its issuer's.
fn signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let named = certificate.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|k| k.0),
        _ => None,
    });
    let own = issuer.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    named.is_none() || own.is_none() || named == own
}

fn names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<IpAddr>) {
    use x509_parser::prelude::GeneralName;
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let Ok(Some(found)) = certificate.subject_alternative_name() else {
        return (names, addresses);
    };
    for name in &found.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let sixteen = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                addresses.extend(four.or(sixteen).ok());
            }
            _ => {}
        }
    }
    (names, addresses)
}

/// The bytes of a certificate.
fn der(pem: &str) -> Result<Vec<u8>, PkiError> {
    let why = |why: String| PkiError::Bad { what: "a certificate", why };
    let (_, block) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|e| why(e.to_string()))?;
    Ok(block.contents)
}

fn params(subject: &Subject, terms: Terms) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    let [country, locality, organisation, unit] = &subject.place;
    name.push(DnType::CountryName, country.as_str());
    name.push(DnType::LocalityName, locality.as_str());
    name.push(DnType::OrganizationName, organisation.as_str());
    name.push(DnType::OrganizationalUnitName, unit.as_str());
    name.push(DnType::CommonName, subject.name.as_str());
    params.distinguished_name = name;
    let at = |seconds: u64| {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(seconds)
            .map_err(|e| PkiError::Bad { what: "the time", why: e.to_string() })
    };
    params.not_before = at(terms.now)?;
    params.not_after = at(terms.now.saturating_add(terms.valid.as_secs()))?;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    for name in &subject.names {
        let text = name.as_str().try_into().map_err(|e: rcgen::Error| PkiError::Bad {
            what: "a name for a certificate",
            why: format!("`{name}`: {e}"),
        })?;
        params.subject_alt_names.push(SanType::DnsName(text));
    }
    params.subject_alt_names.extend(subject.addresses.iter().map(|a| SanType::IpAddress(*a)));
    // Two certificates of one issuer with one number are refused by browsers.
    let mut serial = [0u8; 16];
    OsRng.fill_bytes(&mut serial);
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { key_size: 2048, valid: YEAR, now: 1_700_000_000 };

    #[test]
    fn certificates_are_issued_and_known_again() {
        let above = authority(&Subject::of_lab("x lab CA"), TERMS).unwrap();
        check_authority(&above).unwrap();
        let mut subject = Subject::of_lab("n.x.io");
        subject.names = vec!["n".into(), "clab-x-n".into()];
        subject.addresses = vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let pair = issue(&above, &subject, TERMS).unwrap();
        assert!(serves(&pair, &above, &subject, TERMS.now));
        assert!(!serves(&pair, &above, &subject, TERMS.now + YEAR.as_secs()));
        let mut more = subject.clone();
        more.names.push("other".into());
        assert!(!serves(&pair, &above, &more, TERMS.now));
        let other = authority(&Subject::of_lab("x lab CA"), TERMS).unwrap();
        assert!(!serves(&pair, &other, &subject, TERMS.now));
        assert!(!serves(
            &Pair { key: other.key.clone(), ..pair.clone() },
            &above,
            &subject,
            TERMS.now
        ));
        assert!(check_authority(&pair).unwrap_err().to_string().contains("may not sign"));
        let mixed = Pair { key: other.key, ..above.clone() };
        assert!(check_authority(&mixed).is_err());
        assert!(!format!("{above:?}").contains("PRIVATE"));
    }

    #[test]
    fn small_keys() {
        let small = Terms { key_size: 1024, ..TERMS };
        let above = authority(&Subject::of_lab("x"), small).unwrap();
        check_authority(&above).unwrap();
        let subject = Subject { names: vec!["n.x".into()], ..Subject::of_lab("n") };
        let pair = issue(&above, &subject, small).unwrap();
        assert!(serves(&pair, &above, &subject, TERMS.now));
    }

    #[test]
    fn what_cannot_be() {
        let wrong = Terms { key_size: 17, ..TERMS };
        assert!(matches!(authority(&Subject::of_lab("x"), wrong), Err(PkiError::KeySize(17))));
        let nothing = Pair { certificate: "no".into(), key: "no".into() };
        assert!(check_authority(&nothing).is_err());
        assert!(issue(&nothing, &Subject::of_lab("x"), TERMS).is_err());
    }
}
