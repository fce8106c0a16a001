//! The first line of a script: `#!lua flags=no-writes,allow-oom`, or of a library: `#!lua name=mylib`.

use baton_engine::error::CommandError;
use baton_engine::words::split_args;

/// What a script or a function says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    bits: u8,
}

/// A flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// Changes nothing.
    NoWrites = 1,
    /// May run when memory is over the limit.
    AllowOom = 2,
    /// May run on a replica that lost its primary.
    AllowStale = 4,
    /// Not in a cluster.
    NoCluster = 8,
    /// In a cluster, on several slots.
    AllowCrossSlot = 16,
}

impl Flag {
    /// All of them with their names, in the order in which they are listed.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::NoWrites, "no-writes"),
        (Self::AllowOom, "allow-oom"),
        (Self::AllowStale, "allow-stale"),
        (Self::NoCluster, "no-cluster"),
        (Self::AllowCrossSlot, "allow-cross-slot-keys"),
    ];
}

impl Flags {
    /// Whether a flag is among them.
    pub fn has(self, flag: Flag) -> bool {
        self.bits & flag as u8 != 0
    }

    /// Adds a flag by its name; false if there is none of this name.
    pub fn add(&mut self, name: &[u8]) -> bool {
        let flag = Flag::ALL.iter().find(|(_, own)| own.as_bytes() == name);
        self.bits |= flag.map_or(0, |(flag, _)| *flag as u8);
        flag.is_some()
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        Flag::ALL.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

/// The flags of a script, if it has a first line of this kind, and where its source begins.
pub(super) fn of_script(body: &[u8]) -> Result<(Option<Flags>, usize), CommandError> {
    if !body.starts_with(b"#!") {
        return Ok((None, 0));
    }
    // The source keeps its line end, so that its lines have the numbers that they seem to have.
    let Some(end) = body.iter().position(|byte| *byte == b'\n') else {
        return Err(CommandError::text("ERR Invalid script shebang"));
    };
    let Ok(words) = split_args(&body[..end]) else {
        return Err(CommandError::text("ERR Invalid engine in script shebang"));
    };
    let mut words = words.iter();
    let engine = words.next().map_or(&[][..], |engine| engine);
    if engine != b"#!lua" {
        return Err(CommandError::quoting("ERR Unexpected engine in script shebang: ", engine, 128, ""));
    }
    let mut flags = Flags::default();
    for word in words {
        let Some(names) = word.strip_prefix(b"flags=") else {
            return Err(CommandError::quoting("ERR Unknown lua shebang option: ", word, 128, ""));
        };
        for name in names.split(|byte| *byte == b',').filter(|_| !names.is_empty()) {
            if !flags.add(name) {
                return Err(CommandError::quoting("ERR Unexpected flag in script shebang: ", name, 128, ""));
            }
        }
    }
    Ok((Some(flags), end))
}

/// The name of a library, and where its source begins.
pub(super) fn of_library(body: &[u8]) -> Result<(Vec<u8>, usize), CommandError> {
    if !body.starts_with(b"#!") {
        return Err(CommandError::text("ERR Missing library metadata"));
    }
    let Some(end) = body.iter().position(|byte| *byte == b'\n') else {
        return Err(CommandError::text("ERR Invalid library metadata"));
    };
    let Ok(words) = split_args(&body[..end]) else {
        return Err(CommandError::text("ERR Invalid library metadata"));
    };
    let mut words = words.into_iter();
    // The first begins with what the line begins with.
    let engine = words.next().unwrap_or_default();
    let engine = engine.get(2..).unwrap_or_default();
    let mut name = None;
    for word in words {
        let is_name = word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"name="));
        if !is_name {
            return Err(CommandError::quoting("ERR Invalid metadata value given: ", &word, 128, ""));
        }
        if name.replace(word[5..].to_vec()).is_some() {
            let text = "ERR Invalid metadata value, name argument was given multiple times";
            return Err(CommandError::text(text));
        }
    }
    let Some(name) = name else {
        return Err(CommandError::text("ERR Library name was not given"));
    };
    if !is_name(&name) {
        return Err(CommandError::text(
            "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one \
             character long",
        ));
    }
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(CommandError::quoting("ERR Engine '", engine, 128, "' not found"));
    }
    Ok((name, end))
}

/// Whether a library or a function may be called so.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(body: &str) -> Result<(Vec<&'static str>, usize), String> {
        let (flags, start) = of_script(body.as_bytes()).map_err(|error| error.to_string())?;
        Ok((flags.map_or(vec!["none"], |flags| flags.names().collect()), start))
    }

    #[test]
    fn first_lines_of_scripts() {
        assert_eq!(script("return 1"), Ok((vec!["none"], 0)));
        assert_eq!(script("#!lua\nreturn 1"), Ok((vec![], 5)));
        let both = script("#!lua flags=allow-oom,no-writes\n");
        assert_eq!(both, Ok((vec!["no-writes", "allow-oom"], 31)));
        for (body, error) in [
            ("#!lua", "ERR Invalid script shebang"),
            ("#!\n", "ERR Unexpected engine in script shebang: #!"),
            ("#! lua\n", "ERR Unexpected engine in script shebang: #!"),
            ("#!lua 'x\n", "ERR Invalid engine in script shebang"),
            ("#!js\n", "ERR Unexpected engine in script shebang: #!js"),
            ("#!lua x=y\n", "ERR Unknown lua shebang option: x=y"),
            ("#!lua flags=no-writes,\n", "ERR Unexpected flag in script shebang: "),
            ("#!lua flags=fast\n", "ERR Unexpected flag in script shebang: fast"),
        ] {
            assert_eq!(script(body), Err(error.to_owned()));
        }
    }

    #[test]
    fn first_lines_of_libraries() {
        let name = |body: &'static str| {
            let (name, _) = of_library(body.as_bytes()).map_err(|error| error.to_string())?;
            Ok::<_, String>(String::from_utf8_lossy(&name).into_owned())
        };
        for body in
            ["#!LUA NAME=a_1\nx", "#!lua name='a_1'\n", "#!lua 'name=a_1'\n", "#!lua name=\"a\\x5f1\"\n"]
        {
            assert_eq!(name(body), Ok("a_1".to_owned()));
        }
        for (body, error) in [
            ("x", "ERR Missing library metadata"),
            ("#!lua name=a", "ERR Invalid library metadata"),
            ("#!lua name='a\n", "ERR Invalid library metadata"),
            ("#! \n", "ERR Library name was not given"),
            ("#! name=a\n", "ERR Engine '' not found"),
            ("#!lua\n", "ERR Library name was not given"),
            ("#!lua name=a name=b\n", "ERR Invalid metadata value, name argument was given multiple times"),
            ("#!lua flags=x\n", "ERR Invalid metadata value given: flags=x"),
            ("#!js name=a\n", "ERR Engine 'js' not found"),
        ] {
            assert_eq!(name(body), Err(error.to_owned()));
        }
        assert!(name("#!lua name=a-b\n").is_err());
    }
}
