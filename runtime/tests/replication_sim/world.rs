//! What happens in a world, and what must hold in it.

use crate::link::{Command, Down, Link, Taking};
use crate::node::{self, Data, Node, Serving, WRITE};
use baton::replication::backlog::Lost;
use baton::replication::handshake::{self, Facts, Handshake, Outcome};
use baton::replication::identity::{Decision, ReplId, Request};
use baton::replication::primary::{self, Action, Event, How, Limits, Phase, Replica};
use baton_engine::random::Rng;

const NODES: usize = 4;
const STEPS: usize = 300;
const QUIET_STEPS: usize = 20_000;
const LIMITS: Limits = Limits {
    timeout_ms: 3_000,
    hard_bytes: 100 * WRITE as u64,
    soft_bytes: 66 * WRITE as u64,
    soft_ms: 1_000,
};

/// How often things happened.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub writes: u64,
    pub full: u64,
    pub partial: u64,
    pub crashes: u64,
    /// Nodes that came back with a log that says which history it belongs to.
    pub resumed: u64,
    pub cuts: u64,
    pub failovers: u64,
    pub confirmed: u64,
    pub too_slow: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        self.writes += other.writes;
        self.full += other.full;
        self.partial += other.partial;
        self.crashes += other.crashes;
        self.resumed += other.resumed;
        self.cuts += other.cuts;
        self.failovers += other.failovers;
        self.confirmed += other.confirmed;
        self.too_slow += other.too_slow;
    }
}

/// A write that a replica has confirmed: it is lost only if that replica is, or is told to follow one that lacks it.
struct Confirmed {
    value: u64,
    by: usize,
    crashes: u64,
}

pub struct World {
    rng: Rng,
    now_ms: i64,
    nodes: Vec<Node>,
    links: Vec<Link>,
    next_link: u64,
    next_value: u64,
    confirmed: Vec<Confirmed>,
    told: Vec<String>,
    pub seen: Seen,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let nodes = (0..NODES).map(|node| {
            let has_log = rng.below(2) == 0;
            Node::new(random_id(&mut rng), (node > 0).then_some(0), has_log)
        });
        let nodes = nodes.collect();
        Self {
            rng,
            now_ms: 1_000,
            nodes,
            links: Vec::new(),
            next_link: 1,
            next_value: 1,
            confirmed: Vec::new(),
            told: Vec::new(),
            seen: Seen::default(),
        }
    }

    pub fn run(&mut self) {
        for _ in 0..STEPS {
            self.happen();
            self.flow();
        }
        self.come_to_rest();
    }

    /// What happened last.
    pub fn tail(&self) -> String {
        self.told[self.told.len().saturating_sub(60)..].join("\n")
    }

    fn tell(&mut self, text: String) {
        self.told.push(format!("{} {text}", self.now_ms));
    }

    fn primary(&self) -> usize {
        self.nodes.iter().position(|node| node.of.is_none()).expect("one is the primary")
    }

    fn later(&mut self) -> i64 {
        let most = if self.rng.below(500) == 0 { 1_500 } else { 12 };
        self.now_ms + self.rng.below(most) as i64
    }

    // ---- events --------------------------------------------------------------------------------------------

    fn happen(&mut self) {
        let node = self.rng.below(NODES);
        match self.rng.below(200) {
            0..70 => self.write(),
            70..100 => (0..self.rng.below(30)).for_each(|_| self.flow()),
            100..104 if !self.links.is_empty() => {
                let at = self.rng.below(self.links.len());
                self.cut(at, "by chance");
                self.seen.cuts += 1;
            }
            104..112
                if self.nodes[node].is_up && (self.nodes[node].of.is_none() || self.nodes[node].knows) =>
            {
                self.nodes[node].save();
                if let Some(log) = &mut self.nodes[node].log {
                    log.sync();
                }
            }
            112..114 if self.nodes[node].is_up => self.crash(node),
            114..124 if !self.nodes[node].is_up => self.restart(node),
            124..126 => self.fail_over(),
            126..128 => self.follow_another(node),
            128..160 => self.confirm(),
            _ => self.now_ms += self.rng.below(10) as i64,
        }
    }

    fn write(&mut self) {
        let primary = self.primary();
        if !self.nodes[primary].is_up {
            return;
        }
        for _ in 0..=self.rng.below(3) {
            let write = node::write(self.rng.below(20) as u8, self.next_value);
            self.next_value += 1;
            self.nodes[primary].apply(&write);
            self.seen.writes += 1;
        }
    }

    /// WAIT, after the last write.
    fn confirm(&mut self) {
        let node = &self.nodes[self.primary()];
        let Some(value) = node.data.values.last().copied().filter(|_| node.is_up) else { return };
        let offset = node.offset;
        for (link, serving) in &node.served {
            if serving.replica.phase == Phase::Online
                && serving.replica.has >= offset
                && let Some(link) = self.links.iter().find(|other| other.id == *link)
            {
                let crashes = self.nodes[link.replica].crashes;
                self.confirmed.push(Confirmed { value, by: link.replica, crashes });
                self.seen.confirmed += 1;
            }
        }
    }

    fn crash(&mut self, node: usize) {
        self.tell(format!("{node} crashes"));
        self.nodes[node].crash();
        self.seen.crashes += 1;
        // A process that is killed loses nothing of what it wrote, a machine may.
        if self.rng.below(3) == 0
            && let Some(log) = &mut self.nodes[node].log
        {
            log.lose(|most| self.rng.below(most));
        }
        self.cut_all_of(node);
    }

    fn restart(&mut self, node: usize) {
        let id = random_id(&mut self.rng);
        self.nodes[node].restart(id);
        self.seen.resumed += u64::from(self.nodes[node].log.is_some() && self.nodes[node].knows);
        if self.nodes[node].of.is_none() {
            // What it has lost its replicas will lose too: nobody has promised anything else.
            self.confirmed.clear();
        }
        let (offset, history) = (self.nodes[node].offset, self.nodes[node].history.clone());
        self.tell(format!("{node} is back at {offset} of {history:?}"));
    }

    /// The primary is given up, and the replica that is farthest takes over.
    fn fail_over(&mut self) {
        let old = self.primary();
        let id = self.nodes[old].history.id;
        let candidates = (0..NODES).filter(|node| {
            let it = &self.nodes[*node];
            *node != old && it.is_up && it.knows && it.history.id == id
        });
        let Some(new) = candidates.max_by_key(|node| self.nodes[*node].offset) else { return };
        self.seen.failovers += 1;
        for Confirmed { value, by, crashes } in std::mem::take(&mut self.confirmed) {
            let witness = &self.nodes[by];
            // One that was sent all data of a replica that lags has given up what it had.
            let keeps = witness.knows && witness.data.values.contains(&value);
            if keeps && witness.is_up && witness.crashes == crashes && witness.history.id == id {
                assert!(
                    self.nodes[new].data.values.contains(&value),
                    "{value} was confirmed by {by}, {new} lacks it"
                );
            }
        }
        if self.nodes[old].is_up {
            self.nodes[old].crash();
            self.cut_all_of(old);
        }
        let own = random_id(&mut self.rng);
        let node = &mut self.nodes[new];
        node.history.promote(own, node.offset);
        node.tell_log();
        let offset = node.offset;
        self.tell(format!("{new} takes over from {old} at {offset}"));
        for node in 0..NODES {
            self.nodes[node].of = (node != new).then_some(new);
            self.cut_all_of(node);
        }
    }

    /// A replica follows another replica, or the primary again.
    fn follow_another(&mut self, node: usize) {
        let primary = self.primary();
        let other = self.rng.below(NODES);
        let has_own = (0..NODES).any(|third| self.nodes[third].of == Some(node));
        if node == primary
            || other == node
            || has_own
            || other != primary && self.nodes[other].of != Some(primary)
        {
            return;
        }
        self.nodes[node].of = Some(other);
        self.cut_all_of(node);
    }

    // ---- links ---------------------------------------------------------------------------------------------

    fn cut(&mut self, at: usize, why: &str) {
        let link = self.links.remove(at);
        self.tell(format!("{} loses {}: {why}", link.replica, link.primary));
        if let Some(serving) = self.nodes[link.primary].served.remove(&link.id)
            && let Some(reader) = serving.reader
        {
            self.nodes[link.primary].backlog.detach(reader);
        }
    }

    fn cut_all_of(&mut self, node: usize) {
        while let Some(at) = self.links.iter().position(|link| link.replica == node || link.primary == node) {
            self.cut(at, "an end is gone");
        }
    }

    /// Replicas of a replica hear of a new name when they come back.
    fn send_away(&mut self, node: usize) {
        while let Some(at) = self.links.iter().position(|link| link.primary == node) {
            self.cut(at, "sent away");
        }
    }

    fn connect(&mut self) {
        for replica in 0..NODES {
            let node = &self.nodes[replica];
            let Some(primary) = node.of.filter(|of| node.is_up && self.nodes[*of].is_up) else { continue };
            if self.links.iter().any(|link| link.replica == replica) || self.rng.below(3) > 0 {
                continue;
            }
            let known = node.knows.then_some((node.history.id, node.offset));
            let facts = Facts { port: 6379, known, ..Facts::default() };
            let (state, action) = Handshake::begin();
            let id = self.next_link;
            self.next_link += 1;
            self.links.push(Link::new(id, replica, primary, Taking::Handshake(state, facts)));
            let at = self.links.len() - 1;
            self.act_as_replica(at, action);
        }
    }

    /// Everything that goes on by itself.
    fn flow(&mut self) {
        self.now_ms += 1;
        self.connect();
        let ids: Vec<u64> = self.links.iter().map(|link| link.id).collect();
        for id in ids {
            self.serve(id);
            self.deliver(id);
        }
    }

    fn at(&self, id: u64) -> Option<usize> {
        self.links.iter().position(|link| link.id == id)
    }

    fn send_down(&mut self, at: usize, down: Down) {
        let arrives_ms = self.later();
        self.links[at].send_down(arrives_ms, down);
    }

    fn send_up(&mut self, at: usize, words: &[&[u8]]) {
        let arrives_ms = self.later();
        self.links[at].send_up(arrives_ms, words.iter().map(|word| word.to_vec()).collect());
    }

    fn deliver(&mut self, id: u64) {
        while let Some(at) = self.at(id)
            && let Some(command) = self.links[at].arrived_up(self.now_ms)
        {
            self.hear(at, &command);
        }
        while let Some(at) = self.at(id)
            && let Some(down) = self.links[at].arrived_down(self.now_ms)
        {
            self.take(at, down);
        }
    }

    // ---- the primary's side --------------------------------------------------------------------------------

    /// What a replica says.
    fn hear(&mut self, at: usize, command: &Command) {
        let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        match &words[..] {
            [b"PING"] => self.send_down(at, Down::Line(b"+PONG".to_vec())),
            [b"REPLCONF", b"ACK", has] => {
                let has = str::from_utf8(has).ok().and_then(|text| text.parse().ok()).expect("a number");
                self.on(at, Event::Ack { has, synced: None });
            }
            [b"REPLCONF", ..] => self.send_down(at, Down::Line(b"+OK".to_vec())),
            [b"PSYNC", id, offset] => {
                let offset =
                    str::from_utf8(offset).ok().and_then(|text| text.parse().ok()).expect("a number");
                self.answer(at, Request::parse(id, offset));
            }
            other => panic!("no such command: {other:?}"),
        }
    }

    fn answer(&mut self, at: usize, request: Request) {
        let (id, primary) = (self.links[at].id, self.links[at].primary);
        let is_linked =
            self.links.iter().any(|link| link.replica == primary && matches!(link.taking, Taking::Stream));
        let node = &mut self.nodes[primary];
        if node.of.is_some() && !is_linked {
            return self.send_down(at, Down::Line(b"-NOMASTERLINK Can't SYNC".to_vec()));
        }
        let facts = primary::Facts { eof: true, psync2: true, ..primary::Facts::default() };
        let decision = node.history.decide(request, Some(node.backlog.range()));
        let attached = match decision {
            Decision::Continue { from } => node.backlog.attach(from, LIMITS.hard_bytes).ok(),
            Decision::FullSync(_) => None,
        };
        let Some(reader) = attached else {
            let replica = Replica::waiting(facts, self.now_ms);
            node.served.insert(id, Serving { replica, reader: None, snapshot: None });
            return;
        };
        self.seen.partial += 1;
        let mut replica = Replica::continuing(facts, self.now_ms);
        replica.has = request.has;
        node.served.insert(id, Serving { replica, reader: Some(reader), snapshot: None });
        let line = format!("+CONTINUE {}", node.history.id);
        self.send_down(at, Down::Line(line.into_bytes()));
    }

    /// Something happens to a served replica.
    fn on(&mut self, at: usize, event: Event) {
        let (id, primary) = (self.links[at].id, self.links[at].primary);
        let Some(serving) = self.nodes[primary].served.get_mut(&id) else { return };
        match serving.replica.on(event, self.now_ms, &LIMITS) {
            Action::Announce { from, .. } => {
                let line = format!("+FULLRESYNC {} {from}", self.nodes[primary].history.id);
                self.send_down(at, Down::Line(line.into_bytes()));
            }
            Action::Close(why) => {
                self.seen.too_slow += u64::from(why == primary::Why::TooSlow);
                self.cut(at, &format!("{why:?}"));
            }
            Action::Nothing | Action::SendFile | Action::Follow | Action::Newline => {}
        }
    }

    /// What a primary does for a replica without being asked.
    fn serve(&mut self, id: u64) {
        let Some(at) = self.at(id) else { return };
        let primary = self.links[at].primary;
        let node = &mut self.nodes[primary];
        let Some(serving) = node.served.get_mut(&id) else { return };
        let unread =
            serving.reader.and_then(|reader| Some(node.offset - node.backlog.position(reader)?)).unwrap_or(0);
        match serving.replica.phase {
            Phase::Waiting { .. } if self.rng.below(4) == 0 => {
                let how = if self.rng.below(2) == 0 { How::Disk } else { How::Diskless };
                let from = node.offset;
                serving.reader = node.backlog.attach(from, LIMITS.hard_bytes).ok();
                serving.snapshot = Some(node.data.clone());
                self.seen.full += 1;
                self.on(at, Event::Begun { how, from });
            }
            Phase::Saving { .. } if self.rng.below(4) == 0 => {
                let failed = self.rng.below(10) == 0;
                self.on(at, if failed { Event::SnapshotFailed } else { Event::FileReady });
            }
            Phase::Sending { .. } | Phase::Streaming { .. } if self.rng.below(4) == 0 => {
                let snapshot: Data = serving.snapshot.take().expect("one was begun for it");
                self.send_down(at, Down::Snapshot(snapshot));
                self.on(at, Event::Sent);
            }
            Phase::Online => {
                let Some(reader) = serving.reader else { return };
                let mut bytes = Vec::new();
                match node.backlog.read(reader, self.rng.below(7 * WRITE), &mut bytes) {
                    Ok(0) => {}
                    Ok(_) => self.send_down(at, Down::Bytes(bytes)),
                    Err(Lost) => self.on(at, Event::Lost),
                }
            }
            _ => {}
        }
        if let Some(at) = self.at(id)
            && self.rng.below(10) == 0
        {
            self.on(at, Event::Tick { unread });
        }
    }

    // ---- the replica's side --------------------------------------------------------------------------------

    fn act_as_replica(&mut self, at: usize, action: handshake::Action) {
        let replica = self.links[at].replica;
        match action {
            handshake::Action::Wait => {}
            handshake::Action::Send(command, _) => {
                let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                self.send_up(at, &words);
            }
            handshake::Action::End(Outcome::Full(Some((id, offset)))) => {
                // From here on it has nothing that it could go on with.
                self.nodes[replica].knows = false;
                self.links[at].taking = Taking::Snapshot(id, offset);
                self.send_away(replica);
            }
            handshake::Action::End(Outcome::Partial(id)) => {
                let node = &mut self.nodes[replica];
                let before = node.history.id;
                node.history.go_on_as(id.unwrap_or(before), node.offset);
                node.tell_log();
                let is_renamed = node.history.id != before;
                self.links[at].taking = Taking::Stream;
                if is_renamed {
                    self.send_away(replica);
                }
            }
            handshake::Action::End(Outcome::Later(_)) => self.cut(at, "not now"),
            handshake::Action::End(other) => panic!("{other:?}"),
        }
    }

    fn take(&mut self, at: usize, down: Down) {
        let replica = self.links[at].replica;
        match (down, &mut self.links[at].taking) {
            (Down::Line(line), Taking::Handshake(state, facts)) => {
                let (next, action) = state.on(&line, facts);
                *state = next;
                self.act_as_replica(at, action);
            }
            (Down::Snapshot(data), Taking::Snapshot(id, offset)) => {
                let (id, offset) = (*id, *offset);
                self.links[at].taking = Taking::Stream;
                self.nodes[replica].become_copy(id, offset, data);
                self.acknowledge(at);
            }
            (Down::Bytes(bytes), Taking::Stream) => {
                let link = &mut self.links[at];
                link.rest.extend_from_slice(&bytes);
                let whole = link.rest.len() / WRITE * WRITE;
                for write in link.rest.drain(..whole).collect::<Vec<u8>>().chunks(WRITE) {
                    self.nodes[replica].apply(write);
                }
                if self.rng.below(3) == 0 {
                    self.acknowledge(at);
                }
            }
            (down, taking) => panic!("{down:?} while {taking:?}"),
        }
    }

    fn acknowledge(&mut self, at: usize) {
        let has = self.nodes[self.links[at].replica].offset.to_string();
        self.send_up(at, &[b"REPLCONF", b"ACK", has.as_bytes()]);
    }

    // ---- the end -------------------------------------------------------------------------------------------

    /// Nothing fails any more: all become equal.
    fn come_to_rest(&mut self) {
        for node in 0..NODES {
            if !self.nodes[node].is_up {
                self.restart(node);
            }
        }
        for step in 0..QUIET_STEPS {
            self.flow();
            if step % 50 == 0 {
                self.now_ms += 100;
                for at in 0..self.links.len() {
                    if matches!(self.links[at].taking, Taking::Stream) {
                        self.acknowledge(at);
                    }
                }
            }
            if step % 20 == 0 && self.is_equal() {
                return;
            }
        }
        let states: Vec<String> = self
            .nodes
            .iter()
            .map(|node| {
                format!(
                    "of {:?}, offset {}, {:?}, {} values",
                    node.of,
                    node.offset,
                    node.history,
                    node.data.values.len()
                )
            })
            .collect();
        panic!("never equal:\n{}", states.join("\n"));
    }

    fn is_equal(&self) -> bool {
        let primary = &self.nodes[self.primary()];
        let equal = self
            .nodes
            .iter()
            .all(|node| node.offset == primary.offset && node.history.id == primary.history.id);
        if equal {
            for node in &self.nodes {
                assert_eq!(node.data, primary.data, "the same offset of the same history, and other data");
            }
        }
        equal
    }
}

fn random_id(rng: &mut Rng) -> ReplId {
    ReplId::from_random(std::array::from_fn(|_| rng.next_u64() as u8))
}
