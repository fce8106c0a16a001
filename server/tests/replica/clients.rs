//! What clients of a replica are told, may do, and see.

use crate::pair::{await_offset, follower, info, redis, until};
use crate::support::client::Reply;
use crate::support::process::Server;
use std::time::Duration;

#[test]
fn a_replica_is_read_only_until_it_is_told_otherwise() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    there.run("SET a 1");
    let mut replica = follower(primary.port(), &[]);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    let refusal = "READONLY You can't write against a read only replica.";
    for line in ["SET a 2", "DEL a", "BLPOP l 0"] {
        assert_eq!(here.run(line).text(), refusal, "{line}");
    }
    here.run("MULTI");
    assert_eq!(here.run("SET a 2").text(), refusal);
    assert!(here.run("EXEC").text().starts_with("EXECABORT"));
    assert_eq!(here.run("GET a"), Reply::bulk("1"));
    here.run("CONFIG SET replica-read-only no");
    assert_eq!(here.run("SET own 1").text(), "OK");
    assert_eq!(here.run("GET own"), Reply::bulk("1"));
}

/// What clients of a writable replica give a time to live goes by itself: the primary does not know it. All else waits for the primary.
#[test]
fn what_only_a_replica_knows_expires_there() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    there.run("DEBUG SET-ACTIVE-EXPIRE 0");
    for line in ["SET theirs v PX 30", "SET n 5 PX 30", "SET lasts v", "SELECT 3", "SET theirs v PX 30"] {
        there.run(line);
    }
    let mut replica = follower(primary.port(), &[("replica-read-only", "no"), ("cores", "2")]);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    until("their time is over", || here.run("EXISTS theirs n") == Reply::Integer(0));
    for line in ["SET a v PX 30", "SET b v", "PEXPIRE b 30", "MSET c 1 d 2", "PEXPIRE lasts 30"] {
        assert!(!here.run(line).is_error(), "{line}");
    }
    let by_script = here.call(&["EVAL", "return redis.call('PEXPIRE', KEYS[1], 30)", "1", "c"]);
    assert_eq!(by_script, Reply::Integer(1));
    assert_eq!(here.run("INCR n"), Reply::Integer(1), "what is over is no more when something is written");
    until("its own are gone", || here.run("DBSIZE") == Reply::Integer(3));
    assert_eq!(
        here.run("MGET d n theirs").elements().expect("three")[..2],
        [Reply::bulk("2"), Reply::bulk("1")]
    );
    here.run("SELECT 3");
    assert_eq!((here.run("DBSIZE"), here.run("GET theirs")), (Reply::Integer(1), Reply::NullBulk));
}

/// Nobody who comes in the first moment finds a primary, which would take writes.
#[test]
fn a_replica_is_one_from_the_first_look_on() {
    // Nobody listens there.
    let mut replica = follower(1, &[]);
    for _ in 0..5 {
        replica.kill();
        replica.restart();
        let mut here = replica.client();
        assert!(here.run("SET a 1").text().starts_with("READONLY"));
        assert_eq!((info(&mut here, "role"), info(&mut here, "master_port")), ("slave".into(), "1".into()));
        assert_eq!(here.run("ROLE").elements().expect("an array")[3], Reply::bulk("connect"));
        assert_eq!(here.run("DBSIZE"), Reply::Integer(0));
    }
}

#[test]
fn who_it_follows_is_shown() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    let mut replica = follower(primary.port(), &[]);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    let port = primary.port();
    let role = here.run("ROLE");
    let role = role.elements().expect("an array");
    assert_eq!(
        role[..4],
        [
            Reply::bulk("slave"),
            Reply::bulk("127.0.0.1"),
            Reply::Integer(port.into()),
            Reply::bulk("connected")
        ]
    );
    assert!(
        there
            .run("INFO replication")
            .text()
            .contains(&format!("slave0:ip=127.0.0.1,port={},state=online", replica.port()))
    );
    for name in ["REPLICAOF", "SLAVEOF"] {
        let again = here.run(&format!("{name} 127.0.0.1 {port}"));
        assert_eq!(again.text(), "OK Already connected to specified master");
    }
    assert!(here.run("REPLICAOF 127.0.0.1 x").is_error() && here.run("REPLICAOF 127.0.0.1 70000").is_error());
    assert_eq!(here.run("HELLO").elements().expect("a map")[11], Reply::bulk("replica"));
    assert_eq!(
        here.run("CONFIG GET replicaof").elements().expect("a pair")[1],
        Reply::bulk(format!("127.0.0.1 {port}"))
    );
}

#[test]
fn old_data_are_refused_when_they_are_not_wanted() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    there.run("SET a 1");
    let mut replica = follower(primary.port(), &[("replica-serve-stale-data", "no")]);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    assert_eq!(here.run("GET a"), Reply::bulk("1"));
    primary.kill();
    until("the link is down", || here.run("GET a").text().starts_with("MASTERDOWN Link with MASTER is down"));
    assert!(!here.run("INFO").is_error());
    assert_eq!(here.run("REPLICAOF NO ONE").text(), "OK");
    assert_eq!(here.run("GET a"), Reply::bulk("1"));
}

#[test]
fn the_primary_says_what_is_over() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    there.run("DEBUG SET-ACTIVE-EXPIRE 0");
    there.run("SET short v PX 30");
    there.run("SET stays v");
    let mut replica = follower(primary.port(), &[]);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    std::thread::sleep(Duration::from_millis(40));
    // Absent for readers, there for counting, until the primary removes it.
    assert!(here.run("GET short").is_null());
    assert_eq!(here.run("EXISTS short stays"), Reply::Integer(1));
    assert_eq!(here.run("DBSIZE"), Reply::Integer(2));
    assert!(there.run("GET short").is_null());
    await_offset(&mut there, &mut here);
    until("it is gone", || here.run("DBSIZE") == Reply::Integer(1));
    // A command of the primary sees what the primary saw.
    there.run("SET n 5 PX 60000");
    there.run("INCR n");
    await_offset(&mut there, &mut here);
    assert_eq!(here.run("GET n"), Reply::bulk("6"));
}

#[test]
fn a_replica_that_is_promoted_goes_on_by_itself() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    there.run("SET a 1");
    let mut replica = follower(primary.port(), &[]);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    let (id, offset) = (info(&mut here, "master_replid"), info(&mut here, "slave_repl_offset"));
    assert_eq!(id, info(&mut there, "master_replid"));
    assert_eq!(here.run("REPLICAOF NO ONE").text(), "OK");
    assert_eq!(info(&mut here, "role"), "master");
    assert_ne!(info(&mut here, "master_replid"), id);
    assert_eq!(info(&mut here, "master_repl_offset"), offset);
    assert_eq!(here.run("SET b 2").text(), "OK");
    // Back again: its history has gone on by itself, so it needs all data.
    here.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    there.run("SET c 3");
    await_offset(&mut there, &mut here);
    assert!(here.run("GET b").is_null());
    assert_eq!(here.run("GET c"), Reply::bulk("3"));
}

#[test]
fn a_password_is_shown() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    assert_eq!(there.run("CONFIG SET requirepass secret").text(), "OK");
    there.run("SET a 1");
    let mut replica = follower(primary.port(), &[]);
    let mut here = replica.client();
    until("it is refused", || replica.log().contains("NOAUTH"));
    here.run("CONFIG SET masterauth wrong");
    until("it shows the wrong one", || replica.log().contains("Unable to AUTH to MASTER: -WRONGPASS"));
    here.run("CONFIG SET masterauth secret");
    await_offset(&mut there, &mut here);
    here.run("CONFIG SET masteruser default");
    assert_eq!(here.run("GET a"), Reply::bulk("1"));
}

#[test]
fn whoever_waits_is_turned_away_when_a_primary_becomes_a_replica() {
    let mut primary = redis(&[]);
    let mut node = Server::baton(&[]);
    let (mut waiting, mut here) = (node.client(), node.client());
    waiting.send(&["BLPOP", "k", "0"]).expect("sent");
    until("it waits", || info(&mut here, "blocked_clients") == "1");
    here.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    let refusal = waiting.receive().expect("an answer");
    assert!(refusal.text().starts_with("UNBLOCKED force unblock"), "{refusal:?}");
    let mut there = primary.client();
    there.run("RPUSH k a");
    await_offset(&mut there, &mut here);
    assert_eq!(here.run("LLEN k"), Reply::Integer(1));
}

/// As Sentinel does it.
#[test]
fn a_transaction_changes_the_role() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    let mut replica = follower(primary.port(), &[]);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    here.run("MULTI");
    here.run("SLAVEOF NO ONE");
    here.run("CLIENT KILL TYPE pubsub");
    assert_eq!(here.run("EXEC").elements().expect("two replies")[0], Reply::simple("OK"));
    assert_eq!(info(&mut here, "role"), "master");
    assert_eq!(here.run("SET a b").text(), "OK");
    here.run("MULTI");
    here.run(&format!("SLAVEOF 127.0.0.1 {}", primary.port()));
    here.run("INFO replication");
    let replies = here.run("EXEC");
    let told = replies.elements().expect("two replies")[1].text();
    assert!(told.contains("role:slave") && told.contains("master_link_status:down"), "{told}");
    await_offset(&mut there, &mut here);
    assert!(here.run("GET a").is_null());
}

/// The primary of a replica is a client like others, for whoever looks, and can be sent away.
#[test]
fn the_primary_is_a_client() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    let mut replica = follower(primary.port(), &[]);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    let address = format!("addr=127.0.0.1:{} ", primary.port());
    for (turn, ask) in ["CLIENT LIST", "CLIENT LIST TYPE master", "CLIENT LIST"].iter().enumerate() {
        let list = here.run(ask).text();
        let lines: Vec<&str> = list.lines().filter(|line| line.contains(" flags=M ")).collect();
        assert!(lines.len() == 1 && lines[0].contains(&address), "{list}");
        assert!(!here.run("CLIENT LIST TYPE normal").text().contains(" flags=M "));
        let id = lines[0].strip_prefix("id=").and_then(|line| line.split(' ').next()).expect("an id");
        let kill = [
            format!("CLIENT KILL ID {id}"),
            "CLIENT KILL TYPE master".into(),
            format!("CLIENT KILL ID {id}"),
        ];
        assert_eq!(here.run(&kill[turn]), Reply::Integer(1));
        let again = (turn + 1).to_string();
        until("it is connected again", || info(&mut there, "sync_partial_ok") == again);
        await_offset(&mut there, &mut here);
    }
    until("two are counted", || info(&mut here, "connected_clients") == "2");
    assert_eq!(here.run("REPLICAOF NO ONE").text(), "OK");
    assert!(!here.run("CLIENT LIST").text().contains(" flags=M "));
    assert_eq!(info(&mut here, "connected_clients"), "1");
}
