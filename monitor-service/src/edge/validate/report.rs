//! What a witness reports.

use std::time::{Duration, SystemTime};

use monitorable::monitor::v1 as wire;

use super::{Invalid, id, optional_id, shown};
use crate::domain::{Posting, Sighting, Vantage, WitnessReport};
use crate::probe::convert::{span, time};

/// Events of one report.
pub(crate) const MAX_EVENTS: usize = 1_000;
/// Threads that one consumer may name as being read.
pub(crate) const MAX_READING: usize = 10_000;
/// Longest promise and round trip.
const MAX_SPAN: Duration = Duration::from_secs(24 * 3_600);
/// Longest event type, in bytes.
const MAX_TYPE_BYTES: usize = 64;

/// Checks a report: it is taken whole, or refused whole for its first field that is not valid.
///
/// # Errors
/// That field.
pub(crate) fn report(request: wire::ReportEventsRequest) -> Result<WitnessReport, Invalid> {
    id("observer_id", &request.observer_id)?;
    let vantage = vantage(request.vantage)?;
    optional_id("component_id", &request.component_id)?;
    at_most("events", request.events.len(), MAX_EVENTS)?;
    at_most("reading", request.reading.len(), MAX_READING)?;
    if vantage == Vantage::Producer && !request.reading.is_empty() {
        let why = "is set, but only VANTAGE_CONSUMER reads threads";
        return Err(Invalid::new("reading", why));
    }
    let about_nothing = request.events.is_empty() || !request.reading.is_empty();
    if request.component_id.is_empty() && about_nothing {
        let why = "is empty; it is required where reading is set or events is empty";
        return Err(Invalid::new("component_id", why));
    }
    for (index, thread_id) in request.reading.iter().enumerate() {
        id(&format!("reading[{index}]"), thread_id)?;
    }
    let posting = posting(&request)?;
    let sightings = request
        .events
        .into_iter()
        .enumerate()
        .map(|(index, event)| sighting(index, event, &request.component_id))
        .collect::<Result<_, _>>()?;
    Ok(WitnessReport {
        observer_id: request.observer_id,
        vantage,
        component_id: request.component_id,
        sightings,
        reading: request.reading,
        sign_off: request.sign_off,
        posting,
    })
}

fn posting(request: &wire::ReportEventsRequest) -> Result<Posting, Invalid> {
    optional_id("session_id", &request.session_id)?;
    if request.report_number != 0 && request.session_id.is_empty() {
        let why = format!(
            "{} is not allowed while session_id is empty; allowed is 0",
            request.report_number
        );
        return Err(Invalid::new("report_number", why));
    }
    let posting = Posting {
        session_id: request.session_id.clone(),
        number: request.report_number,
        sent: moment("send_time", request.send_time)?,
        round_trip: length("round_trip", request.round_trip)?,
        next_within: length("next_within", request.next_within)?,
    };
    if posting.next_within.is_some_and(|promise| promise.is_zero()) {
        let why = "0 s is not allowed; allowed is more than 0 s, up to 1 day";
        return Err(Invalid::new("next_within", why));
    }
    Ok(posting)
}

fn moment(
    field: &str,
    stamp: Option<prost_types::Timestamp>,
) -> Result<Option<SystemTime>, Invalid> {
    let Some(stamp) = stamp else { return Ok(None) };
    time(stamp).map(Some).ok_or_else(|| {
        let why = format!(
            "{} s and {} ns is not allowed; allowed is a time in the years 1970 to 9999",
            stamp.seconds, stamp.nanos
        );
        Invalid::new(field, why)
    })
}

fn length(field: &str, value: Option<prost_types::Duration>) -> Result<Option<Duration>, Invalid> {
    let Some(value) = value else { return Ok(None) };
    let allowed = span(value).filter(|span| *span <= MAX_SPAN);
    allowed.map(Some).ok_or_else(|| {
        let why = format!(
            "{} s and {} ns is not allowed; allowed is 0 s to 1 day",
            value.seconds, value.nanos
        );
        Invalid::new(field, why)
    })
}

fn vantage(value: i32) -> Result<Vantage, Invalid> {
    match wire::Vantage::try_from(value) {
        Ok(wire::Vantage::Producer) => Ok(Vantage::Producer),
        Ok(wire::Vantage::Consumer) => Ok(Vantage::Consumer),
        Ok(wire::Vantage::Unspecified) | Err(_) => Err(Invalid::new(
            "vantage",
            format!(
                "{value} is not allowed; allowed are VANTAGE_PRODUCER (1) and VANTAGE_CONSUMER (2)"
            ),
        )),
    }
}

fn at_most(field: &str, count: usize, max: usize) -> Result<(), Invalid> {
    if count > max {
        let why = format!("{count} are too many; allowed are {max}");
        return Err(Invalid::new(field, why));
    }
    Ok(())
}

fn sighting(
    index: usize,
    event: wire::ObservedEvent,
    component_id: &str,
) -> Result<Sighting, Invalid> {
    let field = |name: &str| format!("events[{index}].{name}");
    id(&field("event_id"), &event.event_id)?;
    id(&field("thread_id"), &event.thread_id)?;
    id(&field("run_id"), &event.run_id)?;
    event_type(&field("type"), &event.r#type)?;
    optional_id(&field("tool_call_id"), &event.tool_call_id)?;
    optional_id(&field("epoch"), &event.epoch)?;
    let component_id = if event.component_id.is_empty() {
        component_id.to_owned()
    } else {
        event.component_id
    };
    if component_id.is_empty() {
        let why = "is empty, and so is the request's component_id";
        return Err(Invalid::new(&field("component_id"), why));
    }
    id(&field("component_id"), &component_id)?;
    let observe_time = moment(&field("observe_time"), event.observe_time)?;
    optional_id(&field("connection_id"), &event.connection_id)?;
    if event.arrival != 0 && event.connection_id.is_empty() {
        let why = format!(
            "{} is not allowed while connection_id is empty; allowed is 0",
            event.arrival
        );
        return Err(Invalid::new(&field("arrival"), why));
    }
    Ok(Sighting {
        event_id: event.event_id,
        component_id,
        thread_id: event.thread_id,
        run_id: event.run_id,
        event_type: event.r#type,
        sequence: event.sequence,
        tool_call_id: event.tool_call_id,
        observe_time,
        epoch: event.epoch,
        connection_id: event.connection_id,
        arrival: event.arrival,
        replayed: event.replayed,
    })
}

fn event_type(field: &str, value: &str) -> Result<(), Invalid> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let begins_well = value.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if begins_well && value.len() <= MAX_TYPE_BYTES && value.bytes().all(letter) {
        return Ok(());
    }
    let why = format!(
        "{} is not allowed; allowed is a word such as agent_started, of up to {MAX_TYPE_BYTES} of a-z, 0-9 and _",
        shown(value)
    );
    Err(Invalid::new(field, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> wire::ObservedEvent {
        wire::ObservedEvent {
            event_id: "e1".to_owned(),
            thread_id: "t1".to_owned(),
            run_id: "r1".to_owned(),
            r#type: "agent_started".to_owned(),
            ..Default::default()
        }
    }

    fn request() -> wire::ReportEventsRequest {
        wire::ReportEventsRequest {
            observer_id: "browser-1".to_owned(),
            vantage: wire::Vantage::Consumer.into(),
            component_id: "bridge".to_owned(),
            events: vec![event(); 5],
            ..Default::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut wire::ReportEventsRequest)) -> String {
        let mut request = request();
        change(&mut request);
        report(request).unwrap_err().0
    }

    #[test]
    fn a_good_report_is_taken_with_the_component_filled_in() {
        let report = report(request()).unwrap();
        assert_eq!(report.sightings.len(), 5);
        assert!(report.sightings.iter().all(|s| s.component_id == "bridge"));
    }

    #[test]
    fn one_bad_event_refuses_the_batch_and_is_named() {
        let error = refusal(|r| r.events[3].event_id.clear());
        assert!(error.starts_with("events[3].event_id: is empty"), "{error}");
        let error = refusal(|r| r.events[4].thread_id = "two words".to_owned());
        assert!(error.starts_with("events[4].thread_id: "), "{error}");
    }

    #[test]
    fn types_are_words() {
        for good in ["agent_started", "custom", "tool_2"] {
            event_type("type", good).unwrap();
        }
        for bad in [
            "",
            "AGENT",
            "EVENT_TYPE_CUSTOM",
            "a b",
            "_x",
            "2x",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(event_type("type", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_rule_of_the_report_itself() {
        assert!(refusal(|r| r.observer_id.clear()).starts_with("observer_id: "));
        assert!(refusal(|r| r.vantage = 0).starts_with("vantage: 0"));
        assert!(refusal(|r| r.vantage = 77).starts_with("vantage: 77"));
        assert!(refusal(|r| r.component_id.clear()).starts_with("events[0].component_id: "));
        assert!(
            refusal(|r| {
                r.component_id.clear();
                r.events.clear();
            })
            .starts_with("component_id: ")
        );
        assert!(refusal(|r| r.reading = vec![String::new()]).starts_with("reading[0]: "));
        assert!(
            refusal(|r| r.reading = vec!["t".to_owned(); 10_001]).starts_with("reading: 10001")
        );
        assert!(refusal(|r| r.events = vec![event(); 1_001]).starts_with("events: 1001"));
        assert!(
            refusal(|r| {
                r.vantage = wire::Vantage::Producer.into();
                r.reading = vec!["t".to_owned()];
            })
            .starts_with("reading: ")
        );
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        let error = refusal(|r| {
            r.events[1].observe_time = Some(prost_types::Timestamp {
                seconds: -1,
                nanos: 0,
            });
        });
        assert!(error.starts_with("events[1].observe_time: -1 s"), "{error}");
    }

    #[test]
    fn how_a_report_was_posted_is_checked() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let error = refusal(|r| r.session_id = "two words".to_owned());
        assert!(error.starts_with("session_id: "), "{error}");
        let error = refusal(|r| r.report_number = 7);
        assert!(error.starts_with("report_number: 7 is not"), "{error}");
        let error = refusal(|r| r.round_trip = seconds(-1));
        assert!(error.starts_with("round_trip: -1 s"), "{error}");
        let error = refusal(|r| r.next_within = seconds(0));
        assert!(error.starts_with("next_within: 0 s"), "{error}");
        let error = refusal(|r| r.next_within = seconds(86_401));
        assert!(error.starts_with("next_within: 86401 s"), "{error}");
        let error = refusal(|r| {
            r.send_time = Some(prost_types::Timestamp {
                seconds: 0,
                nanos: -1,
            });
        });
        assert!(error.starts_with("send_time: 0 s and -1 ns"), "{error}");
        let error = refusal(|r| r.events[2].arrival = 3);
        assert!(error.starts_with("events[2].arrival: 3 is not"), "{error}");
        let error = refusal(|r| r.events[2].connection_id = "ä".to_owned());
        assert!(error.starts_with("events[2].connection_id: "), "{error}");
    }

    #[test]
    fn how_a_report_was_posted_is_taken() {
        let mut request = request();
        request.session_id = "s".to_owned();
        request.report_number = 3;
        request.round_trip = Some(prost_types::Duration {
            seconds: 0,
            nanos: 2_000_000,
        });
        request.events[0].connection_id = "c".to_owned();
        request.events[0].arrival = 1;
        request.events[0].replayed = true;
        let report = report(request).unwrap();
        assert_eq!(
            (report.posting.session_id.as_str(), report.posting.number),
            ("s", 3)
        );
        assert_eq!(report.posting.round_trip, Some(Duration::from_millis(2)));
        let seen = &report.sightings[0];
        assert_eq!(
            (seen.connection_id.as_str(), seen.arrival, seen.replayed),
            ("c", 1, true)
        );
    }
}
