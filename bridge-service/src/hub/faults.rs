//! Fault points: ways in which the hub fails silently, for drills. Only builds with the feature
//! `fault-injection` have them.
//!
//! Each fault leaves the claims as they would be without it: what is lost counts as delivered,
//! and the self-checks stay green. That is what makes it silent.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use super::encode;
use super::event::{Encoding, Event, EventType};
use super::thread::{SELF_PREFIX, SYNTHETIC_PREFIX};

/// Events that one fault may touch.
const MAX_COUNT: u32 = 10_000;

/// A way to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The next events of a thread are not shown to readers, and count as delivered.
    Lose(Aim),
    /// The next events of a thread reach every reader twice.
    Duplicate(Aim),
    /// The next two events of a thread change places, where one batch brings both.
    Swap(Aim),
    /// The next events of a thread leave the ledger without a stage, and reach no reader.
    Vanish(Aim),
    /// Events that nobody handed in appear on a thread.
    Invent(Aim),
    /// From now on no event of a thread is shown to readers; all count as delivered.
    Mute(String),
    /// Events of a type get a receipt, and are not kept.
    Swallow(EventType),
    /// Nothing is written to readers any more.
    Wedge(Scope),
    /// All of them end.
    Heal,
}

/// Which events are hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aim {
    pub(crate) thread_id: String,
    pub(crate) count: u32,
}

/// Which readers are hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of users' threads.
    Users,
    /// Auditors' too; never those of the self-check.
    All,
}

const GRAMMAR: &str = "lose|duplicate|swap|vanish|invent THREAD COUNT, mute THREAD, swallow TYPE, \
                       wedge users|all, heal";

impl FromStr for Fault {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let fault = match words[..] {
            [kind, thread_id, count] => aimed(kind, aim(thread_id, count)?),
            ["mute", thread_id] => Some(Self::Mute(thread_id.to_owned())),
            ["swallow", name] => Some(Self::Swallow(event_type(name)?)),
            ["wedge", "users"] => Some(Self::Wedge(Scope::Users)),
            ["wedge", "all"] => Some(Self::Wedge(Scope::All)),
            ["heal"] => Some(Self::Heal),
            _ => None,
        };
        fault.ok_or_else(|| format!("{line:?} is no fault; allowed is {GRAMMAR}"))
    }
}

fn aimed(kind: &str, aim: Aim) -> Option<Fault> {
    match kind {
        "lose" => Some(Fault::Lose(aim)),
        "duplicate" => Some(Fault::Duplicate(aim)),
        "swap" => Some(Fault::Swap(aim)),
        "vanish" => Some(Fault::Vanish(aim)),
        "invent" => Some(Fault::Invent(aim)),
        _ => None,
    }
}

fn aim(thread_id: &str, count: &str) -> Result<Aim, String> {
    match count.parse() {
        Ok(count @ 1..=MAX_COUNT) => Ok(Aim {
            thread_id: thread_id.to_owned(),
            count,
        }),
        _ => Err(format!(
            "COUNT: {count:?} is not allowed; allowed is 1 to {MAX_COUNT}"
        )),
    }
}

fn event_type(name: &str) -> Result<EventType, String> {
    use EventType as T;
    let types = [
        T::AgentStarted,
        T::AgentThinking,
        T::ToolExecuting,
        T::ToolCompleted,
        T::AgentMessage,
        T::AgentCompleted,
        T::AgentError,
        T::Custom,
    ];
    let found = types.into_iter().find(|known| known.name() == name);
    found.ok_or_else(|| format!("TYPE: {name:?} is no event type such as agent_message"))
}

/// What happens to one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Lost,
    Doubled,
    /// It changes places with the one after it.
    First,
    /// It changes places with the one before it.
    Second,
}

/// The faults that are armed, and the events that they have hit.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Vec<Fault>,
    marks: HashMap<(Arc<str>, u64), Mark>,
    muted: BTreeSet<String>,
    swallowed: Option<EventType>,
    wedged: Option<Scope>,
    invented: u64,
}

impl Faults {
    /// Arms a fault; the events that it invents are returned, to be taken in.
    pub(crate) fn arm(&mut self, fault: Fault) -> Vec<Event> {
        match fault {
            Fault::Invent(aim) => return (0..aim.count).map(|_| self.invent(&aim)).collect(),
            Fault::Mute(thread_id) => drop(self.muted.insert(thread_id)),
            Fault::Swallow(event_type) => self.swallowed = Some(event_type),
            Fault::Wedge(scope) => self.wedged = Some(scope),
            Fault::Heal => {
                let invented = self.invented;
                *self = Self {
                    invented,
                    ..Self::default()
                };
            }
            aimed => self.armed.push(aimed),
        }
        Vec::new()
    }

    fn invent(&mut self, aim: &Aim) -> Event {
        self.invented += 1;
        Event {
            event_id: format!("invented-{}", self.invented),
            user_id: String::new(),
            thread_id: aim.thread_id.clone(),
            run_id: format!("{}-invented", aim.thread_id),
            agent_name: String::new(),
            event_type: EventType::AgentMessage,
            create_time: None,
            tool_name: String::new(),
            tool_call_id: String::new(),
            data: Bytes::from_static(b"{}"),
            trace: None,
        }
    }

    /// Whether an event gets its receipt and nothing else.
    pub(crate) fn swallows(&self, event: &Event) -> bool {
        self.swallowed == Some(event.event_type) && !event.thread_id.starts_with(SYNTHETIC_PREFIX)
    }

    /// Whether a thread's readers get nothing.
    pub(crate) fn wedges(&self, thread_id: &str) -> bool {
        match self.wedged {
            None => false,
            Some(Scope::Users) => !thread_id.starts_with(SYNTHETIC_PREFIX),
            Some(Scope::All) => !thread_id.starts_with(SELF_PREFIX),
        }
    }

    /// Notes what happens to an event that was just taken in. True: its step out of pending has
    /// no other side.
    pub(crate) fn taken_in(&mut self, thread_id: &Arc<str>, sequence: u64) -> bool {
        let mut vanishes = false;
        for fault in &mut self.armed {
            let (Fault::Lose(aim) | Fault::Duplicate(aim) | Fault::Swap(aim) | Fault::Vanish(aim)) =
                fault
            else {
                continue;
            };
            if aim.count == 0 || *aim.thread_id != **thread_id {
                continue;
            }
            aim.count -= 1;
            let mark = match fault {
                Fault::Duplicate(_) => Mark::Doubled,
                Fault::Swap(_) => Mark::First,
                Fault::Vanish(_) => {
                    vanishes = true;
                    Mark::Lost
                }
                _ => Mark::Lost,
            };
            self.marks
                .entry((thread_id.clone(), sequence))
                .or_insert(mark);
            if mark == Mark::First {
                let second = (thread_id.clone(), sequence + 1);
                self.marks.insert(second, Mark::Second);
            }
        }
        vanishes
    }

    /// Whether the ledger was broken, so that the self-check has something to hide.
    pub(crate) fn hides_loss(&self) -> bool {
        let vanish = |fault: &Fault| matches!(fault, Fault::Vanish(_));
        self.armed.iter().any(vanish)
    }

    /// Which event a reader is shown in place of this one.
    pub(crate) fn stands_in(&self, thread_id: &Arc<str>, sequence: u64, last: u64) -> u64 {
        match self.marks.get(&(thread_id.clone(), sequence)) {
            Some(Mark::First) if sequence < last => sequence + 1,
            Some(Mark::Second) => sequence - 1,
            _ => sequence,
        }
    }

    /// What a reader is written in place of an event's frame.
    pub(crate) fn frame(
        &self,
        thread_id: &Arc<str>,
        sequence: u64,
        encoding: Encoding,
        frame: Bytes,
    ) -> Bytes {
        let mark = self.marks.get(&(thread_id.clone(), sequence));
        if mark == Some(&Mark::Lost) || self.muted.contains(&**thread_id) {
            return encode::heartbeat(encoding, sequence - 1);
        }
        if mark == Some(&Mark::Doubled) {
            return [frame.as_ref(), frame.as_ref()].concat().into();
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::event::{Subprotocol, Transport};

    const ENCODING: Encoding = Encoding {
        subprotocol: Subprotocol::Json,
        transport: Transport::WebSocket,
    };

    fn armed(line: &str) -> Faults {
        let mut faults = Faults::default();
        faults.arm(line.parse().unwrap());
        faults
    }

    #[test]
    fn what_is_no_fault_is_refused_and_says_what_is() {
        for (line, allowed) in [
            ("", "lose|duplicate"),
            ("explode t 1", "lose|duplicate"),
            ("lose t 0", "1 to 10000"),
            ("lose t many", "1 to 10000"),
            ("swallow everything", "agent_message"),
            ("wedge nobody", "users|all"),
        ] {
            let error = line.parse::<Fault>().unwrap_err();
            assert!(error.contains(allowed), "{line}: {error}");
        }
    }

    #[test]
    fn only_so_many_events_of_the_thread_are_hit() {
        let mut faults = armed("lose t 1");
        let (hit, other): (Arc<str>, Arc<str>) = ("t".into(), "u".into());
        assert!(!faults.taken_in(&other, 1));
        assert!(!faults.taken_in(&hit, 1));
        assert!(!faults.taken_in(&hit, 2));
        let frame = Bytes::from_static(b"frame");
        let shown = |thread, sequence| faults.frame(thread, sequence, ENCODING, frame.clone());
        assert_eq!(shown(&other, 1), frame);
        assert_ne!(shown(&hit, 1), frame);
        assert_eq!(shown(&hit, 2), frame);
    }

    #[test]
    fn two_change_places_where_both_are_there() {
        let mut faults = armed("swap t 1");
        let thread: Arc<str> = "t".into();
        for sequence in 1..=3 {
            faults.taken_in(&thread, sequence);
        }
        let order: Vec<_> = (1..=3)
            .map(|sequence| faults.stands_in(&thread, sequence, 3))
            .collect();
        assert_eq!(order, [2, 1, 3]);
    }

    #[test]
    fn the_self_check_is_never_wedged() {
        let faults = armed("wedge all");
        assert!(faults.wedges("chat") && faults.wedges("$canary/1"));
        assert!(!faults.wedges("$self/check"));
        assert!(!armed("wedge users").wedges("$canary/1"));
    }

    #[test]
    fn healing_ends_them_all() {
        let mut faults = armed("wedge all");
        faults.arm(Fault::Heal);
        assert!(!faults.wedges("chat"));
    }
}
