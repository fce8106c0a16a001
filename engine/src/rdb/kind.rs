//! The types of values in snapshots, and who writes which.
//!
//! | byte   | type                                                                            | since      |
//! |--------|---------------------------------------------------------------------------------|------------|
//! | 0 to 4 | string; list, set, sorted set (scores as text), hash: count, then the elements   | 1          |
//! | 5      | sorted set with binary scores                                                   | 8          |
//! | 6, 7   | values of modules                                                               | 8, 8       |
//! | 9      | hash as a zipmap                                                                | 2          |
//! | 10, 12, 13 | list, sorted set, hash as a ziplist                                         | 2          |
//! | 11     | set as an intset                                                                | 2          |
//! | 14     | list as ziplists                                                                | 7          |
//! | 15, 19, 21 | streams                                                                     | 9, 10, 11  |
//! | 16, 17 | hash, sorted set as a listpack                                                  | 10         |
//! | 18     | list as listpacks and single large elements                                     | 10         |
//! | 20     | set as a listpack                                                               | 11         |
//! | 22, 23 | Redis: 24 and 25 in a release candidate, with absolute deadlines                | Redis 12   |
//! | 24     | Redis: hash with deadlines of fields                                            | Redis 12   |
//! | 25     | Redis: the same as a listpack of field, value, deadline                         | Redis 12   |
//! | 22     | Valkey: hash with deadlines of fields                                           | Valkey 80  |

/// The lowest version of the format that knows what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Redis 7.0, and everything after it.
    #[default]
    V10,
    /// Redis 7.2 and Valkey 7.2 and 8.
    V11,
    /// Redis 7.4.
    V12,
    /// Valkey 9.
    Valkey80,
}

impl Version {
    /// Its number, as DUMP payloads bear it.
    pub fn number(self) -> u16 {
        match self {
            Self::V10 => 10,
            Self::V11 => 11,
            Self::V12 => 12,
            Self::Valkey80 => 80,
        }
    }

    /// Who else writes it.
    pub fn family(self) -> Family {
        if self == Self::Valkey80 { Family::Valkey } else { Family::Redis }
    }
}

/// Who wrote a file or a payload: since they parted, the same byte means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Redis, and Valkey before 9.
    Redis,
    /// Valkey from 9 on.
    Valkey,
}

impl Family {
    /// The first version of the format that only Valkey writes.
    const VALKEY_FROM: u16 = 80;

    /// The newest version of Redis (8.8) whose additions are known. Those that cannot be read are refused where they are met.
    const REDIS_KNOWN: u16 = 14;
    /// The same of Valkey.
    const VALKEY_KNOWN: u16 = 81;

    /// Whether it is known what may be in files of this version. Versions only add: what cannot be read of it has types and
    /// opcodes of its own.
    pub fn knows(self, version: u16) -> bool {
        match self {
            Self::Redis => (1..=Self::REDIS_KNOWN).contains(&version),
            Self::Valkey => (Self::VALKEY_FROM..=Self::VALKEY_KNOWN).contains(&version),
        }
    }

    /// The family of a DUMP payload, which bears a version but no name.
    pub fn of_version(version: u16) -> Self {
        if version >= Self::VALKEY_FROM { Self::Valkey } else { Self::Redis }
    }
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    List,
    Set,
    ZSet,
    Hash,
    ZSet2,
    ModulePreGa,
    Module,
    HashZipmap,
    ListZiplist,
    SetIntset,
    ZSetZiplist,
    HashZiplist,
    ListQuicklist,
    Stream,
    HashListpack,
    ZSetListpack,
    ListQuicklist2,
    Stream2,
    SetListpack,
    Stream3,
    HashMetadataPreGa,
    HashListpackExPreGa,
    HashMetadata,
    HashListpackEx,
    /// Valkey's.
    Hash2,
}

impl Kind {
    pub(super) fn of(byte: u8, family: Family) -> Option<Self> {
        Some(match (byte, family) {
            (0, _) => Self::String,
            (1, _) => Self::List,
            (2, _) => Self::Set,
            (3, _) => Self::ZSet,
            (4, _) => Self::Hash,
            (5, _) => Self::ZSet2,
            (6, _) => Self::ModulePreGa,
            (7, _) => Self::Module,
            (9, _) => Self::HashZipmap,
            (10, _) => Self::ListZiplist,
            (11, _) => Self::SetIntset,
            (12, _) => Self::ZSetZiplist,
            (13, _) => Self::HashZiplist,
            (14, _) => Self::ListQuicklist,
            (15, _) => Self::Stream,
            (16, _) => Self::HashListpack,
            (17, _) => Self::ZSetListpack,
            (18, _) => Self::ListQuicklist2,
            (19, _) => Self::Stream2,
            (20, _) => Self::SetListpack,
            (21, _) => Self::Stream3,
            (22, Family::Redis) => Self::HashMetadataPreGa,
            (23, Family::Redis) => Self::HashListpackExPreGa,
            (24, Family::Redis) => Self::HashMetadata,
            (25, Family::Redis) => Self::HashListpackEx,
            (22, Family::Valkey) => Self::Hash2,
            _ => return None,
        })
    }

    /// The byte of a type that is written.
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::String => 0,
            Self::List => 1,
            Self::Set => 2,
            Self::ZSet => 3,
            Self::Hash => 4,
            Self::ZSet2 => 5,
            Self::ModulePreGa => 6,
            Self::Module => 7,
            Self::HashZipmap => 9,
            Self::ListZiplist => 10,
            Self::SetIntset => 11,
            Self::ZSetZiplist => 12,
            Self::HashZiplist => 13,
            Self::ListQuicklist => 14,
            Self::Stream => 15,
            Self::HashListpack => 16,
            Self::ZSetListpack => 17,
            Self::ListQuicklist2 => 18,
            Self::Stream2 => 19,
            Self::SetListpack => 20,
            Self::Stream3 => 21,
            Self::HashMetadataPreGa | Self::Hash2 => 22,
            Self::HashListpackExPreGa => 23,
            Self::HashMetadata => 24,
            Self::HashListpackEx => 25,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_types_agree() {
        for family in [Family::Redis, Family::Valkey] {
            for byte in 0..=255 {
                if let Some(kind) = Kind::of(byte, family) {
                    assert_eq!(kind.byte(), byte, "{kind:?}");
                }
            }
        }
        assert_eq!(Kind::of(22, Family::Redis), Some(Kind::HashMetadataPreGa));
        assert_eq!(Kind::of(22, Family::Valkey), Some(Kind::Hash2));
        for (byte, family) in
            [(8, Family::Redis), (24, Family::Valkey), (26, Family::Redis), (255, Family::Redis)]
        {
            assert_eq!(Kind::of(byte, family), None);
        }
    }
}
