//! The model of a list: a `VecDeque`, and every operation done in the plainest way.

use crate::types::list::{End, List, ListNode, NodeLimit, Side};
use crate::types::listpack::{Listpack, LpEntry, LpValue};
use std::collections::VecDeque;

/// What a [`List`] must be equal to.
pub type ListModel = VecDeque<Vec<u8>>;

/// One operation on a list.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the variants are named after the methods of `List`")]
pub enum ListOp {
    PushFront(Vec<u8>),
    PushBack(Vec<u8>),
    ExtendFront(Vec<Vec<u8>>),
    ExtendBack(Vec<Vec<u8>>),
    PopFront,
    PopBack,
    Discard(End),
    /// From, to.
    Rotate(End, End),
    Get(i64),
    Set(i64, Vec<u8>),
    /// Side, pivot, element.
    Insert(Side, Vec<u8>, Vec<u8>),
    RemoveValue(i64, Vec<u8>),
    Trim(i64, i64),
    /// Start, count.
    RemoveRange(usize, usize),
    /// Start, count, towards the head.
    Range(usize, usize, bool),
    /// Value, rank, maximum length.
    Positions(Vec<u8>, i64, usize),
    /// Build the list anew from its nodes, as a snapshot does.
    Reload,
}

/// What an operation returned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are named after the methods of `List`")]
pub enum Outcome {
    Done,
    Found(bool),
    Removed(usize),
    Elements(Vec<Vec<u8>>),
    Indexes(Vec<usize>),
}

/// All elements of a list.
pub fn elements(list: &List) -> Vec<Vec<u8>> {
    list.iter().map(|entry| entry.to_vec()).collect()
}

impl ListOp {
    /// Does it to the real list.
    pub fn run(&self, list: &mut List, limit: NodeLimit) -> Outcome {
        match self {
            ListOp::PushFront(e) => list.push_front(e, limit),
            ListOp::PushBack(e) => list.push_back(e, limit),
            ListOp::ExtendFront(es) => list.extend_front(es.iter().map(Vec::as_slice), limit),
            ListOp::ExtendBack(es) => list.extend_back(es.iter().map(Vec::as_slice), limit),
            ListOp::PopFront => return pop(list, limit, List::front, List::pop_front),
            ListOp::PopBack => return pop(list, limit, List::back, List::pop_back),
            ListOp::Discard(end) => return Outcome::Found(list.discard(*end, limit)),
            ListOp::Rotate(from, to) => {
                let moved = list.rotate(*from, *to, limit).map(LpValue::into_vec);
                return Outcome::Elements(moved.into_iter().collect());
            }
            ListOp::Get(i) => {
                return Outcome::Elements(list.get(*i).map(|e| e.to_vec()).into_iter().collect());
            }
            ListOp::Set(i, e) => return Outcome::Found(list.set(*i, e, limit)),
            ListOp::Insert(side, pivot, e) => return Outcome::Found(list.insert(*side, pivot, e, limit)),
            ListOp::RemoveValue(n, e) => return Outcome::Removed(list.remove_value(*n, e, limit)),
            ListOp::Trim(start, stop) => return Outcome::Removed(list.trim(*start, *stop, limit)),
            ListOp::RemoveRange(start, n) => return Outcome::Removed(list.remove_range(*start, *n, limit)),
            ListOp::Range(start, n, back) => {
                let range = if *back { list.range_back(*start, *n) } else { list.range(*start, *n) };
                return Outcome::Elements(range.map(|e| e.to_vec()).collect());
            }
            ListOp::Positions(e, rank, max_len) => {
                return Outcome::Indexes(list.positions(e, *rank, *max_len).collect());
            }
            ListOp::Reload => *list = reload(list, limit),
        }
        Outcome::Done
    }

    /// Does it to the model.
    pub fn run_on_model(&self, model: &mut ListModel) -> Outcome {
        match self {
            ListOp::PushFront(e) => model.push_front(e.clone()),
            ListOp::PushBack(e) => model.push_back(e.clone()),
            ListOp::ExtendFront(es) => es.iter().for_each(|e| model.push_front(e.clone())),
            ListOp::ExtendBack(es) => model.extend(es.iter().cloned()),
            ListOp::PopFront => return Outcome::Elements(model.pop_front().into_iter().collect()),
            ListOp::PopBack => return Outcome::Elements(model.pop_back().into_iter().collect()),
            ListOp::Discard(end) => return Outcome::Found(pop_model(model, *end).is_some()),
            ListOp::Rotate(from, to) => {
                let moved = pop_model(model, *from);
                moved.iter().for_each(|element| match to {
                    End::Head => model.push_front(element.clone()),
                    End::Tail => model.push_back(element.clone()),
                });
                return Outcome::Elements(moved.into_iter().collect());
            }
            ListOp::Get(i) => {
                return Outcome::Elements(at(model, *i).map(|i| model[i].clone()).into_iter().collect());
            }
            ListOp::Set(i, e) => {
                let index = at(model, *i);
                index.into_iter().for_each(|i| model[i] = e.clone());
                return Outcome::Found(index.is_some());
            }
            ListOp::Insert(side, pivot, e) => {
                let index = model.iter().position(|have| have == pivot);
                index
                    .into_iter()
                    .for_each(|i| model.insert(i + usize::from(*side == Side::After), e.clone()));
                return Outcome::Found(index.is_some());
            }
            ListOp::RemoveValue(n, e) => return Outcome::Removed(remove_value(model, *n, e)),
            ListOp::Trim(start, stop) => return Outcome::Removed(trim(model, *start, *stop)),
            ListOp::RemoveRange(start, n) => {
                let before = model.len();
                let start = (*start).min(before);
                model.drain(start..before.min(start + n));
                return Outcome::Removed(before - model.len());
            }
            ListOp::Range(start, n, false) => {
                return Outcome::Elements(model.iter().skip(*start).take(*n).cloned().collect());
            }
            ListOp::Range(start, n, true) if *start < model.len() => {
                return Outcome::Elements(model.range(..=*start).rev().take(*n).cloned().collect());
            }
            ListOp::Range(..) => return Outcome::Elements(vec![]),
            ListOp::Positions(e, rank, max_len) => {
                return Outcome::Indexes(positions(model, e, *rank, *max_len));
            }
            ListOp::Reload => {}
        }
        Outcome::Done
    }
}

/// Pops, after checking that the peek shows what the pop then returns.
fn pop(
    list: &mut List,
    limit: NodeLimit,
    peek: impl for<'a> Fn(&'a List) -> Option<LpEntry<'a>>,
    pop: impl Fn(&mut List, NodeLimit) -> Option<LpValue>,
) -> Outcome {
    let peeked = peek(list).map(|entry| entry.to_value());
    let popped = pop(list, limit);
    assert_eq!(peeked, popped);
    Outcome::Elements(popped.map(LpValue::into_vec).into_iter().collect())
}

fn pop_model(model: &mut ListModel, end: End) -> Option<Vec<u8>> {
    match end {
        End::Head => model.pop_front(),
        End::Tail => model.pop_back(),
    }
}

fn reload(list: &List, limit: NodeLimit) -> List {
    let mut loaded = List::new();
    for node in list.nodes() {
        match node {
            ListNode::Packed(lp) => {
                loaded.append_packed(Listpack::from_bytes_checked(lp.as_bytes()).expect("its own bytes"));
            }
            ListNode::Plain(element) => loaded.append_plain(element.into()),
        }
    }
    loaded.settle(limit);
    loaded
}

fn at(model: &ListModel, index: i64) -> Option<usize> {
    let len = model.len() as i128;
    let index = i128::from(index) + if index < 0 { len } else { 0 };
    (0..len).contains(&index).then_some(index as usize)
}

fn trim(model: &mut ListModel, start: i64, stop: i64) -> usize {
    let len = model.len() as i128;
    let from_end = |index: i64| i128::from(index) + if index < 0 { len } else { 0 };
    let (start, stop) = (from_end(start), from_end(stop));
    let mut index = -1;
    model.retain(|_| {
        index += 1;
        (start..=stop).contains(&index)
    });
    len as usize - model.len()
}

fn remove_value(model: &mut ListModel, count: i64, value: &[u8]) -> usize {
    let mut found: Vec<usize> = (0..model.len()).filter(|&i| model[i] == value).collect();
    if count < 0 {
        found.reverse();
    }
    if count != 0 {
        found.truncate(count.unsigned_abs() as usize);
    }
    found.sort_unstable();
    found.iter().rev().for_each(|&i| _ = model.remove(i));
    found.len()
}

fn positions(model: &ListModel, value: &[u8], rank: i64, max_len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..model.len()).collect();
    if rank < 0 {
        order.reverse();
    }
    if max_len > 0 {
        order.truncate(max_len);
    }
    let skipped = rank.unsigned_abs().saturating_sub(1) as usize;
    order.into_iter().filter(|&i| model[i] == value).skip(skipped).collect()
}
