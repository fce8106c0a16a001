//! Quicklist: a long list as a chain of nodes, each a listpack or one large element.
//!
//! When an element joins a node, gets one of its own, or splits one follows Redis: the number of nodes decides
//! when a shrinking list turns into a single listpack again, which clients see in `OBJECT ENCODING`.

use super::nodes::{Content, Gap, Node, Nodes, Place};
use super::{End, NodeLimit};
use crate::types::listpack::{Listpack, LpEntry, LpValue, Needle, Pos};

/// Added to the text of an element when asked whether a node can take it: more than its entry ever needs on
/// top within the sizes of nodes. Redis adds the same.
const ENTRY_OVERHEAD_BYTES: usize = 8;

/// Replacing elements by larger ones lets a node grow up to here.
const OVERGROWN_NODE_BYTES_MAX: usize = 256 << 10;

/// Header and end of a listpack, of which joining two saves one.
const LISTPACK_FRAME_BYTES: usize = 7;

/// A list in nodes; see the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Quicklist {
    nodes: Nodes,
}

impl Quicklist {
    /// Appends a listpack as a node of its own.
    pub fn append_packed(&mut self, lp: Listpack) {
        if !lp.is_empty() {
            self.nodes.push_back(Node::packed(lp));
        }
    }

    /// Appends a large element as a node of its own.
    pub fn append_plain(&mut self, element: Box<[u8]>) {
        self.nodes.push_back(Node::plain(element));
    }

    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The one node of the list, if there is only one and it is packed.
    pub fn single_packed(&self) -> Option<&Listpack> {
        match self.nodes.len() {
            1 => self.nodes.iter().next()?.as_packed(),
            _ => None,
        }
    }

    /// Takes the one packed node out of the list.
    pub fn take_single_packed(&mut self) -> Option<Listpack> {
        self.single_packed()?;
        match self.nodes.remove(self.nodes.first()?).0.into_content() {
            Content::Packed(lp) => Some(lp),
            Content::Plain(_) => None,
        }
    }

    pub fn push_front(&mut self, element: &[u8], limit: NodeLimit) {
        match self.nodes.first() {
            Some(place) if self.accepts(place, element, limit) => {
                self.edit_packed(place, |lp| lp.push_front(element));
            }
            _ => self.nodes.push_front(new_node(element, limit)),
        }
    }

    pub fn push_back(&mut self, element: &[u8], limit: NodeLimit) {
        match self.nodes.last() {
            Some(place) if self.accepts(place, element, limit) => {
                self.edit_packed(place, |lp| lp.push_back(element));
            }
            _ => self.nodes.push_back(new_node(element, limit)),
        }
    }

    pub fn front(&self) -> Option<LpEntry<'_>> {
        self.nodes.get(self.nodes.first()?)?.front()
    }

    pub fn back(&self) -> Option<LpEntry<'_>> {
        self.nodes.get(self.nodes.last()?)?.back()
    }

    pub fn pop_front(&mut self) -> Option<LpValue> {
        let place = self.nodes.first()?;
        let value = self.nodes.edit(place, Node::pop_front);
        self.remove_if_empty(place);
        value
    }

    pub fn pop_back(&mut self) -> Option<LpValue> {
        let place = self.nodes.last()?;
        let value = self.nodes.edit(place, Node::pop_back);
        self.remove_if_empty(place);
        value
    }

    /// Removes the element at one end; false if there is none.
    pub fn discard(&mut self, end: End) -> bool {
        let place = if end == End::Head { self.nodes.first() } else { self.nodes.last() };
        let Some(place) = place else {
            return false;
        };
        self.nodes.edit(place, |node| {
            let offset = if end == End::Head { 0 } else { node.count().saturating_sub(1) };
            node.remove_range(offset, 1);
        });
        self.remove_if_empty(place);
        true
    }

    pub fn get(&self, index: usize) -> Option<LpEntry<'_>> {
        let (place, offset) = self.nodes.locate(index)?;
        self.nodes.get(place)?.get(offset)
    }

    /// Replaces element number `index`; false if there is none.
    pub fn set(&mut self, index: usize, element: &[u8], limit: NodeLimit) -> bool {
        let Some((place, offset)) = self.nodes.locate(index) else {
            return false;
        };
        let large = limit.is_large(element.len());
        match self.packed(place).and_then(|lp| Some((lp.seek(offset as isize)?, lp.bytes_len()))) {
            // As in Redis a node may grow over its limit this way, but not without end.
            Some((pos, bytes)) if !large && bytes + element.len() <= OVERGROWN_NODE_BYTES_MAX => {
                self.edit_packed(place, |lp| lp.replace(pos, element));
            }
            Some((pos, _)) => self.replace_by_insertion(place, pos, element, limit),
            None if large => self.nodes.edit(place, |node| *node = new_node(element, limit)),
            None => self.replace_large(place, element, limit),
        }
        true
    }

    /// Replaces an entry of a packed node by an element for which that node has no room: the node is split
    /// around a new one.
    fn replace_by_insertion(&mut self, place: Place, pos: Pos, element: &[u8], limit: NodeLimit) {
        let new = new_node(element, limit);
        let Some(mut tail) = self.edit_packed(place, |lp| lp.split_off(pos)) else {
            return;
        };
        tail.pop_front();
        if self.nodes.get(place).is_some_and(|left| left.count() == 0) {
            self.nodes.edit(place, |node| *node = new);
            if !tail.is_empty() {
                self.nodes.insert(place.following(), Node::packed(tail));
            }
            return;
        }
        let mut middle = self.nodes.insert(place.following(), new);
        if !tail.is_empty() {
            let right = self.nodes.insert(middle.following(), Node::packed(tail));
            middle = self.nodes.prev(right).unwrap_or(middle);
        }
        self.join_around(middle, limit);
    }

    /// Replaces a plain element by one that is not large: it joins the next node if that has room.
    fn replace_large(&mut self, place: Place, element: &[u8], limit: NodeLimit) {
        match self.nodes.next(place) {
            Some(next) if self.accepts(next, element, limit) => {
                self.edit_packed(next, |lp| lp.push_front(element));
                self.nodes.remove(place);
            }
            _ => self.nodes.edit(place, |node| *node = new_node(element, limit)),
        }
    }

    /// Inserts `element` before or after the first one equal to `pivot`; false if there is none. O(n).
    pub fn insert_at_pivot(&mut self, after: bool, pivot: &[u8], element: &[u8], limit: NodeLimit) -> bool {
        let mut place = self.nodes.first();
        while let Some(at) = place {
            if let Some(gap) = self.nodes.get(at).and_then(|node| gap_at_pivot(node, after, pivot)) {
                self.insert(at, gap, element, limit);
                return true;
            }
            place = self.nodes.next(at);
        }
        false
    }

    /// Inserts into the node at `place`, or next to it if it has no room.
    fn insert(&mut self, place: Place, gap: Gap, element: &[u8], limit: NodeLimit) {
        if self.accepts(place, element, limit) {
            self.edit_packed(place, |lp| match gap {
                Gap::Front => lp.push_front(element),
                Gap::Between { next, .. } => _ = lp.insert_before(next, element),
                Gap::Back => lp.push_back(element),
            });
            return;
        }
        match gap {
            Gap::Front => match self.nodes.prev(place) {
                Some(prev) if self.accepts(prev, element, limit) => {
                    self.edit_packed(prev, |lp| lp.push_back(element));
                }
                _ => _ = self.nodes.insert(place, new_node(element, limit)),
            },
            Gap::Back => match self.nodes.next(place) {
                Some(next) if self.accepts(next, element, limit) => {
                    self.edit_packed(next, |lp| lp.push_front(element));
                }
                _ => _ = self.nodes.insert(place.following(), new_node(element, limit)),
            },
            Gap::Between { next, with_next } => self.split_and_insert(place, next, with_next, element, limit),
        }
    }

    /// Splits the node at `place`, which has no room, before the entry at `pos`. A large element gets a node
    /// between the halves; any other goes to one half, and the halves join their neighbours where possible.
    fn split_and_insert(
        &mut self,
        place: Place,
        pos: Pos,
        with_next: bool,
        element: &[u8],
        limit: NodeLimit,
    ) {
        let Some(mut half) = self.edit_packed(place, |lp| lp.split_off(pos)) else {
            return;
        };
        if limit.is_large(element.len()) {
            let middle = self.nodes.insert(place.following(), Node::plain(element.into()));
            self.nodes.insert(middle.following(), Node::packed(half));
            return;
        }
        if with_next {
            half.push_front(element);
        } else {
            self.edit_packed(place, |lp| lp.push_back(element));
        }
        let right = self.nodes.insert(place.following(), Node::packed(half));
        // The half that did not get the element is the one around which Redis joins.
        let center = if with_next { self.nodes.prev(right) } else { Some(right) };
        if let Some(center) = center {
            self.join_around(center, limit);
        }
    }

    /// Joins the pairs of neighbours up to two nodes away from `center` that fit into one node, in the order in
    /// which Redis tries them: the two before, the two behind, then `center` with what is next to it.
    fn join_around(&mut self, mut center: Place, limit: NodeLimit) {
        if let Some(prev) = self.nodes.prev(center)
            && let Some(joined) = self.nodes.prev(prev).and_then(|first| self.try_join(first, prev, limit))
        {
            center = self.nodes.next(joined).unwrap_or(joined);
        }
        if let Some(next) = self.nodes.next(center)
            && let Some(joined) = self.nodes.next(next).and_then(|last| self.try_join(next, last, limit))
        {
            center = self.nodes.prev(joined).unwrap_or(joined);
        }
        if let Some(joined) = self.nodes.prev(center).and_then(|prev| self.try_join(prev, center, limit)) {
            center = joined;
        }
        if let Some(next) = self.nodes.next(center) {
            self.try_join(center, next, limit);
        }
    }

    /// Removes `count` elements from number `start` on, as far as there are so many. O(nodes removed).
    pub fn remove_range(&mut self, start: usize, mut count: usize) {
        let Some((place, offset)) = self.nodes.locate(start) else {
            return;
        };
        if offset == 0 {
            return self.nodes.remove_elements(Some(place), count);
        }
        let taken = self.nodes.edit(place, |node| {
            let before = node.count();
            node.remove_range(offset, count);
            before - node.count()
        });
        count -= taken;
        self.nodes.remove_elements(self.nodes.next(place), count);
    }

    /// Removes elements equal to `needle`, at most `max`, the first or else the last ones. O(n).
    pub fn remove_matching(&mut self, needle: &Needle<'_>, max: usize, from_tail: bool) -> usize {
        let mut removed = 0;
        let mut place = if from_tail { self.nodes.last() } else { self.nodes.first() };
        while let Some(at) = place
            && removed < max
        {
            let (here, left) = self.nodes.edit(at, |node| {
                let here = node.remove_matching(needle, max - removed, from_tail);
                (here, node.count())
            });
            removed += here;
            place = match (left, from_tail) {
                (0, false) => self.nodes.remove(at).1,
                (0, true) => match self.nodes.remove(at).1 {
                    Some(next) => self.nodes.prev(next),
                    None => self.nodes.last(),
                },
                (_, false) => self.nodes.next(at),
                (_, true) => self.nodes.prev(at),
            };
        }
        removed
    }

    fn packed(&self, place: Place) -> Option<&Listpack> {
        self.nodes.get(place)?.as_packed()
    }

    fn edit_packed<R>(&mut self, place: Place, change: impl FnOnce(&mut Listpack) -> R) -> Option<R> {
        self.nodes.edit(place, |node| node.edit_packed(change))
    }

    fn remove_if_empty(&mut self, place: Place) {
        if self.nodes.get(place).is_some_and(|node| node.count() == 0) {
            self.nodes.remove(place);
        }
    }

    /// Whether the node at `place` has room for one more element.
    fn accepts(&self, place: Place, element: &[u8], limit: NodeLimit) -> bool {
        if limit.is_large(element.len()) {
            return false;
        }
        self.nodes.get(place).is_some_and(|node| {
            let bytes = node.bytes_len() + element.len() + ENTRY_OVERHEAD_BYTES;
            node.as_packed().is_some() && !limit.is_exceeded(bytes, node.count() + 1)
        })
    }

    /// Moves everything from the node at `right` to the one at `left` if that has room; returns where it is now.
    fn try_join(&mut self, left: Place, right: Place, limit: NodeLimit) -> Option<Place> {
        let (a, b) = (self.packed(left)?, self.packed(right)?);
        if limit.is_exceeded(a.bytes_len() + b.bytes_len() - LISTPACK_FRAME_BYTES, a.len() + b.len()) {
            return None;
        }
        let moved = self.edit_packed(right, std::mem::take)?;
        self.edit_packed(left, |lp| lp.append(&moved));
        match self.nodes.remove(right).1 {
            Some(next) => self.nodes.prev(next),
            None => self.nodes.last(),
        }
    }
}

fn new_node(element: &[u8], limit: NodeLimit) -> Node {
    match limit.is_large(element.len()) {
        true => Node::plain(element.into()),
        false => Node::packed([element].into_iter().collect()),
    }
}

fn gap_at_pivot(node: &Node, after: bool, pivot: &[u8]) -> Option<Gap> {
    let lp = match node.content() {
        Content::Packed(lp) => lp,
        Content::Plain(element) if **element == *pivot => {
            return Some(if after { Gap::Back } else { Gap::Front });
        }
        Content::Plain(_) => return None,
    };
    let pos = lp.find(pivot, 0)?;
    Some(match (after, lp.next(pos)) {
        (true, Some(next)) => Gap::Between { next, with_next: true },
        (true, None) => Gap::Back,
        (false, _) if lp.first() == Some(pos) => Gap::Front,
        (false, _) => Gap::Between { next: pos, with_next: false },
    })
}
