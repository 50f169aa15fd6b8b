//! `replay`: publishes recorded conversations as their agent would have.

pub(crate) mod options;
pub(crate) mod pace;
mod parse;
mod publish;
mod report;
mod story;
mod summary;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use service_kit::client::SendToken;
use service_kit::clock::Clock;
use service_kit::telemetry::{self, LogFormat};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

use crate::cli::{EXIT_BAD_ARGUMENTS, Stop, say};
use crate::edge::ingest::validate::check_thread_id;
use options::Replay;
use pace::Speed;
use publish::{Planned, Publisher, Result as Published};
use report::Reporter;
use story::Scene;
use summary::Summary;

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;

/// Publishes the file, and says what came of it.
pub(crate) async fn run(options: Replay) -> ExitCode {
    if let Ok(filter) = telemetry::parse_filter("warn,bridge_service=info") {
        telemetry::start(LogFormat::Text, filter);
    }
    let stories = match read_stories(&options) {
        Ok(stories) => stories,
        Err(error) => {
            let file = options.file.display();
            return Stop::new(format!("{file}: {error}"), EXIT_BAD_ARGUMENTS).show();
        }
    };
    let access = match Access::of(&options) {
        Ok(access) => access,
        Err(error) => return Stop::new(error, EXIT_BAD_ARGUMENTS).show(),
    };
    let mut summary = Summary::new(&stories.scenes, &stories.replay_id);
    let clock = Clock::system();
    let start = clock.now();
    let (reporter, reporting) = match access.report_to.clone() {
        Some(monitor) => {
            let observer = format!("replay.{}", stories.replay_id);
            let component = options.component_id.clone();
            let (reporter, task) =
                report::start((monitor, access.token.clone()), observer, component, clock);
            (Some(reporter), Some(task))
        }
        None => (None, None),
    };
    publish_all(
        &options,
        &access,
        stories.scenes,
        reporter,
        clock,
        &mut summary,
    )
    .await;
    summary.took = clock.now().since(start.monotonic);
    if let Some(task) = reporting {
        summary.reports = Some(task.finish().await);
    }
    say(&summary.to_string());
    summary.exit_code()
}

/// Whom to call, and what to show.
struct Access {
    target: Endpoint,
    report_to: Option<Endpoint>,
    token: SendToken,
}

impl Access {
    fn of(options: &Replay) -> Result<Self, String> {
        let trust = &options.trust;
        let report_to = options.report_to.clone();
        Ok(Self {
            target: trust.apply(options.target.clone())?,
            report_to: report_to.map(|monitor| trust.apply(monitor)).transpose()?,
            token: SendToken::from_file("--token-file", options.token_file.as_deref())?,
        })
    }
}

struct Stories {
    replay_id: String,
    /// One list for each conversation.
    scenes: Vec<Vec<Scene>>,
}

fn read_stories(options: &Replay) -> Result<Stories, String> {
    let text = read_file(&options.file)?;
    let stem = options.file.file_stem().and_then(|stem| stem.to_str());
    let conversations = parse::parse(&text, stem.unwrap_or("conversation"))?;
    let replay_id = options.replay_id.clone().unwrap_or_else(|| {
        let fresh = uuid::Uuid::new_v4().simple().to_string();
        fresh[..8].to_owned()
    });
    let prefix = &options.thread_prefix;
    for conversation in &conversations {
        check_thread_id(&format!("{prefix}{}", conversation.id))?;
    }
    let scenes: Vec<Vec<Scene>> = conversations
        .iter()
        .map(|conversation| story::tell(conversation, prefix, &replay_id))
        .collect();
    if scenes.iter().all(Vec::is_empty) {
        return Err("no conversation has a message; allowed is one or more".to_owned());
    }
    Ok(Stories { replay_id, scenes })
}

fn read_file(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!(
            "{size} bytes are not allowed; allowed are up to {MAX_FILE_BYTES}"
        ));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

async fn publish_all(
    options: &Replay,
    access: &Access,
    stories: Vec<Vec<Scene>>,
    reporter: Option<Reporter>,
    clock: Clock,
    summary: &mut Summary,
) {
    let start = clock.now().monotonic;
    let mut publishers: JoinSet<Published> = JoinSet::new();
    for plan in plans(stories, options.speed, usize::from(options.streams)) {
        let publisher = Publisher::new(
            (access.target.clone(), access.token.clone()),
            usize::from(options.batch),
            plan,
            reporter.clone(),
            (clock, start),
        );
        publishers.spawn(publisher.run());
    }
    drop(reporter);
    while let Some(ended) = publishers.join_next().await {
        match ended {
            Ok(result) => summary.add(result),
            Err(error) => summary.add_panic(&service_kit::tasks::panic_text(error)),
        }
    }
}

/// What each stream has to publish, by the time at which it is due: a thread stays on one stream,
/// and so in order.
fn plans(stories: Vec<Vec<Scene>>, speed: Speed, streams: usize) -> Vec<Vec<Planned>> {
    let mut plans: Vec<Vec<Planned>> = Vec::new();
    plans.resize_with(streams.min(stories.len()), Vec::new);
    let count = plans.len();
    for (index, scenes) in stories.into_iter().enumerate() {
        let mut due = Duration::ZERO;
        for Scene { event, characters } in scenes {
            // A message comes when it has been typed or read, so its own length is the wait.
            due += speed.pause(characters);
            plans[index % count].push(Planned { due, event });
        }
    }
    for plan in &mut plans {
        plan.sort_by_key(|planned| planned.due);
    }
    plans
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn stories(conversations: usize) -> Vec<Vec<Scene>> {
        let text: String = (0..conversations)
            .map(|n| {
                format!("{{\"conversation_id\": \"c{n}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hi there, number {n}\"}}, {{\"role\": \"assistant\", \"content\": \"Hello\"}}]}}\n")
            })
            .collect();
        let parsed = parse::parse(&text, "x").unwrap();
        parsed
            .iter()
            .map(|conversation| story::tell(conversation, "", "id"))
            .collect()
    }

    #[test]
    fn a_thread_stays_on_one_stream_and_in_order() {
        for speed in [Speed::Max, Speed::Times(3.0)] {
            let mut streams_of: HashMap<String, usize> = HashMap::new();
            for (stream, plan) in plans(stories(7), speed, 3).iter().enumerate() {
                let mut last: HashMap<&str, u64> = HashMap::new();
                for planned in plan {
                    let event = &planned.event;
                    let before = last.insert(&event.thread_id, event.producer_sequence);
                    assert!(before.unwrap_or(0) < event.producer_sequence);
                    let home = streams_of.entry(event.thread_id.clone()).or_insert(stream);
                    assert_eq!(*home, stream);
                }
            }
            assert_eq!(streams_of.len(), 7);
        }
    }

    #[test]
    fn there_are_no_more_streams_than_conversations() {
        assert_eq!(plans(stories(2), Speed::Max, 8).len(), 2);
    }
}
