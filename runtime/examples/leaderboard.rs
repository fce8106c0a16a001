//! Points, ranks, and a message when the lead changes. `cargo run -p baton --example leaderboard`

use baton::{Error, Store};

/// Gives points to a player; tells those who listen when there is a new leader.
fn score(store: &Store, player: &str, points: f64) -> Result<(), Error> {
    let leader = store.transaction(["board"], |tx| {
        let before = tx.zrevrange("board", 0, 0)?;
        tx.zincr_by("board", player, points)?;
        let after = tx.zrevrange("board", 0, 0)?;
        let same = before.first().map(|first| &first.0) == after.first().map(|first| &first.0);
        Ok(if same { None } else { after.into_iter().next() })
    })?;
    if let Some((leader, _)) = leader {
        store.publish("leaders", leader);
    }
    Ok(())
}

fn main() -> Result<(), Error> {
    let store = Store::memory();
    let mut leaders = store.subscribe(["leaders"]);
    for (player, points) in [("ada", 10.0), ("bob", 15.0), ("eve", 4.0), ("ada", 8.0)] {
        score(&store, player, points)?;
    }
    for (rank, (player, points)) in store.zrevrange("board", 0, -1)?.into_iter().enumerate() {
        println!("{}. {} {points}", rank + 1, player.escape_ascii());
    }
    println!("eve is number {}", store.zrevrank("board", "eve")?.map_or(0, |above| above + 1));
    while let Some(message) = leaders.try_recv() {
        println!("took the lead: {}", message.payload.escape_ascii());
    }
    Ok(())
}
