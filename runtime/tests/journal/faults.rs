//! Full disks and failing devices: writes are refused, what could not be written is written as soon as it can be, and what
//! cannot be trusted any more is not trusted again.

use crate::bench::{LOG, exec, held, journaled, next_file, raw, replayed};
use baton::journal::{Figures, GIVE_UP, Health, Journal, Policy, Verdict};
use baton::storage::simulated::Fault;
use baton::storage::{SimulatedStorage, Storage};
use std::path::Path;
use std::time::{Duration, Instant};

const FULL: &str = "MISCONF Errors writing to the AOF file: No space left on device";
const BROKEN: &str = "MISCONF Errors writing to the AOF file: Input/output error";

/// Waits until this holds, or fails.
#[track_caller]
fn soon(time: Duration, what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < time, "it did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    for fault in [Fault::Full, Fault::Short, Fault::Broken] {
        let storage = SimulatedStorage::new(1);
        let bench = journaled(&storage, Policy::Never);
        let journal = bench.node.journal();
        assert_eq!(bench.run("SET a 1"), "OK");
        journal.write();
        storage.fail_appends(Some(fault));
        assert_eq!(bench.run("SET a 2"), "OK", "it runs: nobody knows of the trouble yet");
        let offset = journal.pushed();
        journal.write();
        assert_eq!(journal.verdict(offset), Verdict::Wait, "but it is not acknowledged");
        let error = format!("-{}", if fault == Fault::Broken { BROKEN } else { FULL });
        assert_eq!(bench.run("SET a 3"), error);
        assert_eq!(raw(&bench, "SET a 3"), error);
        assert_eq!(raw(&bench, "DEL a"), error);
        assert_eq!(bench.run("GET a"), "\"2\"", "reads go on");
        assert!(!journal.figures().is_sound);
        // The file ends with a whole block at any time.
        assert_eq!(replayed(&storage.killed(), &[LOG])["0:a"], "\"1\"-1");
        storage.fail_appends(None);
        soon(Duration::from_secs(5), || journal.verdict(offset) == Verdict::Safe);
        assert_eq!(journal.health(), Health::Sound);
        assert_eq!(bench.run("SET a 4"), "OK");
        journal.write();
        assert_eq!(replayed(&storage, &[LOG]), held(&bench));
    }
}

#[test]
fn a_torn_file_is_cut_before_it_is_written_to() {
    let storage = SimulatedStorage::new(2);
    let bench = journaled(&storage, Policy::Never);
    let journal = bench.node.journal();
    bench.run("SET a 1");
    journal.write();
    let next = storage.calls();
    // Half a block is written, and neither can it be cut off, nor the next time.
    for (call, fault) in [(0, Fault::Short), (1, Fault::Broken), (2, Fault::Broken)] {
        storage.fail(next + call, fault);
    }
    bench.run("SET a 2");
    journal.write();
    assert!(matches!(journal.health(), Health::Torn(_)));
    assert_eq!(replayed(&storage.killed(), &[LOG])["0:a"], "\"1\"-1");
    assert!(journal.write_and_sync().is_err());
    assert!(matches!(journal.health(), Health::Torn(_)));
    assert_eq!(journal.write_and_sync(), Ok(()));
    assert_eq!(replayed(&storage, &[LOG]), held(&bench));
}

#[test]
fn transactions_are_refused_as_a_whole_and_expiry_goes_on() {
    let storage = SimulatedStorage::new(3);
    let bench = journaled(&storage, Policy::Never);
    let journal = bench.node.journal();
    bench.run("SET a 1");
    bench.run("SET gone 1 PX 1");
    storage.fail_appends(Some(Fault::Full));
    journal.write();
    assert!(journal.is_failing());
    // One that was admitted before runs to its end.
    assert_eq!(exec(&bench, &["INCR a", "INCR a"]), ["2", "3"]);
    std::thread::sleep(Duration::from_millis(3));
    assert_eq!(bench.run("GET gone"), "nil");
    storage.fail_appends(None);
    assert_eq!(journal.write_and_sync(), Ok(()));
    assert_eq!(replayed(&storage, &[LOG]), held(&bench));
    assert_eq!(held(&bench).len(), 1);
}

#[test]
fn a_failed_sync_is_not_forgotten_until_there_is_a_new_base() {
    let storage = SimulatedStorage::new(4);
    let bench = journaled(&storage, Policy::Always);
    let journal = bench.node.journal();
    bench.run("SET a 1");
    journal.write();
    soon(Duration::from_secs(5), || journal.verdict(journal.pushed()) == Verdict::Safe);
    bench.run("SET a 2");
    let offset = journal.pushed();
    // The write, and the sync after it.
    storage.fail(storage.calls() + 1, Fault::Broken);
    journal.write();
    soon(Duration::from_secs(5), || journal.verdict(offset) == Verdict::Lost);
    assert!(matches!(journal.health(), Health::Distrusted(_)));
    assert_eq!(bench.run("SET a 3"), format!("-{BROKEN}"));
    let calls = storage.calls();
    std::thread::sleep(Duration::from_millis(1_200));
    journal.write();
    assert!(journal.write_and_sync().is_err());
    assert_eq!(storage.calls(), calls, "nothing is tried again");
    // A rewrite: the log goes on in a new file, and a base of everything before makes the old one superfluous.
    let at = next_file(&bench, &storage, "/log.2.incr.aof").unwrap();
    assert_eq!(bench.run("SET a 3"), format!("-{BROKEN}"), "not yet: the base is not there");
    journal.replaced(at);
    assert_eq!(journal.health(), Health::Sound);
    assert_eq!(bench.run("SET b 3"), "OK");
    let offset = journal.pushed();
    journal.write();
    soon(Duration::from_secs(5), || journal.verdict(offset) == Verdict::Safe);
    let file = storage.crashed_with_names().read(Path::new("/log.2.incr.aof")).unwrap();
    assert!(String::from_utf8_lossy(&file).contains("$1\r\nb\r\n$1\r\n3\r\n"));
}

#[test]
fn nobody_waits_for_ever() {
    let storage = SimulatedStorage::new(5);
    let bench = journaled(&storage, Policy::EverySecond);
    let journal = bench.node.journal();
    bench.run("SET a 1");
    let offset = journal.pushed();
    storage.stop_at(storage.calls());
    journal.write();
    let start = Instant::now();
    soon(GIVE_UP + Duration::from_secs(3), || journal.verdict(offset) == Verdict::Lost);
    assert!(start.elapsed() > Duration::from_secs(1));
    // Turning the log off is a way out.
    let at = bench.node.hold_all().cut_journal(None);
    assert!(journal.leave(at).is_err());
    assert_eq!(bench.run("SET a 2"), "OK");
    assert_eq!(journal.verdict(journal.pushed()), Verdict::Safe);
}

#[test]
fn every_policy_syncs_in_its_time() {
    for (policy, time) in [(Policy::Always, 1), (Policy::EverySecond, 3)] {
        let storage = SimulatedStorage::new(6);
        let bench = journaled(&storage, policy);
        let journal = bench.node.journal();
        for n in 0..2 {
            bench.run(&format!("SET a {n}"));
            let offset = journal.pushed();
            journal.write();
            soon(Duration::from_secs(time), || journal.synced() >= offset);
        }
    }
    let storage = SimulatedStorage::new(7);
    let bench = journaled(&storage, Policy::Never);
    let journal = bench.node.journal();
    bench.run("SET a 1");
    journal.write();
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(journal.figures().syncs, 0);
    journal.suspend_syncs(true);
    journal.configure(Policy::Always, false);
    assert_eq!(
        journal.verdict(journal.pushed()),
        Verdict::Safe,
        "while a rewrite runs, nobody waits for syncs"
    );
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(journal.figures().syncs, 0);
    journal.suspend_syncs(false);
    soon(Duration::from_secs(1), || journal.synced() == journal.pushed());
}

/// Many commit at once, each waits for its own write: everyone is woken.
#[test]
fn groups_commit_together() {
    commit_together(Journal::write);
    let figures = commit_together(Journal::flush);
    assert!(figures.writes <= figures.syncs + 1, "a sync costs one write: {figures:?}");
    commit_together(Journal::flush_alone);
}

/// Who waits alone syncs by himself; a failure is one for everybody, as one of the thread.
#[test]
fn who_waits_alone_syncs_and_hears_of_failures() {
    let storage = SimulatedStorage::new(10);
    let bench = journaled(&storage, Policy::Always);
    let journal = bench.node.journal();
    for n in 0..100 {
        bench.run(&format!("SET a {n}"));
        journal.flush_alone();
        assert_eq!(journal.verdict(journal.pushed()), Verdict::Safe, "without waiting");
        assert_eq!(replayed(&storage.crashed_with_names(), &[LOG]), held(&bench));
    }
    storage.fail_appends(Some(Fault::Full));
    bench.run("SET a full");
    let offset = journal.pushed();
    journal.flush_alone();
    assert_eq!(journal.verdict(offset), Verdict::Wait, "it is not acknowledged");
    assert!(journal.is_failing());
    storage.fail_appends(None);
    // The journal's thread tries again, though nobody asks it to.
    soon(Duration::from_secs(30), || journal.verdict(offset) == Verdict::Safe);
    assert_eq!(replayed(&storage.crashed_with_names(), &[LOG]), held(&bench));
    bench.run("SET a lost");
    let offset = journal.pushed();
    // The write, and the sync after it.
    storage.fail(storage.calls() + 1, Fault::Broken);
    journal.flush_alone();
    soon(Duration::from_secs(30), || journal.verdict(offset) == Verdict::Lost);
    assert!(matches!(journal.health(), Health::Distrusted(_)));
    assert_eq!(bench.run("SET a 3"), format!("-{BROKEN}"));
}

#[track_caller]
fn commit_together(flush: fn(&Journal)) -> Figures {
    let storage = SimulatedStorage::new(8);
    let bench = journaled(&storage, Policy::Always);
    std::thread::scope(|scope| {
        for core in 0..4 {
            let client = bench.client();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                let journal = client.node.journal();
                for n in 0..300 {
                    client.run(&format!("SET key:{core} {n}"));
                    let offset = journal.pushed();
                    flush(journal);
                    let safe = std::future::poll_fn(|cx| {
                        journal.register(core, cx.waker());
                        match journal.verdict(offset) {
                            Verdict::Safe => std::task::Poll::Ready(()),
                            _ => std::task::Poll::Pending,
                        }
                    });
                    let limit = Duration::from_secs(20);
                    runtime.block_on(async { tokio::time::timeout(limit, safe).await.expect("a wake-up") });
                }
            });
        }
    });
    let figures = bench.node.journal().figures();
    assert!(figures.syncs <= 1_201, "{figures:?}");
    assert_eq!(replayed(&storage.crashed_with_names(), &[LOG]), held(&bench));
    figures
}

/// What the thread has to write is written whatever becomes of the policy, and waits for room like everything else.
#[test]
fn what_is_left_to_the_thread_is_written() {
    let storage = SimulatedStorage::new(9);
    let bench = journaled(&storage, Policy::Always);
    let journal = bench.node.journal();
    for (n, policy) in
        [Policy::EverySecond, Policy::Never, Policy::Always].into_iter().cycle().take(60).enumerate()
    {
        bench.run(&format!("SET a {n}"));
        let offset = journal.pushed();
        journal.flush();
        journal.configure(policy, true);
        soon(Duration::from_secs(30), || journal.verdict(offset) == Verdict::Safe);
        assert_eq!(replayed(&storage.killed(), &[LOG]), held(&bench));
    }
    for n in 0..20 {
        bench.run(&format!("SET b {n}"));
        let offset = journal.pushed();
        journal.flush();
        journal.suspend_syncs(n % 2 == 0);
        soon(Duration::from_secs(30), || journal.verdict(offset) == Verdict::Safe);
    }
    storage.fail_appends(Some(Fault::Full));
    bench.run("SET a full");
    let offset = journal.pushed();
    journal.flush();
    soon(Duration::from_secs(30), || journal.is_failing());
    assert_eq!(journal.verdict(offset), Verdict::Wait, "it is not acknowledged");
    assert_eq!(bench.run("SET a refused"), format!("-{FULL}"));
    storage.fail_appends(None);
    soon(Duration::from_secs(30), || journal.verdict(offset) == Verdict::Safe);
    assert_eq!(replayed(&storage.crashed_with_names(), &[LOG]), held(&bench));
}
