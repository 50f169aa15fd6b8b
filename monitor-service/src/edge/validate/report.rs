//! What a witness reports.

use monitorable::monitor::v1 as wire;

use super::{Invalid, id, optional_id, shown};
use crate::domain::{Sighting, Vantage, WitnessReport};
use crate::probe::convert::time;

/// Events of one report.
pub(crate) const MAX_EVENTS: usize = 1_000;
/// Threads that one consumer may name as being read.
pub(crate) const MAX_READING: usize = 10_000;
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
    let observe_time = event
        .observe_time
        .map(|stamp| {
            time(stamp).ok_or_else(|| {
                let why = format!(
                    "{} s and {} ns is not allowed; allowed is a time in the years 1970 to 9999",
                    stamp.seconds, stamp.nanos
                );
                Invalid::new(&field("observe_time"), why)
            })
        })
        .transpose()?;
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
}
