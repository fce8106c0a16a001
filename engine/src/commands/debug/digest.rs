//! DEBUG DIGEST: a SHA-1 over all data, the same as real servers compute for the same data.
//!
//! Two ways to add something to a digest: *xor* its hash into it, where order does not matter, or *mix* it in,
//! which hashes the result once more, where it does.
//!
//! | value      | is digested as                                              |
//! |------------|-------------------------------------------------------------|
//! | string     | mixed                                                       |
//! | list       | elements mixed one after the other                          |
//! | set        | members xored                                               |
//! | hash       | xor of: name and value mixed from zero                      |
//! | sorted set | xor of: member and score (as text) mixed from zero          |
//! | stream     | id (as `ms.seq`), fields and values mixed one after the other |

use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::entry::Entry;
use crate::keyspace::{ValueRef, scan};
use crate::number::format_f64_fpconv;
use crate::reply::Reply;
use crate::types::hash::BEFORE_ALL;
use crate::types::listpack::{IntText, LpEntry};
use sha1::{Digest as _, Sha1};
use std::fmt::Write as _;

#[derive(Default)]
struct Digest([u8; 20]);

impl Digest {
    fn xor(&mut self, data: &[u8]) {
        let hash = Sha1::digest(data);
        self.0.iter_mut().zip(hash).for_each(|(byte, other)| *byte ^= other);
    }

    fn mix(&mut self, data: &[u8]) {
        self.xor(data);
        self.0 = Sha1::digest(self.0).into();
    }

    fn mix_entry(&mut self, entry: LpEntry<'_>) {
        self.mix(entry.as_slice(&mut IntText::default()));
    }

    /// Adds a value with the fact that it expires, as far as it does.
    fn add(&mut self, entry: &Entry) {
        // The numbers of the types are those of Redis.
        let (kind, value) = match entry.value() {
            value @ ValueRef::Str(_) => (0u32, value),
            value @ ValueRef::List(_) => (1, value),
            value @ ValueRef::Set(_) => (2, value),
            value @ ValueRef::ZSet(_) => (3, value),
            value @ ValueRef::Hash(_) => (4, value),
            value @ ValueRef::Stream(_) => (6, value),
        };
        self.mix(&kind.to_be_bytes());
        match value {
            ValueRef::Str(text) => self.mix(text.bytes(&mut itoa::Buffer::new())),
            ValueRef::List(list) => list.iter().for_each(|element| self.mix_entry(element)),
            ValueRef::Set(set) => {
                set.iter().for_each(|member| self.xor(member.as_slice(&mut IntText::default())));
            }
            ValueRef::Hash(hash) => {
                // Fields that have expired count until they are removed, as keys do.
                for field in hash.iter(BEFORE_ALL) {
                    let mut digest = Self::default();
                    digest.mix_entry(field.name);
                    digest.mix_entry(field.value);
                    self.xor(&digest.0);
                }
            }
            ValueRef::ZSet(zset) => {
                for entry in zset.iter() {
                    let mut digest = Self::default();
                    digest.mix_entry(entry.member);
                    digest.mix(format_f64_fpconv(entry.score).as_bytes());
                    self.xor(&digest.0);
                }
            }
            ValueRef::Stream(stream) => {
                for entry in stream.log().iter() {
                    self.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for (field, value) in entry.fields {
                        self.mix_entry(field);
                        self.mix_entry(value);
                    }
                }
            }
        }
        if entry.expiry().is_some() {
            self.xor(b"!!expire!!");
        }
    }

    fn text(&self) -> String {
        self.0.iter().fold(String::with_capacity(40), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

pub(super) fn dataset(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Reply, CommandError> {
    let here = ctx.keyspace.db();
    let mut all = Digest::default();
    for db in 0..ctx.settings.databases {
        if ctx.keyspace.shards().all(|shard| shard.counts(db).keys == 0) {
            continue;
        }
        all.mix(&(db as u32).to_be_bytes());
        ctx.keyspace.select(db);
        for entry in scan::all(&ctx.keyspace, None) {
            let mut digest = Digest::default();
            digest.mix(entry.key());
            digest.add(entry);
            all.xor(&digest.0);
        }
    }
    ctx.keyspace.select(here);
    ctx.out.status(&all.text());
    Ok(Reply::Written)
}

pub(super) fn values(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    args.seek(2);
    let keys = args.rest();
    ctx.out.array(keys.len());
    for key in keys {
        let mut digest = Digest::default();
        if let Some(entry) = ctx.keyspace.stored_entry(key) {
            digest.add(entry);
        }
        ctx.out.status(&digest.text());
    }
    Ok(Reply::Written)
}
