//! What an agent does in one run.

use super::dice::{Dice, MILLI};
use super::world::At;

/// One event, and how long after the one before.
pub(super) struct Step {
    pub(super) wait: At,
    pub(super) kind: &'static str,
    pub(super) tool: String,
}

impl Step {
    pub(super) fn new(wait: At, kind: &'static str, tool: String) -> Self {
        Self { wait, kind, tool }
    }
}

/// The events of a run, the last one first. Its pauses leave room for what else may hold an event
/// up: a restart, and a witness's line that is down.
pub(super) fn script(run: &str, dice: &mut Dice) -> Vec<Step> {
    // Moments from the beginning of the run, in order or not.
    let mut moments: Vec<(At, &'static str, String)> = Vec::new();
    let mut at = 0;
    let mut calls = 0;
    moments.push((at, "agent_started", String::new()));
    for _ in 0..dice.number(0, 5) {
        at += if dice.chance(0.1) {
            dice.millis(5_000, 10_000)
        } else {
            dice.millis(50, 3_000)
        };
        moments.push((at, "agent_thinking", String::new()));
        if dice.chance(0.5) {
            at = tools(run, at, &mut calls, &mut moments, dice);
        }
    }
    at += dice.millis(10, 2_000);
    if dice.chance(0.05) {
        moments.push((at, "agent_error", String::new()));
    } else {
        moments.push((at, "agent_message", String::new()));
        moments.push((at + 1, "agent_completed", String::new()));
    }
    moments.sort_by_key(|moment| moment.0);
    let mut before = 0;
    let mut steps: Vec<_> = moments
        .into_iter()
        .map(|(at, kind, tool)| Step::new(at - std::mem::replace(&mut before, at), kind, tool))
        .collect();
    steps.reverse();
    steps
}

/// One to four tools at once, which end in any order; returns when the last one has ended.
fn tools(
    run: &str,
    mut at: At,
    calls: &mut u64,
    moments: &mut Vec<(At, &'static str, String)>,
    dice: &mut Dice,
) -> At {
    let mut last = at;
    for _ in 0..dice.number(1, 4) {
        *calls += 1;
        let call = format!("{run}#{calls}");
        at += dice.millis(0, 200);
        moments.push((at, "tool_executing", call.clone()));
        let lasts = match dice.number(0, 19) {
            0 => dice.millis(20_000, 35_000),
            1..=4 => dice.millis(3_000, 20_000),
            _ => dice.millis(5, 2_000),
        };
        let end = at + lasts;
        if dice.chance(0.5) {
            let mut progress = at + dice.millis(2_000, 10_000);
            while progress < end {
                moments.push((progress, "custom", String::new()));
                progress += dice.millis(2_000, 10_000);
            }
        }
        moments.push((end, "tool_completed", call));
        last = last.max(end);
    }
    last + MILLI
}
