//! A cursor over bytes that need not be all there: whatever is missing is reported as such, never read.

use super::RdbError;

#[derive(Clone, Debug)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A cursor that has read `at` bytes already, or all there are.
    pub(super) fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at: at.min(bytes.len()) }
    }

    /// How many bytes have been read.
    #[inline]
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// All that has not been read.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, RdbError> {
        let byte = *self.bytes.get(self.at).ok_or(RdbError::Incomplete { offset: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], RdbError> {
        let end = self.at.checked_add(len);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(RdbError::Incomplete { offset: self.at })?;
        self.at += len;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let taken = self.rest().first_chunk::<N>().ok_or(RdbError::Incomplete { offset: self.at })?;
        self.at += N;
        Ok(*taken)
    }

    /// What to say about the bytes at `offset`.
    #[cold]
    pub(super) fn corrupt(offset: usize, expected: &'static str) -> RdbError {
        RdbError::Corrupt { offset, expected }
    }
}
