//! `tls-ciphers`, `tls-ciphersuites` and `tls-protocols`, in the words of OpenSSL.
//!
//! | setting            | reads                                                                                    |
//! |--------------------|------------------------------------------------------------------------------------------|
//! | `tls-protocols`    | `TLSv1.2` and `TLSv1.3`, with spaces between them; all of both when empty                 |
//! | `tls-ciphers`      | names of TLS 1.2 and `ALL`, `DEFAULT`, `HIGH`, with `:` between them; `-` or `!` takes away |
//! | `tls-ciphersuites` | names of TLS 1.3, with `:` between them                                                   |
//!
//! Names that are known to OpenSSL alone count for nothing, as there; a list that leaves nothing is refused.

use super::TlsError;
use rustls::crypto::ring::cipher_suite::*;
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// Those of TLS 1.3, the first preferred, each with its name in OpenSSL.
const TLS13_SUITES: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_AES_128_GCM_SHA256", TLS13_AES_128_GCM_SHA256),
];

/// Those of TLS 1.2. All have forward secrecy: there are no others.
const TLS12_SUITES: [(&str, SupportedCipherSuite); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES256-GCM-SHA384", TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-AES128-GCM-SHA256", TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
];

/// The versions that a list names, and those of its names that are too old for us.
pub fn versions(list: &str) -> Result<(Vec<&'static SupportedProtocolVersion>, Vec<String>), TlsError> {
    if list.trim().is_empty() {
        return Ok((vec![&TLS13, &TLS12], Vec::new()));
    }
    let (mut versions, mut too_old) = (Vec::new(), Vec::new());
    for word in list.split_ascii_whitespace() {
        match word.to_ascii_lowercase().as_str() {
            "tlsv1.3" => versions.push(&TLS13),
            "tlsv1.2" => versions.push(&TLS12),
            "tlsv1" | "tlsv1.1" => too_old.push(word.to_owned()),
            _ => return Err(TlsError::UnknownProtocol(word.to_owned())),
        }
    }
    if versions.is_empty() {
        return Err(TlsError::NoProtocol(list.to_owned()));
    }
    Ok((versions, too_old))
}

/// The suites for these versions, the first preferred.
pub fn suites(
    versions: &[&'static SupportedProtocolVersion],
    ciphers: &str,
    ciphersuites: &str,
) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    let mut suites = Vec::new();
    if versions.contains(&&TLS13) {
        suites.extend(pick(&TLS13_SUITES, "tls-ciphersuites", ciphersuites)?);
    }
    if versions.contains(&&TLS12) {
        suites.extend(pick(&TLS12_SUITES, "tls-ciphers", ciphers)?);
    }
    Ok(suites)
}

fn pick(
    all: &[(&'static str, SupportedCipherSuite)],
    setting: &'static str,
    list: &str,
) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    let is_all = |word: &str| ["ALL", "DEFAULT", "HIGH"].contains(&word);
    let (mut picked, mut banned): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let list = if list.is_empty() { "DEFAULT" } else { list };
    for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        let name = word.trim_start_matches(['-', '!', '+']);
        let named = all.iter().map(|(known, _)| *known).filter(|known| is_all(name) || *known == name);
        match word.as_bytes()[0] {
            b'-' => picked.retain(|known| !(is_all(name) || *known == name)),
            b'!' => banned.extend(named),
            // Puts what is there already last: of no interest without an order of strength.
            b'+' => {}
            _ => {
                let new: Vec<&str> = named.filter(|known| !picked.contains(known)).collect();
                picked.extend(new);
            }
        }
    }
    picked.retain(|known| !banned.contains(known));
    if picked.is_empty() {
        return Err(TlsError::NoCipher { setting, list: list.to_owned() });
    }
    Ok(picked
        .iter()
        .filter_map(|name| all.iter().find(|(known, _)| known == name))
        .map(|(_, suite)| *suite)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> String {
        match pick(&TLS12_SUITES, "tls-ciphers", list) {
            Err(error) => error.to_string(),
            Ok(suites) => {
                let name = |suite: &SupportedCipherSuite| {
                    TLS12_SUITES.iter().find(|(_, other)| other == suite).map_or("?", |(name, _)| *name)
                };
                suites.iter().map(name).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn lists_of_ciphers() {
        let all = TLS12_SUITES.map(|(name, _)| name).join(" ");
        let rest = TLS12_SUITES[1..].iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
        for (list, expected) in [
            ("", &*all),
            ("DEFAULT:!MEDIUM", &*all),
            ("HIGH:-ECDHE-ECDSA-AES256-GCM-SHA384:AES128-SHA256", &*rest),
            ("!ECDHE-ECDSA-AES256-GCM-SHA384:ALL", &*rest),
            (
                "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-AES256-GCM-SHA384",
            ),
            ("AES128-SHA256", "tls-ciphers 'AES128-SHA256' leaves no cipher that is offered here"),
        ] {
            assert_eq!(names(list), expected, "{list}");
        }
    }

    #[test]
    fn lists_of_protocols() {
        let of = |list| {
            versions(list).map(|(versions, old)| (versions.len(), old.len())).map_err(|e| e.to_string())
        };
        assert_eq!(of(""), Ok((2, 0)));
        assert_eq!(of("TLSv1.1 tlsv1.2"), Ok((1, 1)));
        assert_eq!(of("TLSv1"), Err("tls-protocols 'TLSv1' leaves no version that is spoken here".into()));
        assert_eq!(of("SSLv3"), Err("'SSLv3' of tls-protocols is no version of TLS".into()));
    }
}
