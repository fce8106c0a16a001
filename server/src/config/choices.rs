//! Settings that take one of a few words.

use super::field::{Field, Kind, Moment, Reason};

/// Declares an enum with the words that stand for its values; the first word of a value is the one shown.
macro_rules! choices {
    ($($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $value:ident = $word:literal $(| $other:literal)*,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $doc])* $value,)* }

        impl $name {
            /// Every word with the value it stands for.
            pub const WORDS: &[(&'static str, Self)] = &[$(($word, Self::$value), $(($other, Self::$value),)*)*];

            /// The word for the value.
            pub fn word(self) -> &'static str {
                match self { $(Self::$value => $word,)* }
            }
        }

        impl Field for $name {
            fn parse(&mut self, args: &[&[u8]], _: Kind, _: Moment) -> Result<(), Reason> {
                let [arg] = args else { return Err(not_one_of(Self::WORDS)) };
                match Self::WORDS.iter().find(|(word, _)| arg.eq_ignore_ascii_case(word.as_bytes())) {
                    Some((_, value)) => *self = *value,
                    None => return Err(not_one_of(Self::WORDS)),
                }
                Ok(())
            }

            fn show(&self, _: Kind) -> Vec<u8> {
                self.word().into()
            }
        }
    )*};
}

pub(super) fn not_one_of<T>(words: &[(&'static str, T)]) -> Reason {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    format!("argument(s) must be one of the following: {}", words.join(", ")).into()
}

choices! {
    /// Which keys make room when `maxmemory` is reached.
    MaxmemoryPolicy {
        VolatileLru = "volatile-lru",
        VolatileLfu = "volatile-lfu",
        VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl",
        AllkeysLru = "allkeys-lru",
        AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random",
        Noeviction = "noeviction",
    }

    /// The syslog facility.
    SyslogFacility {
        User = "user",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }

    /// The least important message that is logged.
    Loglevel {
        Debug = "debug",
        Verbose = "verbose",
        Notice = "notice",
        Warning = "warning",
        Nothing = "nothing",
    }

    /// The shape of a log line.
    LogFormat {
        Legacy = "legacy",
        Logfmt = "logfmt",
    }

    /// The time in a log line.
    LogTimestampFormat {
        Legacy = "legacy",
        Iso8601 = "iso8601",
        Milliseconds = "milliseconds",
    }

    /// Who started the process and wants to hear that it's ready.
    Supervised {
        Upstart = "upstart",
        Systemd = "systemd",
        Auto = "auto",
        No = "no",
    }

    /// When the log of writes is synced to the disk.
    Appendfsync {
        Everysec = "everysec",
        Always = "always",
        No = "no",
    }

    /// How a replica loads a snapshot straight from the socket.
    ReplDisklessLoad {
        Disabled = "disabled",
        OnEmptyDb = "on-empty-db",
        Swapdb = "swapdb",
        FlushBeforeLoad = "flush-before-load",
    }

    /// Whether TLS clients must show a certificate.
    TlsAuthClients {
        No = "no",
        Yes = "yes",
        Optional = "optional",
    }

    /// What of its certificate says as which user a client comes.
    TlsAuthClientsUser {
        Off = "off",
        CommonName = "CN",
        Uri = "URI",
    }

    /// How `oom-score-adj-values` are used.
    OomScoreAdj {
        No = "no",
        Relative = "yes" | "relative",
        Absolute = "absolute",
    }

    /// What channels a new user may use.
    AclPubsubDefault {
        Allchannels = "allchannels",
        Resetchannels = "resetchannels",
    }

    /// Whose serialized values are checked in depth.
    SanitizeDumpPayload {
        No = "no",
        Yes = "yes",
        Clients = "clients",
    }

    /// Who may do something delicate.
    ProtectedAction {
        No = "no",
        Yes = "yes",
        /// Only connections from this machine.
        Local = "local",
    }

    /// What a redirection names.
    ClusterPreferredEndpointType {
        Ip = "ip",
        Hostname = "hostname",
        UnknownEndpoint = "unknown-endpoint",
    }

    /// What to do when a replicated command fails.
    PropagationErrorBehavior {
        Ignore = "ignore",
        Panic = "panic",
        PanicOnReplicas = "panic-on-replicas",
    }

    /// The version that snapshots are written in.
    RdbTarget {
        /// Redis 7.0 and later, every Valkey.
        V10 = "10",
        /// Redis 7.2 and later, Valkey 7.2 and later.
        V11 = "11",
        /// Redis 7.4 and later.
        V12 = "12",
        /// Valkey 9.0 and later.
        Valkey80 = "80",
    }

    /// Whether a snapshot of a newer version is refused.
    RdbVersionCheck {
        Strict = "strict",
        Relaxed = "relaxed",
    }
}

impl ProtectedAction {
    /// Whether it's allowed to a connection, which is from this machine or not.
    pub fn allows(self, local: bool) -> bool {
        self == Self::Yes || (self == Self::Local && local)
    }
}
