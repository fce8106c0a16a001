//! The state of one client's conversation, and what becomes of each command.

use crate::acl::log::Place;
use crate::acl::{self, Refusal, Rights, User};
use crate::client::{Client, End};
use crate::commands::{AsReplica, Flow, Work, presentable};
use crate::persistence;
use crate::replica::RoleChange;
use crate::server::Server;
use baton::Node;
use baton::batch::Call;
use baton::held::{Blocked, Held, May, Who};
use baton::node::Cores;
use baton::registry::Registered;
use baton::replication::served::Served;
use baton::scripts::busy::InTheWay;
use baton::slowlog::Noted;
use baton::tracking::{self, Mode, Tracker};
use baton_engine::command::{Flag, Group};
use baton_engine::error::{CommandError, printable};
use baton_engine::execute::{Outcome, arity_error};
use baton_engine::keyspace::waiting::WatchFlag;
use baton_engine::reply::{Out, Reply};
use baton_engine::slot::Slot;
use rustls::pki_types::CertificateDer;
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What CLIENT REPLY asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The command that runs now asked for the next one to be skipped.
    SkipNext,
    Skip,
}

/// A transaction that is being queued.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The commands, each with its number and its arguments.
    pub queue: Vec<(usize, Vec<Box<[u8]>>)>,
    /// A command was refused while queueing: EXEC will be too.
    pub broken: bool,
}

/// What a replica says that has not got the data of its primary, and may not serve others.
pub const MASTER_DOWN: CommandError =
    CommandError::text("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");

impl Transaction {
    /// Whether one of its commands has this flag.
    pub fn has(&self, server: &Server, flag: Flag) -> bool {
        self.queue.iter().any(|(id, _)| server.node.registry.get(*id).has(flag))
    }
}

/// Keys a client watches.
#[derive(Debug, Default)]
pub struct Watching {
    pub flag: Arc<WatchFlag>,
    /// By database and name: whether it was there, and its time was not over.
    pub keys: HashMap<(usize, Box<[u8]>), bool>,
}

/// Names a client has subscribed to.
#[derive(Debug, Default)]
pub struct Subscriptions {
    pub channels: BTreeSet<Box<[u8]>>,
    pub patterns: BTreeSet<Box<[u8]>>,
    pub shard_channels: BTreeSet<Box<[u8]>>,
}

/// More keys are not looked at in advance: their memory would make room for others before its turn.
const KEYS_AHEAD: usize = 32;

const READ_ONLY: CommandError = CommandError::text("READONLY You can't write against a read only replica.");

/// The state of one client's conversation.
pub struct Session {
    pub server: Arc<Server>,
    pub client: Arc<Client>,
    pub who: Who,
    pub authenticated: bool,
    /// What its user may do, as of a version of the users.
    pub rights: Rights,
    pub out: Out,
    pub reply_mode: ReplyMode,
    pub transaction: Option<Box<Transaction>>,
    pub watching: Option<Box<Watching>>,
    pub subscriptions: Option<Box<Subscriptions>>,
    /// CLIENT IMPORT-SOURCE: with `import-mode` it sees keys whose time is over.
    pub imports: bool,
    /// Whether it keeps copies of what it reads.
    pub tracking: Mode,
    /// Offset in the log up to which this client's commands have left something.
    pub journaled: u64,
    /// The keys of the scripts that come next in the pipeline, by slot and hash.
    pub keys_ahead: Vec<(Slot, u64)>,
    /// REPLICAOF inside of the transaction that runs: carried out when its batons have been let go.
    pub role_change: Option<RoleChange>,
    /// What is known of the replica behind this connection, if it is one.
    pub replica: Option<Box<AsReplica>>,
    /// Requests of this round that were queued or refused: they do not count as commands that have been run.
    not_run: usize,
}

/// What WAIT and WAITAOF wait for.
#[derive(Clone, Copy, Debug)]
pub struct SyncWait {
    /// WAITAOF: what counts is what is on disk.
    pub on_disk: bool,
    /// Offset of the client's last write in the log.
    pub offset: u64,
    /// This node is to have synced it.
    pub local: bool,
    /// So many replicas are to have it, or have synced it.
    pub replicas: i64,
}

impl SyncWait {
    /// Whether there is nothing to wait for any more.
    pub fn is_over(&self, node: &Node) -> bool {
        let (local, replicas) = self.reached(node);
        replicas >= self.replicas && (local || !self.local)
    }

    /// The reply as things are now.
    pub fn answer(&self, node: &Node) -> Vec<u8> {
        let (local, replicas) = self.reached(node);
        let mut out = Out::new(false);
        if self.on_disk {
            out.array(2);
            out.integer(i64::from(local));
        }
        out.integer(replicas);
        out.into_bytes()
    }

    /// Whether this node has synced it, and how many replicas have it, or have synced it.
    fn reached(&self, node: &Node) -> (bool, i64) {
        let links = &node.replication().served;
        let replicas =
            if self.on_disk { links.count_synced(self.offset) } else { links.count_having(self.offset) };
        (node.is_synced(self.offset), replicas as i64)
    }
}

/// How a command goes on.
pub enum Step<'n, 'b> {
    /// It belongs into the batch.
    Batch(Call<'n, 'b>),
    /// It has to be run on its own, after what came before it.
    Alone(Result<&'n Registered, CommandError>),
}

/// What the connection has to do after a command.
pub enum After {
    /// Go on with the next.
    Go,
    /// Wait for the answer of a blocked command.
    Wait {
        /// Its number in the registry.
        command: usize,
        blocked: Option<Blocked>,
        until_ms: Option<i64>,
        /// The answer when the time is over.
        timeout: Reply,
        /// It is the log that is waited for.
        sync: Option<SyncWait>,
    },
    /// Wait for work that is done besides, which ends with the reply.
    Work {
        /// Its number in the registry.
        command: usize,
        work: Work,
    },
    /// Wait for the end of the pause, then run the same command again.
    Paused,
    /// A script is in the way: run the same command again in a moment.
    Busy,
    /// Wait so long, then go on.
    Sleep(std::time::Duration),
    /// Send what has been written, then close.
    Close,
    /// Go on as the connection of a replica.
    Replicate(Arc<Served>),
}

impl Session {
    /// The conversation of a client that has just connected.
    pub fn new(server: Arc<Server>, client: Arc<Client>) -> Self {
        let authenticated = server.acl.is_open();
        let rights = Rights::of(&server.acl, &client.user());
        let who = Who {
            id: client.id,
            db: 0,
            resp3: false,
            no_touch: false,
            remembers: false,
            identity: client.clone(),
        };
        Self {
            server,
            client,
            who,
            authenticated,
            rights,
            out: Out::new(false),
            reply_mode: ReplyMode::On,
            transaction: None,
            watching: None,
            subscriptions: None,
            imports: false,
            tracking: Mode::Off,
            journaled: 0,
            keys_ahead: Vec::new(),
            role_change: None,
            not_run: 0,
            replica: None,
        }
    }

    /// Whether commands may go into batches: nothing needs a look at each of them but what the user may do.
    #[inline]
    pub fn is_plain(&mut self) -> bool {
        self.follow_users();
        self.authenticated
            && self.transaction.is_none()
            && self.replica.is_none()
            && !self.imports
            && self.reply_mode == ReplyMode::On
            && !self.tracking.is_marked()
            && (self.subscriptions.is_none() || self.who.resp3)
            && self.server.monitors.load(Ordering::Relaxed) == 0
            && !self.server.is_paused.load(Ordering::Relaxed)
            && !self.server.is_loading.load(Ordering::Relaxed)
            && self.server.snapshots.last_ok.load(Ordering::Relaxed)
            && !self.server.node.scripts.busy.is_any()
            && !self.server.replicas.too_few.load(Ordering::Relaxed)
            && !self.server.replica.is_stale.load(Ordering::Relaxed)
    }

    /// Decides about a command.
    #[inline]
    pub fn step<'n, 'b>(&self, server: &'n Server, plain: bool, args: &'b [&'b [u8]]) -> Step<'n, 'b> {
        let Some(command) = server.node.registry.find(args[0]) else {
            return Step::Alone(Err(unknown_command(args)));
        };
        if plain
            && self.rights.check(command, args).is_ok()
            && let Some(call) = Call::new(command, args)
            && !(command.has(Flag::Write) && server.node.replication().is_replica())
        {
            return Step::Batch(call);
        }
        match resolve(server, command, args) {
            // Who may not run DEBUG does not get to know which words it takes.
            Err(_) if command.command.hidden_subcommands && self.rights.check(command, args).is_err() => {
                Step::Alone(Ok(command))
            }
            resolved => Step::Alone(resolved),
        }
    }

    /// Runs a command that is not part of a batch; writes its reply.
    pub fn run(&mut self, command: Result<&Registered, CommandError>, args: &[&[u8]]) -> After {
        let mut refusal = None;
        if let Ok(command) = &command
            && self.server.node.scripts.busy.is_any()
        {
            match self.in_the_way(command, args) {
                InTheWay::Nothing => {}
                InTheWay::Wait => return After::Busy,
                InTheWay::Refuse(error) => refusal = Some(error),
            }
        }
        let start = self.out.len();
        if self.reply_mode == ReplyMode::SkipNext {
            self.reply_mode = ReplyMode::Skip;
        }
        let after = match command {
            Ok(command) => match refusal.map_or_else(|| self.admit(command, args), Err) {
                Ok(()) => {
                    let after = self.dispatch(command, args);
                    if self.tracking.is_marked() && !matches!(after, After::Paused) {
                        self.end_mark(command);
                    }
                    after
                }
                Err(error) => {
                    self.not_run += 1;
                    self.count_rejected(command.id);
                    self.reject(command, error);
                    After::Go
                }
            },
            Err(_) if is_http(args[0]) => self.hang_up_on_http(),
            Err(error) => {
                // No command at all, to whoever looks.
                self.client.last_command.store(usize::MAX, Ordering::Relaxed);
                self.not_run += 1;
                self.refuse(&error);
                After::Go
            }
        };
        if self.is_silent() {
            self.out.truncate(start);
            if !matches!(after, After::Paused | After::Busy | After::Wait { .. } | After::Work { .. }) {
                self.end_skip();
            }
        } else if (self.subscriptions.is_some() || self.tracking.is_on()) && matches!(after, After::Go) {
            // Messages that the command caused come right after its reply.
            self.write_messages();
        }
        after
    }

    /// What a script that takes long leaves to this command: nothing stands in its way, it has to wait, or it is refused.
    #[cold]
    fn in_the_way(&self, command: &Registered, args: &[&[u8]]) -> InTheWay {
        let node = &self.server.node;
        let all = || node.all_cores();
        let watches = self.watching.is_some();
        let ends_without_saving =
            command.name == "shutdown" && args.iter().any(|word| word.eq_ignore_ascii_case(b"nosave"));
        let frees = matches!(command.name.as_str(), "unwatch" | "discard" | "reset");
        let cores = match command.name.as_str() {
            _ if ends_without_saving || frees && !watches => return InTheWay::Nothing,
            "watch" | "shutdown" | "exec" => all(),
            _ if frees => all(),
            _ if command.has(Flag::AllowBusy) => return InTheWay::Nothing,
            _ if command.run.is_some() => node.cores_of(command, args),
            _ if matches!(command.command.group, Group::Connection | Group::PubSub) => Cores::new(),
            _ => all(),
        };
        match node.scripts.busy.in_the_way(node, &cores) {
            // These are let through by whoever is busy, but need what is held.
            InTheWay::Refuse(_) if frees || command.name == "watch" => InTheWay::Wait,
            other => other,
        }
    }

    /// Whether the command may run scripts, which may take long.
    pub fn runs_scripts(&self, command: &Registered) -> bool {
        let is_script = |command: &Registered| {
            command.command.group == Group::Scripting && command.has(Flag::SkipMonitor)
        };
        let queued = self.transaction.as_ref().filter(|_| command.name == "exec");
        let registry = &self.server.node.registry;
        is_script(command)
            || queued.is_some_and(|queued| queued.queue.iter().any(|(id, _)| is_script(registry.get(*id))))
    }

    /// Notes the keys of these requests, which come next in the pipeline, as far as all of them are scripts like this one:
    /// the memory behind them is asked for while this one runs.
    pub fn look_ahead<'a>(&mut self, script: &Registered, requests: impl Iterator<Item = &'a [&'a [u8]]>) {
        let (node, ahead) = (&self.server.node, &mut self.keys_ahead);
        ahead.clear();
        for request in requests {
            let is_next = node.registry.find(request[0]).is_some_and(|command| command.id == script.id);
            if !is_next || ahead.len() >= KEYS_AHEAD {
                return;
            }
            for spec in script.command.keys {
                let note =
                    &mut |at: usize| ahead.push((Slot::of(request[at]), node.hasher().hash(request[at])));
                // Refused when its turn comes, if it names no keys properly.
                let _ = spec.positions(request, note);
            }
        }
    }

    /// Whether the reply to the current command is not wanted.
    pub fn is_silent(&self) -> bool {
        matches!(self.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    /// The command whose reply was to be skipped is over.
    pub fn end_skip(&mut self) {
        if self.reply_mode == ReplyMode::Skip {
            self.reply_mode = ReplyMode::On;
        }
    }

    /// Whether the client has shown a password, or needs none.
    pub fn is_let_in(&self) -> bool {
        self.authenticated || self.server.acl.is_open()
    }

    /// Lets the client in as this user, unless there is no such user any more.
    pub fn become_user(&mut self, user: &Arc<User>) -> bool {
        self.client.set_user(user.clone());
        // After the client is known to be this user: whoever removes the user from now on will find it.
        if !self.server.acl.holds(user) {
            self.client.set_user(self.server.acl.default_user().clone());
            return false;
        }
        self.authenticated = true;
        self.rights = Rights::of(&self.server.acl, user);
        true
    }

    /// `tls-auth-clients-user`: the client is whom its certificate says, if that is somebody; else it has to say who it is, as
    /// ever.
    pub fn become_user_of(&mut self, certificate: &CertificateDer<'_>) {
        let server = self.server.clone();
        let names = crate::tls::names::users(certificate, server.settings().tls_auth_clients_user);
        let mut known = names.iter().filter_map(|name| server.acl.find(name.as_bytes()));
        let user = known.find(|user| user.rules().is_enabled());
        if !user.is_some_and(|user| self.become_user(&user))
            && let Some(name) = names.first()
        {
            acl::clients::note_unknown_certificate(&server, &self.client, name.as_bytes());
        }
    }

    /// The client is who everybody is at first.
    fn become_nobody(&mut self) {
        let default = self.server.acl.default_user().clone();
        self.authenticated = self.server.acl.is_open();
        self.rights = Rights::of(&self.server.acl, &default);
        self.client.set_user(default);
    }

    /// Looks at the rules of the user again if any user has changed.
    #[inline]
    pub fn follow_users(&mut self) {
        if !self.rights.are_current(&self.server.acl) {
            self.rights = Rights::of(&self.server.acl, &self.client.user());
        }
    }

    /// Whether the user may run this command now. Notes it if not.
    fn check_rights(&self, command: &Registered, args: &[&[u8]]) -> Result<(), CommandError> {
        self.rights.check(command, args).map_err(|refusal| {
            let place = if self.transaction.is_some() { Place::Multi } else { Place::TopLevel };
            // The log shows the client as it gives this command.
            self.client.last_command.store(command.shown_as, Ordering::Relaxed);
            acl::clients::refuse(&self.server, &self.client, place, refusal, command, args)
        })
    }

    /// Somebody makes a browser talk to us: whatever follows its headers must not be run.
    fn hang_up_on_http(&self) -> After {
        crate::log!(
            crate::logging::Level::Warning,
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands. \
             Connection from {} aborted.",
            self.client.address()
        );
        self.client.end(End::Now);
        After::Close
    }

    /// Refuses a command before it is run. EXEC takes its transaction with it.
    fn reject(&mut self, command: &Registered, error: CommandError) {
        if command.name != "exec" {
            return self.refuse(&error);
        }
        self.forget_transaction();
        let text = error.to_string();
        let why = text.strip_prefix("ERR ").unwrap_or(&text);
        self.refuse(&CommandError::owned(format!("EXECABORT Transaction discarded because of: {why}")));
    }

    /// Writes an error and counts it; a transaction that is being queued is broken by it.
    pub fn refuse(&mut self, error: &CommandError) {
        self.write_error(error);
        if let Some(transaction) = &mut self.transaction {
            transaction.broken = true;
        }
    }

    fn write_error(&mut self, error: &CommandError) {
        let start = self.out.len();
        self.out.error(error);
        let written = &self.out.as_bytes()[start..];
        self.server.cores[self.client.core()].book.lock().note_error(written);
    }

    /// Whether the client may give this command now. In the order in which Redis looks.
    fn admit(&mut self, command: &Registered, args: &[&[u8]]) -> Result<(), CommandError> {
        if !command.command.arity.accepts(args.len()) {
            return Err(arity_error(command.command, args));
        }
        if command.has(Flag::Protected)
            && let Some(error) = self.protection(command)
        {
            return Err(error);
        }
        if !command.has(Flag::NoAuth) && !self.is_let_in() {
            return Err(CommandError::text("NOAUTH Authentication required."));
        }
        if self.transaction.is_some() && command.has(Flag::NoMulti) {
            return Err(CommandError::text("ERR Command not allowed inside a transaction"));
        }
        self.check_rights(command, args)?;
        if self.needs_memory(command) && self.server.node.is_out_of_memory() {
            return Err(CommandError::OutOfMemory);
        }
        let writes = self.runs(command, |command| command.has(Flag::Write));
        // PING too, so that whoever watches the node hears of it.
        if writes || command.name == "ping" {
            if persistence::stops_writes(&self.server) {
                return Err(persistence::STOPPED);
            }
            if let Some(refusal) = self.server.node.journal().refusal() {
                return Err(refusal);
            }
        }
        if writes && self.server.replicas.too_few.load(Ordering::Relaxed) {
            return Err(CommandError::text("NOREPLICAS Not enough good replicas to write."));
        }
        if self.server.node.replication().is_replica() {
            self.admit_to_replica(command, writes)?;
        }
        if self.server.is_loading.load(Ordering::Relaxed)
            && self.runs(command, |command| !command.has(Flag::Loading))
        {
            return Err(CommandError::text("LOADING Redis is loading the dataset in memory"));
        }
        if self.subscriptions.is_some() && !self.who.resp3 && !allowed_when_subscribed(&command.name) {
            return Err(CommandError::owned(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                command.name
            )));
        }
        let of_data = [Flag::Write, Flag::ReadOnly, Flag::MayReplicate];
        let is_fed = self.client.is_monitor.load(Ordering::Relaxed) || self.served().is_some();
        if is_fed && of_data.into_iter().any(|flag| command.has(flag)) {
            self.client.last_command.store(command.shown_as, Ordering::Relaxed);
            return Err(CommandError::text("ERR Replica can't interact with the keyspace"));
        }
        Ok(())
    }

    /// Whether a command is of this kind, or EXEC, which would run one that is.
    fn runs(&self, command: &Registered, is_so: impl Fn(&Registered) -> bool) -> bool {
        let registry = &self.server.node.registry;
        let queued = self.transaction.as_ref().filter(|_| command.name == "exec");
        is_so(command)
            || queued.is_some_and(|queued| queued.queue.iter().any(|(id, _)| is_so(registry.get(*id))))
    }

    /// Why a script must not change anything at the moment, if it must not.
    pub fn stops_writes_of_scripts(&self) -> Option<CommandError> {
        let server = &self.server;
        if persistence::stops_writes(server) {
            return Some(persistence::STOPPED);
        }
        if server.replicas.too_few.load(Ordering::Relaxed) {
            return Some(CommandError::text("NOREPLICAS Not enough good replicas to write."));
        }
        let is_read_only = server.node.replication().is_replica() && server.settings().replica_read_only;
        is_read_only.then_some(READ_ONLY)
    }

    /// What a replica refuses.
    fn admit_to_replica(&self, command: &Registered, writes: bool) -> Result<(), CommandError> {
        const LOADING: CommandError = CommandError::text("LOADING Redis is loading the dataset in memory");
        let replica = &self.server.replica;
        if writes && self.server.settings().replica_read_only {
            return Err(READ_ONLY);
        }
        if replica.is_stale.load(Ordering::Relaxed) && self.runs(command, |command| !command.has(Flag::Stale))
        {
            return Err(MASTER_DOWN);
        }
        if replica.async_loading.load(Ordering::Relaxed)
            && self.runs(command, |command| command.has(Flag::NoAsyncLoading))
        {
            return Err(LOADING);
        }
        Ok(())
    }

    /// The log has failed for too long: what has been answered is not safe. One error takes the place of the replies, and
    /// the connection ends, since the client could not tell which of them it stands for.
    #[cold]
    pub fn lose_replies(&mut self) {
        const UNKNOWN: CommandError = CommandError::text("MISCONF Errors writing to the AOF file");
        crate::log!(
            crate::logging::Level::Warning,
            "Closing client whose writes could not be made safe: id={} addr={}",
            self.client.id,
            self.client.address()
        );
        self.out.truncate(0);
        let error = self.server.node.journal().refusal().unwrap_or(UNKNOWN);
        self.out.error(&error);
        self.journaled = 0;
        self.client.end(End::AfterReply);
    }

    /// Why this client may not give a command that a setting protects, if it may not.
    #[cold]
    fn protection(&self, command: &Registered) -> Option<CommandError> {
        let settings = self.server.settings();
        let (name, setting, allowed) = match command.name.split('|').next() {
            Some("debug") => ("DEBUG", "enable-debug-command", settings.enable_debug_command),
            Some("module") => ("MODULE", "enable-module-command", settings.enable_module_command),
            _ => return None,
        };
        (!allowed.allows(self.client.is_local())).then(|| {
            CommandError::owned(format!(
                "ERR {name} command not allowed. If the {setting} option is set to \"local\", you can run it from a \
                 local connection, otherwise you need to set this option in the configuration file, and then restart \
                 the server."
            ))
        })
    }

    /// Whether the command must be refused when memory is short, and nobody will look at that later.
    fn needs_memory(&self, command: &Registered) -> bool {
        match &self.transaction {
            None => command.has(Flag::DenyOom) && command.run.is_none(),
            Some(_) if command.name != "exec" => command.has(Flag::DenyOom),
            Some(transaction) => transaction.has(&self.server, Flag::DenyOom),
        }
    }

    fn dispatch(&mut self, command: &Registered, args: &[&[u8]]) -> After {
        if let Some(pause) = self.server.current_pause()
            && self.waits_for_pause(pause.all, command, args)
        {
            return After::Paused;
        }
        self.client.last_command.store(command.shown_as, Ordering::Relaxed);
        if let Some(transaction) = &mut self.transaction
            && !runs_inside_multi(&command.name)
        {
            transaction.queue.push((command.id, args.iter().map(|arg| Box::from(*arg)).collect()));
            self.client.queued.store(transaction.queue.len() as i64, Ordering::Relaxed);
            let bytes = args.iter().map(|arg| arg.len()).sum();
            self.client.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.out.status("QUEUED");
            self.not_run += 1;
            return After::Go;
        }
        let after = match command.run {
            Some(_) if command.has(Flag::Blocking) => self.run_blocking(command, args),
            Some(_) => {
                let mut held = self.server.node.hold(|node| node.cores_of(command, args));
                self.prepare(&mut held);
                let outcome = held.run(&self.who, command, args, false, &mut self.out);
                held.finish();
                self.after_flush(command, &outcome);
                After::Go
            }
            None => self.run_handler(command, args, None),
        };
        self.feed_monitors(command, args);
        after
    }

    /// Makes known what this client may see.
    pub fn prepare(&self, held: &mut Held<'_>) {
        if self.imports && self.server.node.importing.load(Ordering::Relaxed) {
            held.see_expired();
        }
    }

    /// What was thrown away must not come back from a snapshot that is still being written.
    pub fn after_flush(&self, command: &Registered, outcome: &Outcome) {
        if command.command.name == "FLUSHALL" && !matches!(outcome, Outcome::Refused) {
            persistence::flushed(&self.server);
        }
    }

    /// Shows a command to those who monitor the node; those of administrators are nobody's business.
    fn feed_monitors(&self, command: &Registered, args: &[&[u8]]) {
        if !command.has(Flag::SkipMonitor) {
            self.show_to_monitors(command, args);
        }
    }

    /// As [`feed_monitors`](Self::feed_monitors), for a command that chooses the moment itself.
    pub fn show_to_monitors(&self, command: &Registered, args: &[&[u8]]) {
        if self.server.monitors.load(Ordering::Relaxed) > 0 && !command.has(Flag::Admin) {
            self.server.feed_monitors(&self.client, self.who.db, &presentable(command, args));
        }
    }

    /// Runs a command of the node and writes its reply.
    pub fn run_handler(
        &mut self,
        command: &Registered,
        args: &[&[u8]],
        held: Option<&mut Held<'_>>,
    ) -> After {
        let (start, written) = (self.server.node.now_ns(), self.out.len());
        let flow = match self.server.handler(command) {
            Some(handler) => handler(self, args, held),
            None => Err(CommandError::owned(format!("ERR '{}' is not served by this node", command.name))),
        };
        let mut ns = self.server.node.now_ns().saturating_sub(start);
        if let Ok(Flow::Sleep(time)) = &flow {
            // It is about to.
            ns = ns.saturating_add(time.as_nanos() as u64);
        }
        let reply_bytes = self.out.len().saturating_sub(written);
        let failed = matches!(flow, Err(_) | Ok(Flow::Refused { .. }));
        if matches!(flow, Ok(Flow::Refused { counted: false })) {
            let reply = &self.out.as_bytes()[written..];
            self.server.cores[self.client.core()].book.lock().note_error(reply);
        }
        // Who waits is counted when the wait is over.
        if !matches!(flow, Ok(Flow::Wait { .. } | Flow::WaitForSync { .. } | Flow::Work(_))) {
            self.count_handled(command.id, args, ns, reply_bytes, failed);
        }
        self.conclude(command.id, flow)
    }

    /// Puts a command into the books and logs: one of the node, or one that has waited.
    pub fn count_handled(&self, command: usize, args: &[&[u8]], ns: u64, reply_bytes: usize, failed: bool) {
        let server = &self.server;
        let command = server.node.registry.get(command);
        {
            let mut book = server.cores[self.client.core()].book.lock();
            let stats = book.command(command.shown_as);
            stats.calls += 1;
            stats.ns += ns;
            stats.failed += u64::from(failed);
            if server.node.track_latency.load(Ordering::Relaxed) {
                stats.histogram.get_or_insert_default().record(ns);
            }
        }
        if server.node.is_notable(ns, reply_bytes) {
            let shown = presentable(command, args);
            let noted =
                Noted { time_s: server.node.now_ms() / 1_000, args: &shown, who: &*self.who.identity };
            server.node.note(command, &noted, ns, reply_bytes);
        }
    }

    /// Puts a command into the books that was not run.
    pub fn count_rejected(&self, command: usize) {
        let shown_as = self.server.node.registry.get(command).shown_as;
        self.server.cores[self.client.core()].book.lock().command(shown_as).rejected += 1;
    }

    /// Puts a request of so many bytes into the log of large ones.
    #[cold]
    pub fn note_large_request(&self, command: &Registered, args: &[&[u8]], bytes: u64) {
        if command.has(Flag::SkipSlowlog) {
            return;
        }
        let shown = presentable(command, args);
        let time_s = self.server.node.now_ms() / 1_000;
        let noted = Noted { time_s, args: &shown, who: &*self.who.identity };
        self.server.node.large_requests.note(bytes, &noted);
    }

    fn conclude(&mut self, command: usize, flow: Result<Flow, CommandError>) -> After {
        match flow {
            Ok(Flow::Reply(reply)) => {
                self.out.reply(&reply);
                After::Go
            }
            Ok(Flow::Refused { .. }) => After::Go,
            Ok(Flow::Sleep(time)) => After::Sleep(time),
            Ok(Flow::Wait { until_ms, reply }) => {
                After::Wait { command, blocked: None, until_ms, timeout: reply, sync: None }
            }
            Ok(Flow::WaitForSync { until_ms, sync }) => {
                After::Wait { command, blocked: None, until_ms, timeout: Reply::Null, sync: Some(sync) }
            }
            Ok(Flow::Replicate(link)) => After::Replicate(link),
            Ok(Flow::Work(work)) => After::Work { command, work },
            Ok(Flow::Close) => {
                self.client.end(End::AfterReply);
                After::Close
            }
            Err(error) => {
                self.write_error(&error);
                After::Go
            }
        }
    }

    fn run_blocking(&mut self, command: &Registered, args: &[&[u8]]) -> After {
        let mut held = self.server.node.hold(|node| node.cores_of(command, args));
        self.prepare(&mut held);
        let (client, server) = (self.client.clone(), Arc::downgrade(&self.server));
        let waits = client.clone();
        let may: May = Box::new(move |args| {
            let Some(server) = server.upgrade() else { return Ok(()) };
            acl::clients::may_go_on(&server, &waits, args)
        });
        let answer = Box::new(move |reply| client.mailbox.put(crate::client::Post::Answer(reply)));
        let blocked = held.run_blocking(&self.who, command, args, &mut self.out, may, answer);
        held.finish();
        match blocked {
            None => After::Go,
            Some(blocked) => {
                let until_ms = blocked.until_ms;
                After::Wait {
                    command: command.id,
                    blocked: Some(blocked),
                    until_ms,
                    timeout: Reply::NullArray,
                    sync: None,
                }
            }
        }
    }

    /// Runs one queued command inside EXEC, under the batons that it holds.
    pub fn run_queued(&mut self, held: &mut Held<'_>, id: usize, args: &[&[u8]]) -> After {
        let server = self.server.clone();
        let command = server.node.registry.get(id);
        self.count_commands(1);
        if let Err(refusal) = self.rights.check(command, args) {
            let error = match &refusal {
                Refusal::Denied(denial) => denial.error_in_exec(),
                Refusal::Patterns(why) => CommandError::text(why),
            };
            acl::clients::refuse(&self.server, &self.client, Place::Multi, refusal, command, args);
            self.write_error(&error);
            return After::Go;
        }
        let after = if command.run.is_some() {
            let outcome = held.run(&self.who, command, args, false, &mut self.out);
            debug_assert!(!matches!(outcome, Outcome::Blocked { .. }));
            self.after_flush(command, &outcome);
            After::Go
        } else {
            self.run_handler(command, args, Some(held))
        };
        self.feed_monitors(command, args);
        after
    }

    /// Counts requests that are done: those of them that were run.
    pub fn count_requests(&mut self, done: usize) {
        let not_run = std::mem::take(&mut self.not_run);
        self.count_commands(done.saturating_sub(not_run));
    }

    /// Counts commands that this client has had run.
    pub fn count_commands(&self, count: usize) {
        let client = &self.client;
        client.commands.store(client.commands.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
        self.server.cores[self.client.core()].commands.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Works on all shards: under the batons of a transaction if there is one, else under its own.
    pub fn with_all<R>(&self, held: Option<&mut Held<'_>>, work: impl FnOnce(&mut Held<'_>) -> R) -> R {
        match held {
            Some(held) => work(held),
            None => {
                let node = self.server.node.clone();
                let mut held = node.hold_all();
                let result = work(&mut held);
                held.finish();
                result
            }
        }
    }

    /// DISCARD, RESET and the end of a connection: nothing is queued or watched any more.
    pub fn forget_transaction(&mut self) {
        self.transaction = None;
        self.client.queued.store(-1, Ordering::Relaxed);
        self.client.queued_bytes.store(0, Ordering::Relaxed);
        self.unwatch(None);
    }

    /// Ends all watches.
    pub fn unwatch(&mut self, held: Option<&mut Held<'_>>) {
        let Some(watching) = self.watching.take() else { return };
        self.client.watching.store(0, Ordering::Relaxed);
        *self.client.watch_flag.lock() = None;
        watching.keys.keys().for_each(|(_, key)| self.client.forgets_name(key));
        let end = |held: &mut Held<'_>| {
            for (db, key) in watching.keys.keys() {
                held.with_keyspace(*db, |keyspace| keyspace.unwatch(key, &watching.flag));
            }
        };
        match held {
            Some(held) => end(held),
            None => {
                let node = self.server.node.clone();
                let mut held = node.hold(|node| node.owners(watching.keys.keys().map(|(_, key)| &**key)));
                end(&mut held);
            }
        }
    }

    /// Goes over to another state of tracking.
    pub fn set_tracking(&mut self, mode: Mode) {
        self.tracking = mode;
        self.who.remembers = mode.remembers();
    }

    /// CLIENT TRACKING ON
    pub fn start_tracking(&mut self, mode: Mode, tracker: Arc<Tracker>, held: Option<&mut Held<'_>>) {
        self.set_tracking(mode);
        self.client.set_tracker(Some(tracker.clone()));
        self.with_all(held, |held| held.track(tracker));
    }

    /// CLIENT TRACKING OFF
    pub fn stop_tracking(&mut self, held: Option<&mut Held<'_>>) {
        if !self.tracking.is_on() {
            return;
        }
        self.set_tracking(Mode::Off);
        self.client.set_tracker(None);
        self.with_all(held, |held| held.untrack(self.client.id));
    }

    /// A mark is good for one command, or for one transaction.
    fn end_mark(&mut self, command: &Registered) {
        if self.transaction.is_none()
            && !command.name.starts_with("client")
            && let Ok(mode) = self.tracking.on(tracking::Event::CommandOver)
        {
            self.set_tracking(mode);
        }
    }

    /// Ends all subscriptions without a word.
    pub fn unsubscribe_all(&mut self) {
        use baton::pubsub::Kind;
        let Some(subscriptions) = self.subscriptions.take() else { return };
        let pubsub = &self.server.node.pubsub;
        for (kind, names) in [
            (Kind::Channel, &subscriptions.channels),
            (Kind::Pattern, &subscriptions.patterns),
            (Kind::Shard, &subscriptions.shard_channels),
        ] {
            for name in names {
                pubsub.unsubscribe(kind, name, self.client.id);
                self.client.forgets_name(name);
            }
        }
        let client = &self.client;
        for count in [&client.channels, &client.patterns, &client.shard_channels, &client.push_limit] {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// Writes what others have sent to this client so far: a reply must not overtake a message that its command
    /// caused.
    pub fn write_messages(&mut self) {
        for post in self.client.clone().mailbox.arrived() {
            if let crate::client::Post::Bytes(bytes) = post {
                self.out.bytes_mut().extend_from_slice(&bytes);
            }
        }
    }

    /// Puts the connection into a database.
    pub fn select(&mut self, db: usize) {
        self.who.db = db;
        self.client.db.store(db, Ordering::Relaxed);
    }

    /// Changes the protocol version.
    pub fn set_resp3(&mut self, resp3: bool) {
        self.who.resp3 = resp3;
        self.out.set_resp3(resp3);
        self.client.resp.store(if resp3 { 3 } else { 2 }, Ordering::Relaxed);
    }

    /// RESET: as if the client had just connected.
    pub fn reset(&mut self) {
        self.forget_transaction();
        self.unsubscribe_all();
        self.leave_monitors();
        self.stop_tracking(None);
        self.select(0);
        self.set_resp3(false);
        self.become_nobody();
        self.reply_mode = ReplyMode::On;
        self.who.no_touch = false;
        self.client.no_touch.store(false, Ordering::Relaxed);
        self.client.no_evict.store(false, Ordering::Relaxed);
        self.imports = false;
        self.client.is_import_source.store(false, Ordering::Relaxed);
        self.client.names.lock().name.clear();
    }

    /// The end of MONITOR.
    pub fn leave_monitors(&self) {
        if self.client.is_monitor.swap(false, Ordering::Relaxed) {
            self.server.monitors.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn waits_for_pause(&self, all: bool, command: &Registered, args: &[&[u8]]) -> bool {
        if self.client.is_monitor.load(Ordering::Relaxed) {
            return false;
        }
        let node = &self.server.node;
        let writes = |command: &Registered, args: &[&[u8]]| {
            let may = command.has(Flag::Write) || command.has(Flag::MayReplicate);
            // A script may know better than its command.
            may && node.scripts.is_without_writes(&command.name, args) != Some(true)
        };
        let queued = self.transaction.as_ref().filter(|_| command.name == "exec");
        all || writes(command, args)
            || queued.is_some_and(|queued| {
                queued.queue.iter().any(|(id, args)| {
                    let args: SmallVec<[&[u8]; 8]> = args.iter().map(|arg| &**arg).collect();
                    writes(node.registry.get(*id), &args)
                })
            })
    }
}

/// The command that the arguments mean, its subcommand if it has such.
fn resolve<'n>(
    server: &'n Server,
    command: &'n Registered,
    args: &[&[u8]],
) -> Result<&'n Registered, CommandError> {
    if command.subcommands.is_empty() {
        return Ok(command);
    }
    let Some(name) = args.get(1) else {
        // COMMAND alone is a command of its own; other containers need a subcommand.
        if command.command.arity.accepts(1) {
            return Ok(command);
        }
        return Err(CommandError::Arity(command.name.clone()));
    };
    server.node.registry.subcommand(command, name).ok_or_else(|| {
        let after = format!("'. Try {} HELP.", command.name.to_ascii_uppercase());
        CommandError::quoting("ERR unknown subcommand '", name, 128, &after)
    })
}

/// As the text of Redis: the name and the first arguments, shortened.
fn unknown_command(args: &[&[u8]]) -> CommandError {
    const SHOWN_MAX: usize = 128;
    let mut line = b"ERR unknown command '".to_vec();
    line.extend_from_slice(printable(args[0], SHOWN_MAX));
    line.extend_from_slice(b"', with args beginning with: ");
    let start = line.len();
    for arg in &args[1..] {
        let Some(room) = SHOWN_MAX.checked_sub(line.len() - start).filter(|room| *room > 0) else { break };
        line.push(b'\'');
        line.extend_from_slice(printable(arg, room));
        line.extend_from_slice(b"' ");
    }
    CommandError::Quoting(line.into())
}

/// Names that only HTTP requests begin their lines with.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

fn runs_inside_multi(name: &str) -> bool {
    matches!(name, "multi" | "exec" | "discard" | "watch" | "quit" | "reset")
}

fn allowed_when_subscribed(name: &str) -> bool {
    matches!(
        name,
        "ping"
            | "subscribe"
            | "ssubscribe"
            | "psubscribe"
            | "unsubscribe"
            | "sunsubscribe"
            | "punsubscribe"
            | "quit"
            | "reset"
    )
}
