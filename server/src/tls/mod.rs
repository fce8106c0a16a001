//! TLS, by rustls: what clients meet on `tls-port`, and what this node shows where it is the client.
//!
//! | file       | holds                                                             |
//! |------------|-------------------------------------------------------------------|
//! | `files`    | certificates and keys from their files                            |
//! | `names`    | as whom a client comes that has shown a certificate               |
//! | `ciphers`  | protocols and ciphers, in the words of OpenSSL                    |
//! | `sessions` | sessions that clients may resume                                  |
//! | `dial`     | connections to other servers, plain or by TLS                     |
//!
//! A configuration is made as a whole and takes the place of the one before, or is refused as a whole; connections that
//! are open go on with theirs.
//!
//! Absent on purpose: the names of hosts. As in Redis, who shows a certificate of a trusted authority is trusted, whatever host
//! it is for.

mod ciphers;
pub mod dial;
mod files;
pub mod names;
mod sessions;

use crate::config::{Settings, TlsAuthClients};
use crate::log;
use crate::logging::Level;
use arc_swap::ArcSwapOption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Why TLS cannot be set up like this.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("no tls-cert-file is configured")]
    CertNotSet,
    #[error("no tls-key-file is configured")]
    KeyNotSet,
    #[error(
        "either tls-ca-cert-file or tls-ca-cert-dir must be set for tls-cluster, tls-replication and tls-auth-clients"
    )]
    AuthorityNotSet,
    #[error("{}: {}", .0.display(), .1)]
    Unreadable(PathBuf, std::io::Error),
    #[error("{} is no PEM file: {}", .0.display(), .1)]
    NotPem(PathBuf, rustls::pki_types::pem::Error),
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds no private key", .0.display())]
    NoKey(PathBuf),
    #[error("the key in {} is encrypted, and no passphrase is configured", .0.display())]
    NoPassphrase(PathBuf),
    #[error("the key in {} cannot be decrypted with the passphrase that is configured", .0.display())]
    WrongPassphrase(PathBuf),
    #[error(
        "the key in {} is encrypted in the old way of OpenSSL, which is weak: convert it with 'openssl pkcs8 -topk8 -v2 aes256'",
        .0.display()
    )]
    OldEncryption(PathBuf),
    #[error("{}: a certificate cannot be used: {}", .0.display(), .1)]
    Unusable(PathBuf, Error),
    #[error("no certificate of an authority was found")]
    NoAuthority,
    #[error("'{0}' of tls-protocols is no version of TLS")]
    UnknownProtocol(String),
    #[error("tls-protocols '{0}' leaves no version that is spoken here")]
    NoProtocol(String),
    #[error("{setting} '{list}' leaves no cipher that is offered here")]
    NoCipher { setting: &'static str, list: String },
    #[error(transparent)]
    Rustls(#[from] Error),
    #[error("{0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// A configuration that is ready for use.
#[derive(Clone)]
pub struct Prepared {
    server: Arc<ServerConfig>,
    /// None without an authority: then no other server can be trusted.
    client: Option<Arc<ClientConfig>>,
}

/// The configuration that is in force, if there is one.
#[derive(Default)]
pub struct Tls {
    server: ArcSwapOption<ServerConfig>,
    client: ArcSwapOption<ClientConfig>,
}

impl Tls {
    /// Connections that begin from here on are made with this.
    pub fn adopt(&self, prepared: Prepared) {
        self.client.store(prepared.client);
        self.server.store(Some(prepared.server));
    }

    /// For a connection that has just been accepted.
    pub fn acceptor(&self) -> Option<tokio_rustls::TlsAcceptor> {
        self.server.load_full().map(tokio_rustls::TlsAcceptor::from)
    }

    /// For a connection to another server.
    fn connector(&self) -> Option<Arc<ClientConfig>> {
        self.client.load_full()
    }
}

/// Whether the settings want TLS anywhere.
pub fn is_wanted(settings: &Settings) -> bool {
    settings.tls_port != 0 || settings.tls_replication || settings.tls_cluster
}

/// Makes a configuration of the settings. Reads files.
///
/// # Errors
/// [`TlsError`]: nothing has changed.
pub fn prepare(settings: &Settings) -> Result<Prepared, TlsError> {
    let text = |bytes: &crate::config::Text| bytes.lossy().to_string();
    let (versions, too_old) = ciphers::versions(&text(&settings.tls_protocols))?;
    for version in too_old {
        log!(Level::Warning, "tls-protocols: {version} is not spoken any more, only TLSv1.2 and TLSv1.3");
    }
    let suites = ciphers::suites(&versions, &text(&settings.tls_ciphers), &text(&settings.tls_ciphersuites))?;
    let provider =
        Arc::new(CryptoProvider { cipher_suites: suites, ..rustls::crypto::ring::default_provider() });
    let roots = authorities(settings)?;
    let server = server_config(settings, &provider, &versions, roots.as_ref())?;
    let client = roots.map(|roots| client_config(settings, &provider, &versions, &roots)).transpose()?;
    Ok(Prepared { server: Arc::new(server), client: client.map(Arc::new) })
}

/// What the settings ask for and will not get.
pub fn warn(settings: &Settings) {
    if settings.tls_dh_params_file.set().is_some() {
        log!(
            Level::Warning,
            "tls-dh-params-file is not used: keys are exchanged over elliptic curves, which need no parameters"
        );
    }
}

fn authorities(settings: &Settings) -> Result<Option<Arc<RootCertStore>>, TlsError> {
    let (file, dir) = (settings.tls_ca_cert_file.set(), settings.tls_ca_cert_dir.set());
    if file.is_none() && dir.is_none() {
        let needed = settings.tls_auth_clients != TlsAuthClients::No
            || settings.tls_cluster
            || settings.tls_replication;
        return if needed { Err(TlsError::AuthorityNotSet) } else { Ok(None) };
    }
    files::authorities(file.map(|file| file.path()), dir.map(|dir| dir.path()))
        .map(|roots| Some(Arc::new(roots)))
}

fn server_config(
    settings: &Settings,
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    roots: Option<&Arc<RootCertStore>>,
) -> Result<ServerConfig, TlsError> {
    let cert = settings.tls_cert_file.set().ok_or(TlsError::CertNotSet)?.path();
    let key = settings.tls_key_file.set().ok_or(TlsError::KeyNotSet)?.path();
    let (chain, key) = files::identity(cert, key, &settings.tls_key_file_pass)?;
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let verifier = match (settings.tls_auth_clients, roots) {
        (TlsAuthClients::No, _) | (_, None) => WebPkiClientVerifier::no_client_auth(),
        (wanted, Some(roots)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
            let optional = wanted == TlsAuthClients::Optional;
            if optional { verifier.allow_unauthenticated() } else { verifier }.build()?
        }
    };
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Unusable(cert.into(), error))?;
    config.ignore_client_order = settings.tls_prefer_server_ciphers;
    if settings.tls_session_caching {
        let lifetime = Duration::from_secs(u64::from(settings.tls_session_cache_timeout));
        config.session_storage =
            Arc::new(sessions::Sessions::new(settings.tls_session_cache_size as usize, lifetime));
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn client_config(
    settings: &Settings,
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    roots: &Arc<RootCertStore>,
) -> Result<ClientConfig, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyName(verifier)));
    // Our certificate as a server serves for both, unless there is one for this.
    let (cert, key, pass) = match settings.tls_client_cert_file.set() {
        Some(cert) => (cert, settings.tls_client_key_file.set(), &settings.tls_client_key_file_pass),
        None => (&settings.tls_cert_file, settings.tls_key_file.set(), &settings.tls_key_file_pass),
    };
    let key = key.ok_or(TlsError::KeyNotSet)?;
    let (chain, key) = files::identity(cert.path(), key.path(), pass)?;
    let unusable = |error| TlsError::Unusable(Path::new(cert.path()).into(), error);
    builder.with_client_auth_cert(chain, key).map_err(unusable)
}

/// Trusts whoever shows a certificate of a trusted authority, whatever name it is for: servers of a cluster are found by
/// address. All else is verified as ever.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is looked at last, once everything else is found to be good.
        match self.0.verify_server_cert(certificate, chain, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
