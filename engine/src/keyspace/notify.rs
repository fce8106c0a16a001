//! Keyspace notifications: which events clients asked for, and those that wait to be published.

/// Classes of events, as bits; the letters are those of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Class {
    /// `K`: publish to `__keyspace@<db>__:<key>`.
    Keyspace = 1 << 0,
    /// `E`: publish to `__keyevent@<db>__:<event>`.
    Keyevent = 1 << 1,
    /// `g`
    Generic = 1 << 2,
    /// `$`
    String = 1 << 3,
    /// `l`
    List = 1 << 4,
    /// `s`
    Set = 1 << 5,
    /// `h`
    Hash = 1 << 6,
    /// `z`
    ZSet = 1 << 7,
    /// `x`
    Expired = 1 << 8,
    /// `e`
    Evicted = 1 << 9,
    /// `t`
    Stream = 1 << 10,
    /// `m`, not part of `A`.
    KeyMiss = 1 << 11,
    /// `d`
    Module = 1 << 13,
    /// `n`, not part of `A`.
    New = 1 << 14,
}

const LETTERS: &[(u8, Class)] = &[
    (b'g', Class::Generic),
    (b'$', Class::String),
    (b'l', Class::List),
    (b's', Class::Set),
    (b'h', Class::Hash),
    (b'z', Class::ZSet),
    (b'x', Class::Expired),
    (b'e', Class::Evicted),
    (b't', Class::Stream),
    (b'd', Class::Module),
    (b'n', Class::New),
    (b'K', Class::Keyspace),
    (b'E', Class::Keyevent),
    (b'm', Class::KeyMiss),
];

/// The classes that `A` stands for.
const ALL: u32 = Class::Generic as u32
    | Class::String as u32
    | Class::List as u32
    | Class::Set as u32
    | Class::Hash as u32
    | Class::ZSet as u32
    | Class::Expired as u32
    | Class::Evicted as u32
    | Class::Stream as u32
    | Class::Module as u32;

/// Reads `notify-keyspace-events`; `None` for an unknown letter.
pub fn parse_flags(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |bits, letter| match letter {
        b'A' => Some(bits | ALL),
        _ => LETTERS.iter().find(|(l, _)| l == letter).map(|(_, class)| bits | *class as u32),
    })
}

/// Writes the classes as Redis does: `A` for all, then the rest.
pub fn format_flags(bits: u32) -> String {
    let mut text = String::new();
    let all = bits & ALL == ALL;
    if all {
        text.push('A');
    }
    for (letter, class) in LETTERS {
        let bit = *class as u32;
        if bits & bit != 0 && !(all && ALL & bit != 0) {
            text.push(char::from(*letter));
        }
    }
    text
}

/// An event that waits to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The database of the key.
    pub db: usize,
    /// What happened.
    pub name: &'static str,
    /// To which key.
    pub key: Box<[u8]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_round_trip_as_redis_prints_them() {
        for (given, shown) in
            [("", ""), ("KEA", "AKE"), ("Kl", "lK"), ("g$lshzxetdKE", "AKE"), ("Elg", "glE")]
        {
            assert_eq!(format_flags(parse_flags(given.as_bytes()).unwrap()), shown, "{given}");
        }
        assert_eq!(parse_flags(b"KEq"), None);
    }
}
