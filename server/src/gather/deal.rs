//! Dealing connections out to cores.

/// The core of each connection: as even as can be by what they have sent of late, with as few moves as that allows. Given is
/// where each is, and how many commands came from it.
pub fn deal(connections: &[(usize, u64)], cores: usize) -> Vec<usize> {
    let total: u64 = connections.iter().map(|(_, commands)| commands).sum();
    // Those that are silent are spread as well: they may not stay so.
    let silent = total / (100 * connections.len().max(1) as u64) + 1;
    let weights: Vec<u64> = connections.iter().map(|(_, commands)| commands + silent).collect();
    let fair = weights.iter().sum::<u64>() as f64 / cores as f64;
    // The busiest first, while there is room everywhere.
    let mut order: Vec<usize> = (0..connections.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(weights[*at]));
    let mut loads = vec![0; cores];
    let mut dealt = vec![0; connections.len()];
    for at in order {
        let (home, weight) = (connections[at].0, weights[at]);
        let has_room = loads.get(home).is_some_and(|load| (load + weight) as f64 <= fair);
        let least = (0..cores).min_by_key(|core| loads[*core]).unwrap_or(0);
        let core = if has_room { home } else { least };
        loads[core] += weight;
        dealt[at] = core;
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(connections: &[(usize, u64)], cores: usize) -> (Vec<u64>, Vec<usize>, usize) {
        let dealt = deal(connections, cores);
        let (mut commands, mut counts) = (vec![0; cores], vec![0; cores]);
        for (core, (_, sent)) in dealt.iter().zip(connections) {
            commands[*core] += sent;
            counts[*core] += 1;
        }
        let moves = dealt.iter().zip(connections).filter(|(core, (home, _))| *core != home).count();
        (commands, counts, moves)
    }

    #[test]
    fn even_by_what_they_send_and_nobody_moves_in_vain() {
        assert_eq!(loads(&[], 3), (vec![0, 0, 0], vec![0, 0, 0], 0));
        assert_eq!(loads(&[(0, 10); 50], 2), (vec![250, 250], vec![25, 25], 25));
        assert_eq!(loads(&[(0, 10), (1, 10), (2, 10)], 1), (vec![30], vec![3], 2));
        let dealt = [(0, 5), (1, 5), (0, 5), (1, 5)];
        assert_eq!(loads(&dealt, 2), (vec![10, 10], vec![2, 2], 0));
        // Two that are busy among many that are not.
        let mut connections = vec![(0, 0); 100];
        (connections[3].1, connections[4].1) = (1_000, 1_000);
        let (commands, counts, moves) = loads(&connections, 2);
        assert_eq!((commands, moves), (vec![1_000, 1_000], counts[1]));
        assert!(counts.iter().all(|count| (40..=60).contains(count)), "{counts:?}");
        // One that is busier than all others together.
        let (commands, ..) = loads(&[(0, 90), (0, 1), (0, 1), (0, 1)], 2);
        assert_eq!(commands, [90, 3]);
    }
}
