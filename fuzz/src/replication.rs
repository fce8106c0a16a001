//! What a primary sends: however it comes in pieces, the same is read, and nothing in it makes a replica panic.

use crate::input::Choices;
use baton::replication::handshake::{Action, Facts, Handshake, Outcome};
use baton::replication::payload::{Payload, Piece};
use baton::replication::stream::Cutter;
use bytes::BytesMut;

/// The first byte chooses the size of the pieces and what they are; the rest is what the primary sends.
pub fn replication_wire(data: &[u8]) {
    let mut choices = Choices::new(data);
    let first = choices.byte();
    let sent = choices.rest();
    let piece = usize::from(first >> 2) + 1;
    match first & 3 {
        0 => handshake(sent),
        1 => assert_eq!(payload(sent, piece), payload(sent, sent.len().max(1))),
        _ => assert_eq!(stream(sent, piece), stream(sent, sent.len().max(1))),
    }
}

fn handshake(sent: &[u8]) {
    let facts = Facts { auth: Some((Vec::new(), b"secret".to_vec())), port: 1, ..Facts::default() };
    let (mut state, mut action) = Handshake::begin();
    for line in sent.split(|byte| *byte == b'\n') {
        let is_over = matches!(action, Action::End(_));
        (state, action) = state.on(line, &facts);
        if is_over {
            assert_eq!((state, &action), (Handshake::Over, &Action::Wait));
            return;
        }
        if let Action::End(Outcome::Full(Some((id, _)))) = &action {
            assert_eq!(id.as_str().len(), 40);
        }
    }
}

/// The data, what is left behind them, and whether the end was seen or an error. Of bytes that end too early the last few are not
/// data yet: they may belong to the mark.
fn payload(sent: &[u8], piece: usize) -> (Vec<u8>, Option<Vec<u8>>, bool) {
    let (mut payload, mut buffer, mut data) = (Payload::default(), Vec::new(), Vec::new());
    let mut rest = sent;
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(piece.min(rest.len()));
        buffer.extend_from_slice(part);
        rest = behind;
        loop {
            let Ok((piece, used)) = payload.next(&buffer) else { return (data, None, true) };
            match piece {
                Piece::More => break,
                Piece::Data(bytes) => data.extend_from_slice(bytes),
                Piece::End => {
                    buffer.drain(..used);
                    buffer.extend_from_slice(rest);
                    return (data, Some(buffer), false);
                }
                Piece::Alive | Piece::Begin(_) => {}
            }
            buffer.drain(..used);
        }
    }
    (data, None, false)
}

/// Units as lists of commands, and whether they end with an error.
type Units = (Vec<Vec<(usize, Vec<Vec<u8>>)>>, bool);

fn stream(sent: &[u8], piece: usize) -> Units {
    let (mut cutter, mut buffer, mut units) = (Cutter::new(0), BytesMut::new(), Vec::new());
    let mut taken = 0;
    for piece in sent.chunks(piece) {
        buffer.extend_from_slice(piece);
        // Units before what is no stream are lost with the connection: they are asked for again.
        let Ok(chunk) = cutter.cut(&mut buffer) else { return (Vec::new(), true) };
        taken += chunk.bytes().len();
        for unit in chunk.units() {
            units.push(unit.commands().map(|(db, args)| (db, args.map(<[u8]>::to_vec).collect())).collect());
        }
    }
    assert_eq!(taken + buffer.len(), sent.len());
    (units, false)
}
