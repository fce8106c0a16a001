//! LATENCY tells of a log that takes long to be written.

use super::server_with;

#[test]
fn writes_that_take_long_are_spikes() {
    let mut server = server_with(&[("appendfsync", "no"), ("enable-debug-command", "yes")]);
    let mut client = server.client();
    for command in ["CONFIG SET latency-monitor-threshold 20", "SET key 1", "LATENCY RESET"] {
        assert!(!client.run(command).is_error(), "{command}");
    }
    client.run("DEBUG AOF-FLUSH-SLEEP 30000");
    client.run("SET key 2");
    client.run("DEBUG AOF-FLUSH-SLEEP 0");
    let latest = client.run("LATENCY LATEST");
    let events = latest.elements().expect("events").iter();
    let events: Vec<_> = events.map(|event| event.elements().expect("an event")[0].text()).collect();
    for event in ["aof-write", "aof-write-alone"] {
        assert!(events.iter().any(|seen| seen == event), "{event} in {events:?}");
        let history = client.run(&format!("LATENCY HISTORY {event}"));
        let spikes = history.elements().expect("spikes");
        let ms = spikes.iter().filter_map(|spike| spike.elements()?[1].integer());
        assert!(ms.max().is_some_and(|ms| ms >= 30), "{history:?}");
        assert!(client.run(&format!("LATENCY GRAPH {event}")).text().starts_with(event));
        assert!(client.run("LATENCY DOCTOR").text().contains(&format!("{event}: ")));
    }
    assert!(client.run("LATENCY DOCTOR").text().contains("a disk of its own"));
}
