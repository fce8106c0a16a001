//! Certificates and keys from their PEM files.

use super::TlsError;
use pkcs8::der::pem::PemLabel;
use pkcs8::{EncryptedPrivateKeyInfo, SecretDocument};
use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::{Path, PathBuf};

/// What the settings name, ready for use.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate with its chain, and its key.
pub fn identity(cert: &Path, key: &Path, pass: &[u8]) -> Result<Identity, TlsError> {
    let chain = certificates(cert)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(cert.into()));
    }
    Ok((chain, private_key(key, pass)?))
}

/// The authorities that are trusted: those of the file and those of all files in the directory.
pub fn authorities(file: Option<&Path>, dir: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let mut trust = |path: &Path, strict: bool| -> Result<(), TlsError> {
        for certificate in certificates(path)? {
            match roots.add(certificate) {
                // A directory of the system holds whatever its tools left there.
                Err(error) if strict => return Err(TlsError::Unusable(path.into(), error)),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    };
    if let Some(file) = file {
        trust(file, true)?;
    }
    if let Some(dir) = dir {
        let unreadable = |error| TlsError::Unreadable(dir.into(), error);
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(unreadable)? {
            paths.push(entry.map_err(unreadable)?.path());
        }
        paths.sort();
        for path in paths.into_iter().filter(|path| path.is_file()) {
            trust(&path, false)?;
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoAuthority);
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let all: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&bytes).collect();
    all.map_err(|error| TlsError::NotPem(path.into(), error))
}

/// The key, decrypted if it has to be. What the passphrase was is not kept.
fn private_key(path: &Path, pass: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::OldEncryption(path.into()));
    }
    // The key need not be alone in its file.
    if let Some(encrypted) = section(text, EncryptedPrivateKeyInfo::PEM_LABEL) {
        return decrypt(path, encrypted, pass);
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::NoKey(path.into()),
        error => TlsError::NotPem(path.into(), error),
    })
}

fn decrypt(path: &Path, pem: &str, pass: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    if pass.is_empty() {
        return Err(TlsError::NoPassphrase(path.into()));
    }
    let wrong = || TlsError::WrongPassphrase(path.into());
    let (_, document) = SecretDocument::from_pem(pem).map_err(|_| wrong())?;
    let info: EncryptedPrivateKeyInfo<'_> = document.decode_msg().map_err(|_| wrong())?;
    let key = info.decrypt(pass).map_err(|_| wrong())?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

/// The part of a PEM file with this label.
fn section<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    let end = format!("-----END {label}-----");
    let from = text.find(&format!("-----BEGIN {label}-----"))?;
    let to = from + text[from..].find(&end)? + end.len();
    Some(&text[from..to])
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Unreadable(PathBuf::from(path), error))
}
