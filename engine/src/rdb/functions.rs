//! The payload of FUNCTION DUMP and FUNCTION RESTORE: libraries of functions, each as in a file, and behind them the version
//! and the checksum that every payload ends with.

use super::input::Input;
use super::string;
use super::write::{self, FUNCTION};
use super::{crc64, file};

/// The version of the format: every Redis that has functions knows it.
const VERSION: u16 = 10;
const FOOTER_BYTES: usize = 2 + 8;

/// Why a payload is refused. The text is what the client receives, without the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FunctionsError {
    /// It is damaged, or none.
    #[error("DUMP payload version or checksum are wrong")]
    Checksum,
    /// There is something else than a library in it.
    #[error("given type is not a function")]
    NotFunction,
    /// A library as it was before Redis 7.0 was released.
    #[error("Pre-GA function format not supported")]
    PreGa,
    /// A library is cut short.
    #[error("failed loading the given functions payload")]
    Cut,
}

/// Appends the payload of libraries. O(their bytes).
pub fn payload(out: &mut Vec<u8>, sources: &[Vec<u8>], compress: bool) {
    let start = out.len();
    sources.iter().for_each(|source| write::function(out, source, compress));
    out.extend_from_slice(&VERSION.to_le_bytes());
    let crc = crc64::checksum(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The libraries of a payload. O(bytes).
///
/// # Errors
/// [`FunctionsError`].
pub fn open(payload: &[u8]) -> Result<Vec<Vec<u8>>, FunctionsError> {
    let body = payload.len().checked_sub(FOOTER_BYTES).ok_or(FunctionsError::Checksum)?;
    let (signed, crc) = payload.split_at(payload.len() - 8);
    if crc64::checksum(signed).to_le_bytes() != crc {
        return Err(FunctionsError::Checksum);
    }
    let mut input = Input::new(&payload[..body]);
    let mut sources = Vec::new();
    while !input.rest().is_empty() {
        match input.byte() {
            Ok(FUNCTION) => {}
            Ok(file::FUNCTION_PRE_GA) => return Err(FunctionsError::PreGa),
            _ => return Err(FunctionsError::NotFunction),
        }
        let source = string::text(&mut input).map_err(|_| FunctionsError::Cut)?;
        sources.push(source.into_vec());
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dumped_is_restored() {
        for sources in [vec![], vec![b"#!lua name=a\n".to_vec(), vec![b'x'; 10_000]]] {
            for compress in [false, true] {
                let mut out = Vec::new();
                payload(&mut out, &sources, compress);
                assert_eq!(open(&out), Ok(sources.clone()));
                for at in 0..out.len().min(200) {
                    let mut damaged = out.clone();
                    damaged[at] ^= 4;
                    assert_eq!(open(&damaged), Err(FunctionsError::Checksum));
                    assert_eq!(open(&out[..at]), Err(FunctionsError::Checksum));
                }
            }
        }
    }

    #[test]
    fn what_is_no_library_is_refused() {
        let signed = |body: &[u8]| {
            let mut bytes = [body, &VERSION.to_le_bytes()].concat();
            bytes.extend(crc64::checksum(&bytes).to_le_bytes());
            bytes
        };
        assert_eq!(open(&signed(b"\0\x01x")), Err(FunctionsError::NotFunction));
        assert_eq!(open(&signed(&[246, 1, 2])), Err(FunctionsError::PreGa));
        assert_eq!(open(&signed(&[FUNCTION, 9, b'x'])), Err(FunctionsError::Cut));
    }
}
