//! Libraries of functions, kept as they are: nothing here can run them, but nothing of a file that is loaded may be lost.
//!
//! The source of a library begins with a line such as `#!lua name=mylib`, which is all that is understood of it.

use parking_lot::Mutex;

/// The sources of the libraries of a node, in the order in which they came.
#[derive(Debug, Default)]
pub struct Libraries {
    sources: Mutex<Vec<Vec<u8>>>,
}

impl Libraries {
    /// The sources. O(bytes of all).
    pub fn sources(&self) -> Vec<Vec<u8>> {
        self.sources.lock().clone()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sources.lock().len()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.sources.lock().clear();
    }

    /// Keeps these in place of what was there.
    pub fn replace_all(&self, sources: Vec<Vec<u8>>) {
        *self.sources.lock() = sources;
    }

    /// Runs a command of a log: `FUNCTION` LOAD, DELETE or FLUSH. `None`: it is something else.
    /// `Some(false)`: it is refused, as it would have been when it was written.
    pub fn run(&self, args: &[&[u8]]) -> Option<bool> {
        let [function, sub, rest @ ..] = args else { return None };
        if !function.eq_ignore_ascii_case(b"FUNCTION") {
            return None;
        }
        let mut sources = self.sources.lock();
        match rest {
            [source] if sub.eq_ignore_ascii_case(b"LOAD") => Some(load(&mut sources, source, false)),
            [replace, source]
                if sub.eq_ignore_ascii_case(b"LOAD") && replace.eq_ignore_ascii_case(b"REPLACE") =>
            {
                Some(load(&mut sources, source, true))
            }
            [library] if sub.eq_ignore_ascii_case(b"DELETE") => {
                let before = sources.len();
                sources.retain(|source| name(source) != Some(library));
                Some(sources.len() < before)
            }
            [] | [_] if sub.eq_ignore_ascii_case(b"FLUSH") => {
                sources.clear();
                Some(true)
            }
            _ => None,
        }
    }
}

fn load(sources: &mut Vec<Vec<u8>>, source: &[u8], replace: bool) -> bool {
    let Some(own) = name(source) else { return false };
    let same = sources.iter().position(|other| name(other) == Some(own));
    match same {
        Some(at) if replace => sources[at] = source.to_vec(),
        Some(_) => return false,
        None => sources.push(source.to_vec()),
    }
    true
}

/// The name of a library, from the first line of its source.
fn name(source: &[u8]) -> Option<&[u8]> {
    let line = source.split(|byte| *byte == b'\n').next()?.strip_prefix(b"#!")?;
    let words = line.split(u8::is_ascii_whitespace);
    words.into_iter().find_map(|word| word.strip_prefix(b"name=")).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_a_log() {
        let libraries = Libraries::default();
        let run = |line: &[&str]| {
            let args: Vec<&[u8]> = line.iter().map(|word| word.as_bytes()).collect();
            libraries.run(&args)
        };
        let (a, b) = ("#!lua name=a\nreturn 1", "#!lua  name=b\nreturn 2");
        assert_eq!(run(&["FUNCTION", "LOAD", a]), Some(true));
        assert_eq!(run(&["function", "load", b]), Some(true));
        assert_eq!(run(&["FUNCTION", "LOAD", a]), Some(false));
        assert_eq!(run(&["FUNCTION", "LOAD", "return 1"]), Some(false));
        assert_eq!(run(&["FUNCTION", "LOAD", "REPLACE", "#!lua name=a\n"]), Some(true));
        assert_eq!(libraries.sources(), [b"#!lua name=a\n".to_vec(), b.into()]);
        assert_eq!(run(&["FUNCTION", "DELETE", "a"]), Some(true));
        assert_eq!(run(&["FUNCTION", "DELETE", "a"]), Some(false));
        assert_eq!(libraries.count(), 1);
        assert_eq!(run(&["FUNCTION", "FLUSH", "ASYNC"]), Some(true));
        assert_eq!(libraries.count(), 0);
        for other in [&["SET", "a", "b"][..], &["FUNCTION", "RESTORE", "x"], &["FUNCTION"], &[]] {
            assert_eq!(run(other), None);
        }
    }
}
