//! All data and the stream, in every way they can come.

use crate::data;
use crate::pair::{assert_equal, follower, info, redis};

#[test]
fn from_a_file_and_without_one_by_every_way_of_loading() {
    for (diskless, load) in [("no", "disabled"), ("yes", "swapdb"), ("yes", "on-empty-db")] {
        let mut primary = redis(&[("repl-diskless-sync", diskless)]);
        let mut there = primary.client();
        data::fill(&mut there);
        let mut replica = follower(primary.port(), &[("repl-diskless-load", load), ("cores", "3")]);
        let mut here = replica.client();
        assert_equal(&mut there, &mut here, &format!("all data, {diskless}, {load}"));
        for turn in 0..3 {
            data::change(&mut there, turn);
        }
        assert_equal(&mut there, &mut here, &format!("the stream, {diskless}, {load}"));
        assert_eq!(info(&mut there, "sync_full"), "1");
    }
}

#[test]
fn a_second_full_synchronisation_takes_the_place_of_everything() {
    for load in ["disabled", "swapdb"] {
        let (mut first, mut second) = (redis(&[]), redis(&[]));
        let (mut one, mut two) = (first.client(), second.client());
        data::fill(&mut one);
        two.run("SET only second");
        let mut replica = follower(first.port(), &[("repl-diskless-load", load), ("appendonly", "yes")]);
        let mut here = replica.client();
        assert_equal(&mut one, &mut here, "the first");
        assert_eq!(here.run(&format!("REPLICAOF 127.0.0.1 {}", second.port())).text(), "OK");
        assert_equal(&mut two, &mut here, "the second");
        data::fill(&mut two);
        data::change(&mut two, 1);
        assert_equal(&mut two, &mut here, "the stream of the second");
        // What is in the log is what is served.
        data::await_files(&mut here);
        assert_eq!(info(&mut here, "aof_enabled"), "1");
        let before = data::digest(&mut here);
        here.run("DEBUG LOADAOF");
        data::digest(&mut here).assert_is(&before, "the log");
    }
}

#[test]
fn libraries_of_functions_come_along() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    let library = "#!lua name=mylib\nredis.register_function('f', function() return 1 end)";
    assert!(!there.call(&["FUNCTION", "LOAD", library]).is_error());
    let mut replica = follower(primary.port(), &[]);
    let mut here = replica.client();
    assert_equal(&mut there, &mut here, "with a library");
    let other = library.replace("mylib", "other").replace("'f'", "'g'");
    assert!(!there.call(&["FUNCTION", "LOAD", &other]).is_error());
    there.run("SET a b");
    assert_equal(&mut there, &mut here, "with two libraries");
    let node = replica.log();
    assert!(!node.contains("CRITICAL"), "{node}");
}
