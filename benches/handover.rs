//! What it costs to take a baton and let it go. `free` is the price that every batch pays; `contended` has a second
//! thread that takes the same baton all the time, which is the worst that two cores can do to each other; `two` is a
//! command over two cores. `move` gives a slot to another core and back: should it grow with the keys of the slot,
//! somebody copies.

use baton::Node;
use baton_benches::node;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn take(node: &Arc<Node>, cores: &[usize]) {
    black_box(node.hold(|_| cores.iter().copied().collect()).now_ms());
}

fn handover(c: &mut Criterion) {
    let node = node();
    c.bench_function("handover/free", |b| b.iter(|| take(&node, &[0])));
    c.bench_function("handover/two", |b| b.iter(|| take(&node, &[0, 1])));
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                take(&node, &[0]);
            }
        });
        c.bench_function("handover/contended", |b| b.iter(|| take(&node, &[0])));
        stop.store(true, Ordering::Relaxed);
    });
    let mut to = 1;
    c.bench_function("handover/move", |b| {
        b.iter(|| {
            black_box(node.move_slots(0, 0, to));
            to = 1 - to;
        });
    });
}

criterion_group!(benches, handover);
criterion_main!(benches);
