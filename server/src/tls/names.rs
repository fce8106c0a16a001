//! The names in a certificate that a client has shown (`tls-auth-clients-user`): as whom it comes.
//!
//! | of a certificate          | where it is                                                             |
//! |---------------------------|-------------------------------------------------------------------------|
//! | what is signed            | the first of the three parts                                             |
//! | the name of its holder    | the fifth of these, behind a version that may be missing: sets of pairs   |
//! | the common name           | the pair of 2.5.4.3                                                      |
//! | extensions                | in `[3]`: each an identifier, perhaps whether it is critical, its bytes   |
//! | other names of its holder | the extension 2.5.29.17: a list in which `[6]` is a URI                   |

use crate::config::TlsAuthClientsUser;
use der::asn1::AnyRef;
use der::{Decode, Reader, SliceReader, Tagged};

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const OTHER_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const URI: u8 = 0x86;

/// The names that may be those of its user, in order.
pub fn users(certificate: &[u8], from: TlsAuthClientsUser) -> Vec<String> {
    let names = match from {
        TlsAuthClientsUser::Off => None,
        TlsAuthClientsUser::CommonName => common_name(certificate).map(|name| vec![name]),
        TlsAuthClientsUser::Uri => uris(certificate),
    };
    let text = |name: &[u8]| std::str::from_utf8(name).ok().map(str::to_owned);
    names.unwrap_or_default().into_iter().filter_map(text).collect()
}

fn common_name(certificate: &[u8]) -> Option<&[u8]> {
    let signed = signed(certificate)?;
    let subject = *signed.iter().filter(|(tag, _)| *tag != VERSION).nth(4)?;
    for (_, set) in parts(subject.1)? {
        for (_, pair) in parts(set)? {
            if let [(_, COMMON_NAME), (_, name), ..] = parts(pair)?[..] {
                return Some(name);
            }
        }
    }
    None
}

fn uris(certificate: &[u8]) -> Option<Vec<&[u8]>> {
    let signed = signed(certificate)?;
    let (_, list) = *signed.iter().find(|(tag, _)| *tag == EXTENSIONS)?;
    for (_, extension) in parts(parts(list)?.first()?.1)? {
        let extension = parts(extension)?;
        if let [(_, OTHER_NAMES), .., (_, names)] = extension[..] {
            let names = parts(parts(names)?.first()?.1)?;
            return Some(names.into_iter().filter(|(tag, _)| *tag == URI).map(|(_, name)| name).collect());
        }
    }
    None
}

/// The parts of a certificate that are signed.
fn signed(certificate: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let (_, whole) = *parts(certificate)?.first()?;
    let (tag, signed) = *parts(whole)?.first()?;
    if tag == SEQUENCE { parts(signed) } else { None }
}

/// What these bytes are made of, each with its tag. `None`: of something else.
fn parts(bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let (mut reader, mut parts) = (SliceReader::new(bytes).ok()?, Vec::new());
    while !reader.is_finished() {
        let part = AnyRef::decode(&mut reader).ok()?;
        parts.push((u8::from(part.tag()), part.value()));
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    #[test]
    fn names_of_a_certificate() {
        let mut params = CertificateParams::new(vec!["host".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "somebody");
        params.distinguished_name.push(DnType::CommonName, "anna");
        for uri in ["urn:one", "urn:two"] {
            params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri).unwrap()));
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certificate = certificate.der();
        assert_eq!(users(certificate, TlsAuthClientsUser::CommonName), ["anna"]);
        assert_eq!(users(certificate, TlsAuthClientsUser::Uri), ["urn:one", "urn:two"]);
        assert!(users(certificate, TlsAuthClientsUser::Off).is_empty());
        // Whatever is cut off or changed, it is read without harm.
        for end in 0..certificate.len() {
            users(&certificate[..end], TlsAuthClientsUser::CommonName);
            let mut other = certificate.to_vec();
            other[end] ^= 0x81;
            users(&other, TlsAuthClientsUser::Uri);
            users(&other, TlsAuthClientsUser::CommonName);
        }
    }

    #[test]
    fn a_certificate_without_names() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        for from in [TlsAuthClientsUser::CommonName, TlsAuthClientsUser::Uri] {
            assert!(users(certificate.der(), from).is_empty());
        }
    }
}
