//! Real work through the `redis` crate: blocking, and asynchronous in RESP3 with its cache.

use std::time::{Duration, Instant};

use redis::aio::ConnectionManager;
use redis::caching::CacheConfig;
use redis::streams::{StreamMaxlen, StreamReadOptions, StreamReadReply};
use redis::{
    AsyncCommands, AsyncConnectionConfig, Commands, Connection, ErrorKind, PushKind, Script, ServerErrorKind,
};
use tokio::runtime::Builder;

use super::support::process::Server;

/// How long what a node sends by itself may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn redis_rs_works() {
    let server = Server::baton(&[]);
    let port = server.port();
    for protocol in ["resp2", "resp3"] {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/?protocol={protocol}"))
            .expect("an address");
        let mut connection = client.get_connection().expect("a connection");
        let _: () = connection.flushall().expect("empty");
        transactions(&mut connection);
        scripts(&mut connection);
        streams(&mut connection);
        publish_subscribe(&client, &mut connection);
    }
    let client =
        redis::Client::open(format!("redis://127.0.0.1:{port}/?protocol=resp3")).expect("an address");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        managed(&client).await;
        pushes(&client).await;
        cached(&client).await;
    });
}

fn transactions(connection: &mut Connection) {
    let (n, text): (i64, String) = redis::pipe()
        .atomic()
        .cmd("SET")
        .arg("n")
        .arg(41)
        .ignore()
        .incr("n", 1)
        .cmd("ECHO")
        .arg("hello")
        .query(connection)
        .expect("a transaction");
    assert_eq!((n, text.as_str()), (42, "hello"));
    // Watches the key, and tries again should somebody have changed it.
    let doubled: (i64,) = redis::transaction(connection, &["n"], |connection, pipe| {
        let n: i64 = connection.get("n")?;
        pipe.set("n", n * 2).ignore().get("n").query(connection)
    })
    .expect("a transaction");
    assert_eq!(doubled, (84,));
    let many: Vec<Option<i64>> = (0..1_000)
        .fold(&mut redis::pipe(), |pipe, n| pipe.get(format!("none:{n}")))
        .query(connection)
        .expect("a pipeline");
    assert_eq!(many, vec![None; 1_000]);
    let error = connection.lpush::<_, _, ()>("n", 1).expect_err("a string is no list");
    assert_eq!(error.code(), Some("WRONGTYPE"));
}

fn scripts(connection: &mut Connection) {
    let script = Script::new("return {redis.call('INCRBY', KEYS[1], ARGV[1]), ARGV[2], {1, false}}");
    let (n, text, nested): (i64, Vec<u8>, (i64, Option<i64>)) = script
        .key("counted")
        .arg(5)
        .arg(&b"\0\xff"[..])
        .invoke(connection)
        .expect("loaded when it is unknown");
    assert_eq!((n, text, nested), (5, b"\0\xff".to_vec(), (1, None)));
    let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(connection).expect("forgotten");
    let again: (i64, String, redis::Value) =
        script.key("counted").arg(1).arg("x").invoke(connection).expect("loaded again");
    assert_eq!(again.0, 6);
    let error =
        Script::new("return redis.error_reply('MINE it is')").invoke::<()>(connection).expect_err("an error");
    assert_eq!((error.code(), error.detail()), (Some("MINE"), Some("it is")));
    let missing =
        redis::cmd("EVALSHA").arg("0".repeat(40)).arg(0).query::<()>(connection).expect_err("no such script");
    assert_eq!(missing.kind(), ErrorKind::Server(ServerErrorKind::NoScript));
}

fn streams(connection: &mut Connection) {
    let ids: Vec<String> =
        (0..10).map(|n| connection.xadd("log", "*", &[("n", n)]).expect("an entry")).collect();
    let _: () = connection.xgroup_create("log", "group", "0").expect("a group");
    let options = StreamReadOptions::default().group("group", "reader").count(4);
    let read: StreamReadReply = connection.xread_options(&["log"], &[">"], &options).expect("entries");
    assert_eq!(read.keys[0].ids.iter().map(|id| id.id.clone()).collect::<Vec<_>>(), ids[..4]);
    assert_eq!(read.keys[0].ids[3].get::<i64>("n"), Some(3));
    let pending: redis::streams::StreamPendingReply = connection.xpending("log", "group").expect("pending");
    assert_eq!(pending.count(), 4);
    assert_eq!(connection.xack::<_, _, _, i64>("log", "group", &ids[..4]).expect("done"), 4);
    let claimed: redis::streams::StreamAutoClaimReply = connection
        .xautoclaim_options("log", "group", "other", 0, "0-0", Default::default())
        .expect("nothing");
    assert!(claimed.claimed.is_empty());
    let info: redis::streams::StreamInfoGroupsReply = connection.xinfo_groups("log").expect("groups");
    assert_eq!((info.groups[0].pending, info.groups[0].lag), (0, Some(6)));
    let info: redis::streams::StreamInfoStreamReply = connection.xinfo_stream("log").expect("a stream");
    assert_eq!((info.length, info.last_entry.id), (10, ids[9].clone()));
    assert_eq!(connection.xtrim::<_, i64>("log", StreamMaxlen::Equals(3)).expect("trimmed"), 7);
}

fn publish_subscribe(client: &redis::Client, connection: &mut Connection) {
    let mut listener = client.get_connection().expect("a connection");
    let mut listener = listener.as_pubsub();
    listener.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    listener.subscribe("news").expect("subscribed");
    listener.psubscribe("n*").expect("subscribed");
    assert_eq!(connection.publish::<_, _, i64>("news", "hello").expect("published"), 2);
    let mut seen: Vec<(Option<String>, String)> = (0..2)
        .map(|_| listener.get_message().expect("a message"))
        .map(|message| {
            (message.get_pattern().expect("a pattern or none"), message.get_payload().expect("text"))
        })
        .collect();
    seen.sort();
    assert_eq!(seen, [(None, "hello".to_owned()), (Some("n*".to_owned()), "hello".to_owned())]);
}

/// A connection that comes back when it was lost.
async fn managed(client: &redis::Client) {
    let mut manager = ConnectionManager::new(client.clone()).await.expect("a connection");
    let mut killer = client.get_multiplexed_async_connection().await.expect("a connection");
    let tasks = (0..100_i64).map(|n| {
        let mut manager = manager.clone();
        async move {
            let _: () = manager.set(format!("many:{n}"), n).await?;
            manager.get::<_, i64>(format!("many:{n}")).await
        }
    });
    let values = futures_util::future::try_join_all(tasks).await.expect("many at once on one connection");
    assert_eq!(values, (0..100).collect::<Vec<_>>());
    let id: i64 = redis::cmd("CLIENT").arg("ID").query_async(&mut manager).await.expect("an id");
    let killed: i64 =
        redis::cmd("CLIENT").arg(&["KILL", "ID"]).arg(id).query_async(&mut killer).await.expect("killed");
    assert_eq!(killed, 1);
    let start = Instant::now();
    while manager.get::<_, i64>("many:7").await != Ok(7) {
        assert!(start.elapsed() < PATIENCE, "it does not come back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What comes without having been asked for.
async fn pushes(client: &redis::Client) {
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let config = AsyncConnectionConfig::new().set_push_sender(sender);
    let mut listener =
        client.get_multiplexed_async_connection_with_config(&config).await.expect("a connection");
    let mut other = client.get_multiplexed_async_connection().await.expect("a connection");
    listener.subscribe("news").await.expect("subscribed");
    let _: () = redis::cmd("CLIENT")
        .arg(&["TRACKING", "ON", "BCAST", "PREFIX", "watched:"])
        .query_async(&mut listener)
        .await
        .expect("tracking");
    let _: () = other.set("watched:1", "v").await.expect("set");
    let _: i64 = other.publish("news", "hello").await.expect("published");
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        let push =
            tokio::time::timeout(PATIENCE, received.recv()).await.expect("a push in time").expect("a push");
        kinds.push(push.kind);
    }
    kinds.sort_by_key(|kind| format!("{kind:?}"));
    assert_eq!(kinds, [PushKind::Invalidate, PushKind::Message, PushKind::Subscribe]);
}

/// Its cache: what is known here is not asked for, until somebody changes it.
async fn cached(client: &redis::Client) {
    let config = AsyncConnectionConfig::new().set_cache_config(CacheConfig::new());
    let mut cached =
        client.get_multiplexed_async_connection_with_config(&config).await.expect("a connection");
    let mut other = client.get_multiplexed_async_connection().await.expect("a connection");
    let _: () = other.mset(&[("copied", 1), ("too", 2)]).await.expect("set");
    for _ in 0..100 {
        assert_eq!(cached.get::<_, i64>("copied").await, Ok(1));
    }
    let statistics = cached.get_cache_statistics().expect("it caches");
    assert_eq!((statistics.hit, statistics.miss), (99, 1));
    assert_eq!(cached.mget::<_, Vec<i64>>(&["copied", "too"]).await, Ok(vec![1, 2]));
    let start = Instant::now();
    for n in 10..60 {
        let _: () = other.set("copied", n).await.expect("set");
        while cached.get::<_, i64>("copied").await != Ok(n) {
            assert!(start.elapsed() < PATIENCE, "nobody told it of {n}");
            tokio::task::yield_now().await;
        }
    }
    let statistics = cached.get_cache_statistics().expect("it caches");
    assert!(statistics.invalidate >= 50, "{statistics:?}");
    let _: () = other.flushall().await.expect("empty");
    while cached.get::<_, Option<i64>>("copied").await != Ok(None) {
        assert!(start.elapsed() < PATIENCE, "nobody told it of FLUSHALL");
        tokio::task::yield_now().await;
    }
}
