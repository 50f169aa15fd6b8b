//! One file a workload.

mod audits;
mod chat;
mod delivery;
mod fan_out;
mod idle;
mod monitored;
mod overload;
mod soak;
mod unary;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::failure::Failure;
use crate::report::Section;
use crate::systems::System;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    FanOut,
    Chat,
    Idle,
    Audits,
    Unary,
    Monitored,
    Overload,
    Soak,
}

/// How it is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The systems that are installed.
    pub(crate) systems: Vec<System>,
    /// Each round measures every system once; odd rounds in the opposite order.
    pub(crate) rounds: usize,
    /// Length of one measurement.
    pub(crate) seconds: f64,
    /// Length of the soak.
    pub(crate) minutes: u64,
}

impl Plan {
    /// The systems in the order of a round.
    pub(crate) fn order(&self, round: usize, of: impl Fn(System) -> bool) -> Vec<System> {
        let systems = self.systems.iter().copied();
        let mut systems: Vec<System> = systems.filter(|system| of(*system)).collect();
        if round % 2 == 1 {
            systems.reverse();
        }
        systems
    }
}

impl Workload {
    /// Name, and what it is, in the order in which they run.
    const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::FanOut, "w1", "fan-out: one thread, 1,000 readers"),
        (Self::Chat, "w2", "chat: 10,000 threads with a reader each"),
        (Self::Idle, "w3", "10,000 and 50,000 idle connections"),
        (
            Self::Audits,
            "w4",
            "audits of 1,000 and of 10,000 components",
        ),
        (
            Self::Unary,
            "w5",
            "unary calls: health, and publishing without readers",
        ),
        (Self::Monitored, "w6", "monitored against unmonitored"),
        (
            Self::Overload,
            "overload",
            "twice the load that saturates the bridge",
        ),
        (
            Self::Soak,
            "soak",
            "memory over minutes; only where it is named",
        ),
    ];

    /// What is measured where nothing is named.
    pub(crate) fn by_default() -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|workload| *workload != Self::Soak).collect()
    }

    fn words(self) -> (&'static str, &'static str) {
        let found = Self::ALL.iter().find(|(workload, ..)| *workload == self);
        found.map_or(("", ""), |(_, name, about)| (name, about))
    }

    /// Measures it.
    ///
    /// # Errors
    /// Where nothing of it could be measured.
    pub(crate) async fn run(self, plan: &Plan) -> Result<Section, Failure> {
        match self {
            Self::FanOut => fan_out::run(plan).await,
            Self::Chat => chat::run(plan).await,
            Self::Idle => idle::run(plan).await,
            Self::Audits => audits::run(plan).await,
            Self::Unary => unary::run(plan),
            Self::Monitored => monitored::run(plan).await,
            Self::Overload => overload::run(plan).await,
            Self::Soak => soak::run(plan).await,
        }
    }
}

impl ValueEnum for Workload {
    fn value_variants<'a>() -> &'a [Self] {
        const VARIANTS: [Workload; Workload::ALL.len()] = {
            let mut variants = [Workload::FanOut; Workload::ALL.len()];
            let mut at = 0;
            while at < variants.len() {
                variants[at] = Workload::ALL[at].0;
                at += 1;
            }
            variants
        };
        &VARIANTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, about) = self.words();
        Some(PossibleValue::new(name).help(about))
    }
}
