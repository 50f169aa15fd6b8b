//! The main job, to be seen: real services, a recorded conversation, a chat user, the monitor's
//! verdict; then deliveries stop behind the bridge's back, and later flow again.

mod screen;
mod stage;

use std::process::ExitCode;
use std::time::Duration;

use monitorable::monitor::v1::{Verdict, finding};
use monitorable_tests::proxy::Fault;
use service_kit::clock::Clock;

use screen::Screen;
use stage::Stage;

/// How long the healthy part is shown.
const HEALTHY: Duration = Duration::from_secs(20);
/// How long the silent failure is shown once it was found.
const BROKEN: Duration = Duration::from_secs(8);
/// How long the healed pair is shown.
const HEALED: Duration = Duration::from_secs(12);
/// How long anything that the demo waits for may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    let hold = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--hold") => true,
        Some(other) => {
            eprintln!("unexpected argument {other:?}; allowed is --hold");
            return ExitCode::from(1);
        }
    };
    match play(hold).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("\nthe demo failed: {what}");
            ExitCode::FAILURE
        }
    }
}

async fn play(hold: bool) -> Result<(), String> {
    let mut screen = Screen::new();
    screen.title("Two real services start on free ports");
    let mut stage = Stage::set().await?;
    for line in stage.addresses() {
        screen.line(&line);
    }

    screen.title("An agent plays recorded conversations; a chat user reads them");
    screen.columns();
    stage.start_agent()?;
    let healthy = |verdict| verdict == Verdict::Healthy;
    show_until(&mut stage, &mut screen, "the verdict HEALTHY", healthy).await?;
    show_for(&mut stage, &mut screen, HEALTHY).await?;

    screen.title("The network now swallows deliveries, behind the bridge's back");
    stage.network(Fault::Stall);
    let began = Clock::system().now();
    let silent = |verdict| verdict == Verdict::SilentFailure;
    show_until(
        &mut stage,
        &mut screen,
        "the verdict SILENT_FAILURE",
        silent,
    )
    .await?;
    let took = Clock::system().now().since(began.monotonic);
    screen.heading(&format!(
        "found {:.1} s after the deliveries stopped",
        took.as_secs_f64()
    ));
    screen.line(&format!("  the bridge claims:  {}", stage.claim().await?));
    for finding in stage.findings(finding::State::Open).await {
        screen.finding(&finding);
    }
    show_for(&mut stage, &mut screen, BROKEN).await?;

    screen.title("The network heals");
    stage.network(Fault::Pass);
    show_until(&mut stage, &mut screen, "the verdict HEALTHY", healthy).await?;
    show_for(&mut stage, &mut screen, HEALED).await?;
    for finding in stage.findings(finding::State::Resolved).await {
        screen.finding(&finding);
    }

    screen.title("Done: the claim that did not hold was found, and so was its end");
    if hold {
        for line in stage.invitation() {
            screen.line(&line);
        }
        stage.hold().await;
    }
    stage.clear().await
}

/// Shows both sides until the monitor stands at a verdict.
async fn show_until(
    stage: &mut Stage,
    screen: &mut Screen,
    what: &str,
    reached: impl Fn(Verdict) -> bool,
) -> Result<(), String> {
    let began = Clock::system().now().monotonic;
    loop {
        let verdict = show(stage, screen).await?;
        if reached(verdict) {
            return Ok(());
        }
        if Clock::system().now().since(began) > PATIENCE {
            return Err(format!("{what} did not come within {PATIENCE:?}"));
        }
    }
}

/// Shows both sides for a while.
async fn show_for(stage: &mut Stage, screen: &mut Screen, span: Duration) -> Result<(), String> {
    let began = Clock::system().now().monotonic;
    while Clock::system().now().since(began) < span {
        show(stage, screen).await?;
    }
    Ok(())
}

/// Shows what is new on both sides, and returns the verdict.
async fn show(stage: &mut Stage, screen: &mut Screen) -> Result<Verdict, String> {
    tokio::time::sleep(Duration::from_millis(200)).await;
    stage.keep_agent_playing()?;
    let (verdict, standing) = stage.standing().await?;
    screen.side_by_side(&stage.new_events(), &standing);
    Ok(verdict)
}
