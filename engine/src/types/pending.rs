//! Types whose files are still on their way.
#![allow(missing_docs)]
macro_rules! pending { ($($n:ident)*) => { $(
#[derive(Clone, Debug, Default)]
pub struct $n;
impl $n {
    pub fn is_empty(&self) -> bool { true }
    pub fn volatile_fields(&self) -> usize { 0 }
    pub fn next_expiry(&self) -> Option<i64> { None }
    pub fn expire_due(&mut self, _: i64, _: usize, _: impl FnMut(&[u8])) -> usize { 0 }
})* } }
pending!(List Hash ZSet);
