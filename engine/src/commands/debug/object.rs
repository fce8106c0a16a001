//! DEBUG OBJECT: what is known of one entry.

use crate::command::Args;
use crate::commands::keys::{encoding_name, reference_count};
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::{StrRef, ValueRef, evict};
use crate::rdb::save::{self, SaveOptions};
use crate::reply::Reply;
use crate::types::list::{List, ListNode};
use crate::types::listpack::Listpack;
use std::fmt::Write as _;

pub(super) fn object(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let fast = args.get(3).eq_ignore_ascii_case(b"FAST");
    // A key whose time has come is there until somebody removes it: this shows it.
    let entry = ctx.keyspace.stored_entry(args.get(2)).ok_or(CommandError::NoSuchKey)?;
    let (value, clock, now_ms) = (entry.value(), entry.clock(), ctx.keyspace.now_ms());
    let mut text = format!(
        "Value at:{:#x} refcount:{} encoding:{}",
        entry.address(),
        reference_count(value, ctx.settings),
        encoding_name(value)
    );
    if !fast {
        let _ = write!(text, " serializedlength:{}", serialized_len(value));
    }
    let _ = write!(
        text,
        " lru:{clock} lru_seconds_idle:{} lfu_freq:{} lfu_access_time_minutes:{}",
        evict::idle_seconds(clock, now_ms),
        evict::decayed(clock, ctx.settings, now_ms),
        clock >> 8
    );
    if let ValueRef::List(list) = value
        && !list.is_listpack()
    {
        let nodes = list.node_count();
        let _ = write!(
            text,
            " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:{}",
            list.len() as f64 / nodes.max(1) as f64,
            ctx.settings.list_max_listpack_size,
            u8::from(ctx.settings.list_compress_depth > 0)
        );
        if !fast {
            let _ = write!(text, " ql_uncompressed_size:{}", node_bytes(list).sum::<usize>());
        }
    }
    ctx.out.status(&text);
    Ok(Reply::Written)
}

/// The listpack that is all of a value.
pub(super) fn packed(value: ValueRef<'_>) -> Option<&Listpack> {
    match value {
        ValueRef::Str(_) | ValueRef::Stream(_) => None,
        ValueRef::List(list) if list.is_listpack() => list.nodes().find_map(|node| match node {
            ListNode::Packed(pack) => Some(pack),
            ListNode::Plain(_) => None,
        }),
        ValueRef::List(_) => None,
        ValueRef::Set(set) => set.as_listpack(),
        ValueRef::Hash(hash) => hash.as_listpack(),
        ValueRef::ZSet(zset) => zset.as_listpack(),
    }
}

fn node_bytes(list: &List) -> impl Iterator<Item = usize> {
    list.nodes().map(|node| match node {
        ListNode::Packed(pack) => pack.bytes_len(),
        ListNode::Plain(element) => element.len(),
    })
}

/// Bytes of the value in a snapshot that is not compressed.
fn serialized_len(value: ValueRef<'_>) -> usize {
    // A set in an intset or a collection in a listpack is written as one string.
    if let Some(pack) = packed(value) {
        let list = usize::from(matches!(value, ValueRef::List(_)));
        return 2 * list + string_len(pack.bytes_len());
    }
    match value {
        ValueRef::Str(StrRef::Int(n)) => match n {
            -0x80..=0x7f => 2,
            -0x8000..=0x7fff => 3,
            -0x8000_0000..=0x7fff_ffff => 5,
            _ => string_len(StrRef::Int(n).len()),
        },
        ValueRef::Str(text) => string_len(text.len()),
        ValueRef::List(list) => {
            length_len(list.node_count()) + node_bytes(list).map(|bytes| 1 + string_len(bytes)).sum::<usize>()
        }
        ValueRef::Set(set) => match set.as_intset() {
            Some(ints) => string_len(ints.as_bytes().len()),
            None => {
                length_len(set.len()) + set.iter().map(|member| string_len(member.text_len())).sum::<usize>()
            }
        },
        ValueRef::Hash(hash) => {
            let fields = hash.iter(crate::types::hash::BEFORE_ALL);
            let strings = fields.map(|f| string_len(f.name.text_len()) + string_len(f.value.text_len()));
            length_len(hash.len()) + strings.sum::<usize>()
        }
        ValueRef::ZSet(zset) => {
            let entries = zset.iter().map(|entry| string_len(entry.member.text_len()) + size_of::<f64>());
            length_len(zset.len()) + entries.sum::<usize>()
        }
        // Groups make it too involved to guess.
        ValueRef::Stream(_) => {
            let options = SaveOptions { compress: false, ..SaveOptions::default() };
            let mut bytes = Vec::new();
            save::value(&mut bytes, &options, value);
            bytes.len() - 1
        }
    }
}

fn string_len(bytes: usize) -> usize {
    length_len(bytes) + bytes
}

/// Bytes of a length in a snapshot.
fn length_len(n: usize) -> usize {
    match n {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0xffff_ffff => 5,
        _ => 9,
    }
}
