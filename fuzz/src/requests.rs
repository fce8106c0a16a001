//! The request parser: however the bytes trickle in, the requests are the same.

use crate::input::Choices;
use baton_server::protocol::{Limits, Parser, ProtocolError};

/// Requests, and why there are no more of them if that is the input's fault.
type Cut = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// The first byte chooses the limits and the size of the pieces, the rest is what a client sends.
pub fn request_parser(data: &[u8]) {
    /// Lines that are too long are refused as soon as they are seen to be, which pieces show earlier than the whole.
    const LEN_MAX: usize = 60 * 1024;
    let mut choices = Choices::new(data);
    let first = choices.byte();
    let limits =
        Limits { bulk_max: if first & 1 == 0 { 512 << 20 } else { 64 }, authenticated: first & 2 == 0 };
    let rest = choices.rest();
    let sent = &rest[..rest.len().min(LEN_MAX)];
    let (whole, pieces) =
        (cut(sent, sent.len().max(1), limits), cut(sent, usize::from(first >> 2) + 1, limits));
    assert_eq!(whole, pieces);
}

fn cut(sent: &[u8], piece: usize, limits: Limits) -> Cut {
    let (mut parser, mut buffer, mut requests) = (Parser::default(), Vec::new(), Vec::new());
    for piece in sent.chunks(piece) {
        buffer.extend_from_slice(piece);
        let outcome = parser.parse(&mut buffer, limits, usize::MAX);
        let mut places = parser.spans().iter();
        for count in parser.requests() {
            requests.push(places.by_ref().take(*count).map(|place| place.of(&buffer).to_vec()).collect());
        }
        if let Err(error) = outcome {
            return (requests, Some(error));
        }
        let done = parser.consume(parser.requests().len());
        buffer.drain(..done);
    }
    (requests, None)
}
