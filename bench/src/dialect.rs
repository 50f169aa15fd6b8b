//! How each server wraps a payload inside its frames.

use crate::payload::{self, Stamp};

/// What a server's frames hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The payload and nothing else.
    Plain,
    /// `monitorable.v1.json`: an object whose last member is the payload.
    Bridge,
    /// The NATS protocol: any number of operations in a frame.
    Nats,
}

/// What a frame was found to hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Something that the server may say, and that is no message.
    Talk,
    /// Anything else.
    Strange,
}

impl Dialect {
    /// What the server says once a reader has its place. A plain one has it at the upgrade.
    pub(crate) fn in_place(self) -> &'static [u8] {
        match self {
            Self::Plain => b"",
            Self::Bridge => br#"{"type":"welcome","#,
            Self::Nats => b"PONG\r\n",
        }
    }

    /// Hands each message of a data frame on, and says whether there was anything else in it.
    pub(crate) fn read(self, frame: &[u8], mut take: impl FnMut(Stamp)) -> Option<Found> {
        let message = match self {
            Self::Plain => Stamp::read(frame),
            Self::Bridge => bridge(frame),
            Self::Nats => return nats(frame, take),
        };
        match message {
            Some(stamp) => {
                take(stamp);
                None
            }
            None if self == Self::Bridge && is_bridge_talk(frame) => Some(Found::Talk),
            None => Some(Found::Strange),
        }
    }
}

/// An event of the bridge. Its own sequence must be the number that was sent.
fn bridge(frame: &[u8]) -> Option<Stamp> {
    const HEAD: &[u8] = br#"{"type":"event","seq":"#;
    let object = frame.strip_suffix(b"}")?;
    let stamp = Stamp::read(object.get(object.len().checked_sub(payload::BYTES)?..)?)?;
    let sequence = leading_number(frame.strip_prefix(HEAD)?);
    (sequence == stamp.number).then_some(stamp)
}

fn is_bridge_talk(frame: &[u8]) -> bool {
    [&br#"{"type":"welcome","#[..], br#"{"type":"heartbeat","#]
        .iter()
        .any(|head| frame.starts_with(head))
}

fn leading_number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
}

/// `MSG subject id length\r\npayload\r\n`, and the lines of the protocol between them.
fn nats(frame: &[u8], mut take: impl FnMut(Stamp)) -> Option<Found> {
    const LINE_END: &[u8] = b"\r\n";
    let mut rest = frame;
    let mut talk = None;
    while !rest.is_empty() {
        let Some(end) = rest.windows(2).position(|two| two == LINE_END) else {
            return Some(Found::Strange);
        };
        let (line, after) = (&rest[..end], &rest[end + 2..]);
        if line.starts_with(b"MSG ") {
            let stamp = after.get(..payload::BYTES).and_then(Stamp::read);
            let after = after.get(payload::BYTES + LINE_END.len()..);
            let (Some(stamp), Some(after)) = (stamp, after) else {
                return Some(Found::Strange);
            };
            take(stamp);
            rest = after;
        } else if [&b"INFO "[..], b"PONG", b"PING", b"+OK"]
            .iter()
            .any(|word| line.starts_with(word))
        {
            talk = Some(Found::Talk);
            rest = after;
        } else {
            return Some(Found::Strange);
        }
    }
    talk
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dialect: Dialect, frame: &[u8]) -> (Vec<u64>, Option<Found>) {
        let mut numbers = Vec::new();
        let found = dialect.read(frame, |stamp| numbers.push(stamp.number));
        (numbers, found)
    }

    fn payload(number: u64) -> String {
        String::from_utf8(Stamp { number, sent: 1 }.write().to_vec()).unwrap()
    }

    #[test]
    fn a_plain_frame_is_the_payload() {
        assert_eq!(read(Dialect::Plain, payload(3).as_bytes()), (vec![3], None));
        assert_eq!(
            read(Dialect::Plain, b"hello"),
            (vec![], Some(Found::Strange))
        );
    }

    #[test]
    fn an_event_of_the_bridge_must_have_its_own_number() {
        let event = |sequence: u64, number: u64| {
            let data = payload(number);
            format!(r#"{{"type":"event","seq":{sequence},"epoch":"e","data":{data}}}"#)
        };
        let good = event(12, 12);
        assert_eq!(read(Dialect::Bridge, good.as_bytes()), (vec![12], None));
        let bad = event(11, 12);
        assert_eq!(
            read(Dialect::Bridge, bad.as_bytes()),
            (vec![], Some(Found::Strange))
        );
        let talk = br#"{"type":"heartbeat","seq":12}"#;
        assert_eq!(read(Dialect::Bridge, talk), (vec![], Some(Found::Talk)));
        let goodbye = br#"{"type":"goodbye","code":4008}"#;
        assert_eq!(
            read(Dialect::Bridge, goodbye),
            (vec![], Some(Found::Strange))
        );
    }

    #[test]
    fn a_frame_of_nats_holds_many_messages() {
        let message = |number| format!("MSG t 1 256\r\n{}\r\n", payload(number));
        let frame = format!("{}PING\r\n{}", message(1), message(2));
        assert_eq!(
            read(Dialect::Nats, frame.as_bytes()),
            (vec![1, 2], Some(Found::Talk))
        );
        let cut = &frame.as_bytes()[..frame.len() - 3];
        assert_eq!(read(Dialect::Nats, cut), (vec![1], Some(Found::Strange)));
        assert_eq!(
            read(Dialect::Nats, b"-ERR 'x'\r\n"),
            (vec![], Some(Found::Strange))
        );
    }
}
