//! Claims beside what witnesses saw.

use std::time::Duration;

use service_kit::clock::Now;

use super::format::{count, span};
use super::rule::View;
use crate::domain::{Agreement, EventValidation};
use crate::evidence::status::Totals;

/// Compares, and says how it came out. `contradicted`: a conclusive finding rests on witnesses.
pub(crate) fn validate(
    view: &View<'_>,
    contradicted: bool,
    grace: Duration,
    now: Now,
) -> EventValidation {
    let totals = view.evidence.totals(now);
    let unseen = view.losses.unseen;
    let (agreement, message) = judge(view, &totals, contradicted, grace);
    EventValidation {
        produced: totals.produced,
        consumed: totals.consumed,
        unseen,
        producers: totals.producers,
        consumers: totals.consumers,
        threads: totals.threads,
        runs_open: totals.runs_open,
        delay_median: totals.delay_median,
        agreement,
        message,
    }
}

fn judge(
    view: &View<'_>,
    totals: &Totals,
    contradicted: bool,
    grace: Duration,
) -> (Agreement, String) {
    let compared = format!(
        "{} reported by {}, {} by {}",
        count(totals.produced, "event"),
        count(totals.producers.into(), "producer"),
        totals.consumed,
        count(totals.consumers.into(), "consumer"),
    );
    let undecided = |why: &str| (Agreement::Undecided, format!("{compared}: {why}."));
    if contradicted {
        let lacking: u64 = view
            .losses
            .missing
            .iter()
            .map(|missing| missing.events)
            .sum();
        let what = match (view.losses.unseen, lacking) {
            (0, 0) => "they contradict the claims".to_owned(),
            (unseen, lacking) => format!(
                "{unseen} reached nobody and {lacking} are missing at single consumers after \
                 more than {}",
                span(grace)
            ),
        };
        return (Agreement::Contradicted, format!("{compared}: {what}."));
    }
    // A producer may have left when its work was done. Without a consumer nothing can be seen.
    match (totals.producers, totals.consumers) {
        (0, 0) => return undecided("nobody is reporting"),
        (_, 0) => return undecided("no consumer is reporting"),
        (0, _) if totals.produced == 0 => return undecided("no producer is reporting"),
        _ => {}
    }
    if view.losses.unseen > 0 {
        return undecided(&format!(
            "{} not been seen by a consumer for more than {}, which is not enough to conclude",
            match view.losses.unseen {
                1 => "1 has".to_owned(),
                unseen => format!("{unseen} have"),
            },
            span(grace)
        ));
    }
    let baseline = view.claims.baseline();
    let confirmed = totals
        .newest_confirmed
        .is_some_and(|at| baseline.is_none_or(|baseline| at >= baseline));
    if !confirmed {
        return undecided("no event was seen by both");
    }
    (
        Agreement::Confirmed,
        format!("{compared}: nothing is missing after {}.", span(grace)),
    )
}
