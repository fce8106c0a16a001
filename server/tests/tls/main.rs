//! TLS as clients meet it: redis-cli, redis-py and raw handshakes against a node, with certificates made for the test.

#[path = "../support/mod.rs"]
mod support;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::client::{Client, Reply};
use support::process::{Server, on_path};
use tempfile::TempDir;

/// An authority and what it has signed, as files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Authority of a test");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(directory.path().join("ca.crt"), certificate.pem()).expect("a file");
        Self { issuer: Issuer::new(params, key), directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.file(name).to_str().expect("a path of text").to_owned()
    }

    /// Writes `<name>.crt` and `<name>.key`.
    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(self.file(&format!("{name}.crt")), certificate.pem()).expect("a file");
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    fn settings(&self, name: &str) -> [(&'static str, String); 3] {
        [
            ("tls-cert-file", self.text(&format!("{name}.crt"))),
            ("tls-key-file", self.text(&format!("{name}.key"))),
            ("tls-ca-cert-file", self.text("ca.crt")),
        ]
    }
}

/// An authority with a certificate each for a node and a client, and a node that listens on a port of both kinds.
struct Setup {
    authority: Authority,
    server: Server,
    port: u16,
}

impl Setup {
    fn new(more: &[(&str, &str)]) -> Self {
        let authority = Authority::new();
        authority.sign("node", |_| {});
        authority.sign("client", |_| {});
        let mut server =
            Server::baton(&[("cores", "2"), ("enable-debug-command", "yes"), ("tls-auth-clients", "no")]);
        let port = free_port();
        let mut pairs: Vec<String> = vec!["tls-port".into(), port.to_string()];
        for (name, value) in authority.settings("node") {
            pairs.extend([name.to_owned(), value]);
        }
        for (name, value) in more {
            pairs.extend([(*name).to_owned(), (*value).to_owned()]);
        }
        let reply = config_set(&mut server.client(), &pairs);
        assert_eq!(reply, Reply::simple("OK"));
        Self { authority, server, port }
    }

    fn set(&mut self, pairs: &[(&str, &str)]) -> Reply {
        let pairs: Vec<String> =
            pairs.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect();
        config_set(&mut self.server.client(), &pairs)
    }

    /// What redis-cli says over TLS.
    fn cli(&self, options: &[&str], command: &[&str]) -> Result<String, String> {
        let mut cli = Command::new(on_path("redis-cli"));
        cli.args(["--tls", "-h", "127.0.0.1", "-p", &self.port.to_string()]).args(options).args(command);
        let Output { status, stdout, stderr } = cli.stdin(Stdio::null()).output().expect("redis-cli runs");
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        let failed = !status.success() || !err.is_empty() && out.is_empty();
        if failed { Err(format!("{out}{err}")) } else { Ok(out.into_owned()) }
    }

    fn trusting(&self) -> [String; 2] {
        ["--cacert".to_owned(), self.authority.text("ca.crt")]
    }

    fn as_client(&self, name: &str) -> Vec<String> {
        let mut options = self.trusting().to_vec();
        options.extend(["--cert".into(), self.authority.text(&format!("{name}.crt"))]);
        options.extend(["--key".into(), self.authority.text(&format!("{name}.key"))]);
        options
    }
}

fn config_set(client: &mut Client, pairs: &[String]) -> Reply {
    let mut words = vec!["CONFIG".to_owned(), "SET".to_owned()];
    words.extend_from_slice(pairs);
    client.call(&words)
}

fn strs(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

fn free_port() -> u16 {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    address.expect("a free port").port()
}

#[track_caller]
fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "it never came to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const REFUSED: &str = "Unable to update TLS configuration. Check server logs.";

/// What is said inside of TLS goes on where it was when a connection goes to another core.
#[test]
fn connections_move_between_cores() {
    const MOVES: i64 = 300;
    let mut setup = Setup::new(&[]);
    let mut mover = setup.server.client();
    let over = AtomicBool::new(false);
    let talk = |n: usize| {
        let mut cli = Command::new(on_path("redis-cli"));
        cli.args(["--tls", "-h", "127.0.0.1", "-p", &setup.port.to_string()]).args(setup.trusting());
        let mut cli = cli.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("redis-cli runs");
        let (mut says, mut hears) = (cli.stdin.take().expect("a pipe"), cli.stdout.take().expect("a pipe"));
        let (over, lines) = (&over, format!("INCR tls:{n}\n").repeat(50));
        let mut said = 0;
        let heard = std::thread::scope(|scope| {
            let heard = scope.spawn(move || std::io::read_to_string(&mut hears).expect("numbers"));
            while !over.load(Ordering::Relaxed) {
                says.write_all(lines.as_bytes()).expect("redis-cli listens");
                said += 50;
            }
            drop(says);
            heard.join().expect("no panic")
        });
        cli.wait().expect("redis-cli ends");
        let wanted: String = (1..=said).map(|count| format!("{count}\n")).collect();
        assert!(heard == wanted, "{} lines of {said}: {:?}", heard.lines().count(), heard.lines().last());
    };
    std::thread::scope(|scope| {
        let talks: Vec<_> = (0..3)
            .map(|n| {
                scope.spawn({
                    let talk = &talk;
                    move || talk(n)
                })
            })
            .collect();
        let (start, mut moved, mut turn) = (Instant::now(), 0, 0);
        while moved < MOVES && start.elapsed() < Duration::from_secs(60) {
            turn += 1;
            assert_eq!(mover.run(&format!("CORE GATHER {}", turn % 2 + 1)), Reply::simple("OK"));
            let info = mover.run("INFO cores").text();
            let field = info.lines().find_map(|line| line.strip_prefix("connections_moved:"));
            moved = field.expect("moves").parse().expect("a number");
        }
        over.store(true, Ordering::Relaxed);
        talks.into_iter().for_each(|talk| talk.join().expect("what was said was heard"));
        assert!(moved >= MOVES, "{moved}");
    });
}

#[test]
fn redis_cli_speaks_tls_beside_the_plain_port() {
    let mut setup = Setup::new(&[]);
    let trusting = setup.trusting();
    let trusting = strs(&trusting);
    assert_eq!(setup.cli(&trusting, &["SET", "k", "v"]), Ok("OK\n".into()));
    assert_eq!(setup.server.client().run("GET k"), Reply::bulk("v"));
    // More than fits into any buffer, both ways.
    assert_eq!(setup.cli(&trusting, &["SETRANGE", "large", "3000000", "x"]), Ok("3000001\n".into()));
    assert_eq!(setup.cli(&trusting, &["GET", "large"]).map(|text| text.len()), Ok(3_000_002));
    for version in ["TLSv1.2", "TLSv1.3"] {
        assert_eq!(setup.set(&[("tls-protocols", version)]), Reply::simple("OK"));
        assert_eq!(setup.cli(&trusting, &["PING"]), Ok("PONG\n".into()), "{version}");
    }
    // Whoever does not speak it gets no answer, and whoever trusts another authority does not go on.
    let mut plain = TcpStream::connect(("127.0.0.1", setup.port)).expect("it listens");
    plain.write_all(b"PING\r\n").expect("it takes bytes");
    let mut answer = Vec::new();
    // An alert, or the end of the connection.
    drop(plain.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"+PONG"));
    let other = Authority::new();
    let refused = setup.cli(&["--cacert", &other.text("ca.crt")], &["PING"]);
    assert!(refused.as_ref().is_err_and(|text| text.contains("certificate verify failed")), "{refused:?}");
    // Its own port alone.
    assert_eq!(setup.set(&[("port", "0")]), Reply::simple("OK"));
    assert_eq!(setup.cli(&trusting, &["CONFIG", "GET", "port"]), Ok("port\n0\n".into()));
    assert!(Client::connect(setup.server.address()).is_err());
}

#[test]
fn clients_show_certificates() {
    let mut setup = Setup::new(&[("tls-auth-clients", "yes")]);
    let (trusting, as_client) = (setup.trusting(), setup.as_client("client"));
    let (trusting, as_client) = (strs(&trusting), strs(&as_client));
    assert!(setup.cli(&trusting, &["PING"]).is_err());
    assert_eq!(setup.cli(&as_client, &["PING"]), Ok("PONG\n".into()));
    // Expired, not of our authority.
    setup.authority.sign("late", |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let late = setup.as_client("late");
    assert!(setup.cli(&strs(&late), &["PING"]).is_err());
    let stranger = Authority::new();
    stranger.sign("client", |_| {});
    let (cert, key) = (stranger.text("client.crt"), stranger.text("client.key"));
    let stranger = [&trusting[..], &["--cert", &cert, "--key", &key]].concat();
    assert!(setup.cli(&stranger, &["PING"]).is_err());
    assert_eq!(setup.set(&[("tls-auth-clients", "optional")]), Reply::simple("OK"));
    assert_eq!(setup.cli(&trusting, &["PING"]), Ok("PONG\n".into()));
    assert_eq!(setup.cli(&as_client, &["PING"]), Ok("PONG\n".into()));
    assert!(setup.cli(&stranger, &["PING"]).is_err());
    setup.server.assert_alive();
}

#[test]
fn clients_come_as_whom_their_certificates_say() {
    use rcgen::{SanType, string::Ia5String};
    let mut setup = Setup::new(&[("tls-auth-clients", "optional"), ("tls-auth-clients-user", "CN")]);
    for rules in ["anna on nopass +@all", "urn:two on >secret +@all", "off off +@all"] {
        assert_eq!(setup.server.client().run(&format!("ACL SETUSER {rules}")), Reply::simple("OK"));
    }
    setup.authority.sign("anna", |params| {
        for uri in ["urn:one", "urn:two"] {
            params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri).expect("a name")));
        }
    });
    setup.authority.sign("off", |_| {});
    let who = |setup: &Setup, options: &[String]| setup.cli(&strs(options), &["ACL", "WHOAMI"]);
    let is = |name: &str| Ok(format!("{name}\n"));
    let (anna, off) = (setup.as_client("anna"), setup.as_client("off"));
    assert_eq!(who(&setup, &anna), is("anna"));
    // Nobody is called like that, or may come.
    for options in [setup.as_client("client"), off] {
        assert_eq!(who(&setup, &options), is("default"));
    }
    assert_eq!(who(&setup, &setup.trusting()), is("default"));
    let mut client = setup.server.client();
    assert!(client.run("INFO stats").text().contains("acl_access_denied_tls_cert:2\r\n"));
    let log = format!("{:?}", client.run("ACL LOG"));
    assert!(log.contains("\"tls-cert\"") && log.contains("\"client\"") && log.contains("\"off\""), "{log}");
    assert_eq!(setup.set(&[("tls-auth-clients-user", "URI")]), Reply::simple("OK"));
    assert_eq!(who(&setup, &anna), is("urn:two"));
    // Who has to say who it is otherwise need not say it.
    assert_eq!(client.run("ACL SETUSER default >secret resetpass >other"), Reply::simple("OK"));
    assert_eq!(who(&setup, &anna), is("urn:two"));
    assert!(who(&setup, &setup.trusting()).is_ok_and(|text| text.starts_with("NOAUTH")));
    assert_eq!(client.run("ACL SETUSER default nopass"), Reply::simple("OK"));
    assert_eq!(setup.set(&[("tls-auth-clients-user", "off")]), Reply::simple("OK"));
    assert_eq!(who(&setup, &anna), is("default"));
}

#[test]
fn files_are_taken_all_or_none() {
    let mut setup = Setup::new(&[]);
    let trusting = setup.trusting();
    let trusting = strs(&trusting);
    let broken = setup.authority.text("broken");
    std::fs::write(&broken, "no certificate").expect("a file");
    setup.authority.sign("other", |_| {});
    let (other_cert, other_key) = (setup.authority.text("other.crt"), setup.authority.text("other.key"));
    for pairs in [
        &[("tls-cert-file", &*broken)][..],
        &[("tls-cert-file", "/nowhere")],
        &[("tls-key-file", &broken)],
        // A key of another certificate.
        &[("tls-key-file", &other_key)],
        &[("tls-ca-cert-file", &broken)],
        &[("tls-protocols", "SSLv3")],
        &[("tls-ciphers", "AES128-SHA256")],
        &[("maxclients", "100"), ("tls-ca-cert-file", ""), ("tls-auth-clients", "yes")],
    ] {
        let reply = setup.set(pairs).text();
        assert!(reply.contains(REFUSED), "{pairs:?}: {reply}");
        assert_eq!(setup.cli(&trusting, &["PING"]), Ok("PONG\n".into()), "{pairs:?}");
    }
    assert_eq!(
        setup.server.client().run("CONFIG GET maxclients").elements().map(|all| all[1].text()),
        Some("10000".into())
    );
    assert_eq!(
        setup.set(&[("tls-cert-file", &other_cert), ("tls-key-file", &other_key)]),
        Reply::simple("OK")
    );
    assert_eq!(setup.cli(&trusting, &["PING"]), Ok("PONG\n".into()));
    // An authority among others, in a directory.
    let dir = setup.authority.text("authorities");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::copy(setup.authority.file("ca.crt"), Path::new(&dir).join("a.pem")).expect("a copy");
    let reply =
        setup.set(&[("tls-ca-cert-file", ""), ("tls-ca-cert-dir", &dir), ("tls-auth-clients", "yes")]);
    assert_eq!(reply, Reply::simple("OK"));
    let as_client = setup.as_client("client");
    assert_eq!(setup.cli(&strs(&as_client), &["PING"]), Ok("PONG\n".into()));
}

#[test]
fn encrypted_keys_need_their_passphrase() {
    let mut setup = Setup::new(&[]);
    let (key, encrypted, old) = (
        setup.authority.text("node.key"),
        setup.authority.text("encrypted.key"),
        setup.authority.text("old.key"),
    );
    let openssl = |args: &[&str]| {
        let output = Command::new(on_path("openssl")).args(args).output().expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&["pkcs8", "-topk8", "-v2", "aes256", "-in", &key, "-out", &encrypted, "-passout", "pass:1234"]);
    openssl(&["ec", "-aes256", "-in", &key, "-out", &old, "-passout", "pass:1234"]);
    for (file, pass) in [(&encrypted, ""), (&encrypted, "wrong"), (&old, "1234")] {
        let reply = setup.set(&[("tls-key-file", file), ("tls-key-file-pass", pass)]).text();
        assert!(reply.contains(REFUSED), "{file} {pass}: {reply}");
    }
    for why in
        ["is encrypted, and no passphrase", "cannot be decrypted with the passphrase", "openssl pkcs8 -topk8"]
    {
        setup.server.wait_for_log(why);
    }
    assert!(!setup.server.log().contains("wrong"), "the log names a passphrase");
    let pairs = [("tls-key-file", &*encrypted), ("tls-key-file-pass", "1234")];
    assert_eq!(setup.set(&pairs), Reply::simple("OK"));
    let trusting = setup.trusting();
    assert_eq!(setup.cli(&strs(&trusting), &["PING"]), Ok("PONG\n".into()));
}

/// Certificates change while clients come and go, and others stay.
#[test]
fn reloads_under_load_lose_nobody() {
    let mut setup = Setup::new(&[]);
    let roots = setup.authority.file("ca.crt");
    let port = setup.port;
    let mut staying = tls_client(&roots, port);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let pings = std::thread::scope(|scope| {
        let coming: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut pings = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        ping(&mut tls_client(&roots, port));
                        pings += 1;
                    }
                    pings
                })
            })
            .collect();
        for n in 0..20 {
            let name = format!("node{n}");
            setup.authority.sign(&name, |_| {});
            let settings = setup.authority.settings(&name);
            let pairs: Vec<(&str, &str)> =
                settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(setup.set(&pairs), Reply::simple("OK"));
            ping(&mut staying);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        coming.into_iter().map(|thread| thread.join().expect("a client")).sum::<usize>()
    });
    assert!(pings > 0);
}

/// A handshake that does not come takes the place of a client, and no more than that.
#[test]
fn silent_handshakes_count_as_clients_and_block_nobody() {
    let mut setup = Setup::new(&[]);
    assert_eq!(setup.set(&[("maxclients", "20")]), Reply::simple("OK"));
    let mut witness = setup.server.client();
    let connected = |client: &mut Client| {
        let info = client.run("INFO clients").text();
        let line = info.lines().find_map(|line| line.strip_prefix("connected_clients:"));
        line.and_then(|count| count.parse::<usize>().ok()).unwrap_or_default()
    };
    wait_until(|| connected(&mut witness) == 1);
    let silent: Vec<TcpStream> =
        (0..30).map(|_| TcpStream::connect(("127.0.0.1", setup.port)).expect("it listens")).collect();
    wait_until(|| connected(&mut witness) == 20);
    assert_eq!(witness.run("PING"), Reply::simple("PONG"));
    // Who is over the limit is turned away, without a word.
    for stream in &silent {
        stream.set_nonblocking(true).expect("a socket");
    }
    let is_over = |stream: &&TcpStream| matches!(stream.peek(&mut [0]), Ok(0));
    wait_until(|| silent.iter().filter(is_over).count() == 11);
    drop(silent);
    // Those who went make room.
    wait_until(|| connected(&mut witness) == 1);
    let trusting = setup.trusting();
    assert_eq!(setup.cli(&strs(&trusting), &["PING"]), Ok("PONG\n".into()));
}

#[test]
fn redis_py_speaks_tls() {
    let setup = Setup::new(&[("tls-auth-clients", "yes")]);
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/python/bin/python3");
    assert!(python.exists(), "{} is missing: run .ci/setup", python.display());
    let program = r#"
import redis, sys
port, ca, cert, key = int(sys.argv[1]), *sys.argv[2:]
for protocol in (2, 3):
    r = redis.Redis(host="localhost", port=port, protocol=protocol, ssl=True, ssl_ca_certs=ca, ssl_certfile=cert, ssl_keyfile=key)
    assert r.set("k", b"x" * 100_000) and r.get("k") == b"x" * 100_000
    p = r.pipeline(transaction=False)
    for n in range(5_000):
        p.set(f"key:{n}", n)
    assert all(p.execute()) and r.mget("key:0", "key:4999") == [b"0", b"4999"]
    listener = r.pubsub()
    listener.subscribe("news")
    assert listener.get_message(timeout=10)["type"] == "subscribe"
    assert r.publish("news", "hello") == 1
    assert listener.get_message(timeout=10)["data"] == b"hello"
print("all well")
"#;
    let authority = &setup.authority;
    let output = Command::new(python)
        .args(["-c", program, &setup.port.to_string()])
        .args([authority.file("ca.crt"), authority.file("client.crt"), authority.file("client.key")])
        .output()
        .expect("python runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("all well"), "{out}{err}");
}

/// A replica on either side: each of the two stands in for the other.
#[test]
fn replicas_follow_a_real_redis_and_are_followed_by_it_over_tls() {
    let authority = Authority::new();
    authority.sign("node", |_| {});
    let files = authority.settings("node");
    let start = |redis: bool| {
        let port = free_port().to_string();
        let mut settings = vec![("tls-port", &*port), ("tls-replication", "yes")];
        settings.extend(files.iter().map(|(name, value)| (*name, value.as_str())));
        let server = if redis { Server::redis(&settings) } else { Server::baton(&settings) };
        (server, port)
    };
    for redis_leads in [true, false] {
        let ((mut primary, port), (mut replica, _)) = (start(redis_leads), start(!redis_leads));
        let mut writer = primary.client();
        for n in 0..1_000 {
            writer.run(&format!("SET key:{n} {n}"));
        }
        let mut reader = replica.client();
        assert_eq!(reader.run(&format!("REPLICAOF 127.0.0.1 {port}")), Reply::simple("OK"));
        wait_until(|| reader.run("INFO replication").text().contains("master_link_status:up"));
        assert_eq!(writer.run("SET last 1"), Reply::simple("OK"));
        wait_until(|| reader.run("GET last") == Reply::bulk("1"));
        assert_eq!(reader.run("DBSIZE").integer(), Some(1_001));
        // Nothing of it went over the other port.
        let list = writer.run("CLIENT LIST TYPE replica").text();
        assert!(list.contains(&format!("laddr=127.0.0.1:{port} ")), "{list}");
    }
}

#[test]
fn a_start_without_a_certificate_is_refused() {
    let port = free_port().to_string();
    let directory = TempDir::new().expect("a temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(["--port", "0", "--bind", "127.0.0.1", "--tls-port", &port, "--dir"])
        .arg(directory.path())
        .output()
        .expect("it runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("Failed to configure TLS: "), "{text}");
}

type TlsClient = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// A client without tools.
fn tls_client(roots: &Path, port: u16) -> TlsClient {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut trusted = rustls::RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(roots).expect("a certificate")).expect("an authority");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let session = rustls::ClientConnection::new(std::sync::Arc::new(config), name).expect("a session");
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    rustls::StreamOwned::new(session, stream)
}

#[track_caller]
fn ping(client: &mut TlsClient) {
    client.write_all(b"PING\r\n").expect("it takes a command");
    let mut reply = [0; 7];
    client.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+PONG\r\n");
}
