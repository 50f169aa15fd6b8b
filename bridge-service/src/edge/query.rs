//! What a reader asks for in the URL.

use axum::extract::Query;
use http::Uri;

use super::ingest::validate::{check_identifier, check_thread_id, shown};
use crate::hub::event::Position;

/// Longest query that is parsed, in bytes.
const MAX_QUERY_BYTES: usize = 2_048;
/// The parameters that there are.
const KNOWN: &str = "thread_id, and epoch with after to resume";

/// A checked request of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) thread_id: String,
    /// `None`: from the beginning of the replay window.
    pub(crate) position: Option<Position>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not a valid request; the sentence says why and what is allowed.
    Invalid(String),
    /// The thread is one of the bridge's own.
    Forbidden(String),
}

/// Parses and checks the query of a URL.
///
/// # Errors
/// See [`Refused`].
pub(crate) fn parse(uri: &Uri) -> Result<Wanted, Refused> {
    let length = uri.query().map_or(0, str::len);
    if length > MAX_QUERY_BYTES {
        return Err(Refused::Invalid(format!(
            "query: {length} bytes are not allowed; allowed are up to {MAX_QUERY_BYTES}"
        )));
    }
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| Refused::Invalid(format!("query: {}", error.body_text())))?;
    let mut parameters = Parameters::default();
    for (name, value) in pairs {
        parameters.set(&name, value).map_err(Refused::Invalid)?;
    }
    let thread_id = parameters.thread_id.ok_or_else(|| {
        Refused::Invalid(format!("thread_id: it is missing; allowed are {KNOWN}"))
    })?;
    check_identifier("thread_id", &thread_id).map_err(Refused::Invalid)?;
    check_thread_id(&thread_id).map_err(Refused::Forbidden)?;
    let position = position(parameters.epoch, parameters.after).map_err(Refused::Invalid)?;
    Ok(Wanted {
        thread_id,
        position,
    })
}

/// Parses the header with which a server-sent-events reader resumes: `EPOCH:SEQ`.
///
/// # Errors
/// One sentence with the value and what is allowed.
pub(crate) fn parse_last_event_id(value: &str) -> Result<Position, String> {
    let refused = || {
        let shown = shown(value);
        format!(
            "Last-Event-ID: {shown} is not allowed; allowed is EPOCH:SEQ as an event's id had it"
        )
    };
    let (epoch, after) = value.rsplit_once(':').ok_or_else(refused)?;
    position(Some(epoch.to_owned()), Some(after.to_owned()))
        .ok()
        .flatten()
        .ok_or_else(refused)
}

#[derive(Default)]
struct Parameters {
    thread_id: Option<String>,
    epoch: Option<String>,
    after: Option<String>,
}

impl Parameters {
    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let place = match name {
            "thread_id" => &mut self.thread_id,
            "epoch" => &mut self.epoch,
            "after" => &mut self.after,
            "token" | "access_token" => {
                return Err(format!(
                    "{name}: a token does not belong into a URL, which is logged; allowed are the header Authorization: Bearer TOKEN, the subprotocol bearer.TOKEN and the frame {{\"type\":\"auth\",\"token\":\"TOKEN\"}}"
                ));
            }
            _ => {
                let shown = shown(name);
                return Err(format!(
                    "{shown}: there is no such parameter; allowed are {KNOWN}"
                ));
            }
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(format!("{name}: it is there twice; allowed is once")),
        }
    }
}

fn position(epoch: Option<String>, after: Option<String>) -> Result<Option<Position>, String> {
    let (epoch, after) = match (epoch, after) {
        (None, None) => return Ok(None),
        (Some(epoch), Some(after)) => (epoch, after),
        (Some(_), None) => return Err("after: it is missing; epoch needs it".to_owned()),
        (None, Some(_)) => return Err("epoch: it is missing; after needs it".to_owned()),
    };
    check_identifier("epoch", &epoch)?;
    let digits = after.bytes().all(|byte| byte.is_ascii_digit());
    match after.parse() {
        Ok(after) if digits => Ok(Some(Position { epoch, after })),
        _ => Err(format!(
            "after: {} is not allowed; allowed is a whole number from 0 to {}",
            shown(&after),
            u64::MAX
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Wanted, Refused> {
        parse(&format!("/v1/events?{query}").parse().unwrap())
    }

    fn invalid(query: &str) -> String {
        match asked(query) {
            Err(Refused::Invalid(error)) => error,
            other => panic!("{query} gave {other:?}"),
        }
    }

    #[test]
    fn a_thread_and_where_to_resume() {
        let wanted = asked("thread_id=a%2Fb&after=7&epoch=e1").unwrap();
        assert_eq!(wanted.thread_id, "a/b");
        let position = wanted.position.unwrap();
        assert_eq!((position.epoch.as_str(), position.after), ("e1", 7));
        assert_eq!(asked("thread_id=t").unwrap().position, None);
    }

    #[test]
    fn whatever_else_is_refused_by_name() {
        let long = format!("thread_id={}", "x".repeat(3_000));
        for (query, part) in [
            ("", "thread_id: it is missing"),
            ("thread_id=", "thread_id: it is empty"),
            ("thread_id=a%20b", "thread_id: \"a b\""),
            ("thread_id=t&after=1", "epoch: it is missing"),
            ("thread_id=t&epoch=e", "after: it is missing"),
            ("thread_id=t&epoch=e&after=-1", "after: \"-1\""),
            ("thread_id=t&epoch=e&after=%2B1", "after: \"+1\""),
            (
                "thread_id=t&epoch=e&after=18446744073709551616",
                "after: \"18446744073709551616\"",
            ),
            ("thread_id=t&epoch=&after=1", "epoch: it is empty"),
            ("thread_id=t&thread_id=u", "thread_id: it is there twice"),
            (
                "thread_id=t&thread=u",
                "\"thread\": there is no such parameter",
            ),
            ("thread_id=t&token=secret", "does not belong into a URL"),
            (
                "thread_id=t&access_token=secret",
                "does not belong into a URL",
            ),
            (long.as_str(), "query: 3010 bytes"),
        ] {
            let error = invalid(query);
            assert!(error.contains(part), "{query}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_bridges_own_threads_are_forbidden() {
        assert!(matches!(
            asked("thread_id=$self/1"),
            Err(Refused::Forbidden(_))
        ));
        assert!(asked("thread_id=$canary/1").is_ok());
    }

    #[test]
    fn last_event_ids_are_epoch_and_sequence() {
        let position = parse_last_event_id("e:1:22").unwrap();
        assert_eq!((position.epoch.as_str(), position.after), ("e:1", 22));
        for bad in ["", "7", ":7", "e:", "e:x", "e:-1", "a b:1"] {
            assert!(
                parse_last_event_id(bad).unwrap_err().contains("EPOCH:SEQ"),
                "{bad}"
            );
        }
    }
}
