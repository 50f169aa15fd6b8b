use std::io::Write as _;

use super::*;

/// The settings of a file, or every mistake in it.
pub(crate) fn load(text: &str) -> Result<Settings, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = Some(file.path().to_owned());
    let source = Source::from_parts(PREFIX, SPECS, path, &[], Vec::new());
    Settings::from_source(source).map_err(|errors| errors.to_string())
}

fn source(flags: &[(&'static str, &str)]) -> Source {
    let flags = flags.iter().map(|(p, v)| (*p, (*v).to_owned())).collect();
    Source::from_parts(PREFIX, SPECS, None, &[], flags)
}

fn errors(flags: &[(&'static str, &str)]) -> String {
    Settings::from_source(source(flags))
        .unwrap_err()
        .errors
        .join("\n")
}

#[test]
fn the_table_says_what_the_parts_take_for_default() {
    let settings = Settings::from_source(source(&[])).unwrap();
    assert_eq!(settings.probe, ProbeSettings::default());
    assert_eq!(settings.fleet, FleetSettings::default());
    assert_eq!(settings.canary, CanarySettings::default());
    assert_eq!(settings.alert, AlertSettings::default());
    assert!(settings.components.is_empty());
}

#[test]
fn every_setting_is_taken_and_checked() {
    for spec in SPECS {
        let found = errors(&[(spec.path, "\u{1} nonsense")]);
        assert!(found.contains(spec.path), "{}: {found}", spec.path);
    }
}

#[test]
fn the_settings_are_printed_as_toml() {
    let printed = source(&[]).effective();
    let table: toml::Table = printed.parse().unwrap();
    assert!(table["rules"]["disabled"].is_str(), "{printed}");
}

#[test]
fn ranges_are_held_and_shown() {
    for (path, value, allowed) in [
        ("fleet.mailbox", "15", "16 to 1000000"),
        ("probe.beat_interval", "1ms", "100ms to 1h"),
        ("rules.success_rate_tolerance", "1.5", "0.0 to 1.0"),
        ("audit.claims_weight", "NaN", "0.0 to 1000000.0"),
        ("rules.frozen_answers", "1", "2 to 1000"),
    ] {
        let found = errors(&[(path, value)]);
        assert!(found.contains(allowed), "{path}: {found}");
    }
}

#[test]
fn contradictions_are_found_together() {
    let found = errors(&[
        ("probe.connect_deadline", "3s"),
        ("probe.silence_limit", "1s"),
        ("http.listen", "127.0.0.1:50061"),
        ("evidence.events_total", "5"),
        ("rules.flap_low_percent", "40"),
        ("incident.resolve_hold_max", "10ms"),
        ("alert.retry_cap", "10ms"),
        ("component.id", "two words"),
        ("log.level", "=="),
    ]);
    for part in [
        "probe.connect_deadline",
        "probe.silence_limit",
        "http.listen",
        "evidence.events_total",
        "rules.flap_low_percent",
        "incident.resolve_hold_max",
        "alert.retry_cap",
        "component.id",
        "log.level",
    ] {
        assert!(found.contains(part), "{part} is missing from {found}");
    }
}

#[test]
fn a_dead_mans_switch_has_its_interval() {
    let flags = [
        ("alert.dead_man_url", "https://example.com/hush"),
        ("alert.dead_man_interval", "10s"),
    ];
    let settings = Settings::from_source(source(&flags)).unwrap();
    let interval = settings.fleet.dead_man_interval;
    assert_eq!(interval, Some(Duration::from_secs(10)));
    assert!(!format!("{settings:?}").contains("hush"));
}

#[test]
fn secrets_are_shown_nowhere() {
    let errors = errors(&[("alert.webhook_url", "gopher://hush")]);
    assert!(errors.contains("alert.webhook_url") && !errors.contains("hush"));
    let shown = source(&[("alert.webhook_url", "https://example.com/hush")]);
    let shown = shown.effective_without(SECRETS);
    assert!(shown.contains("webhook_url = \"***\""), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn weights_that_are_all_zero_judge_nothing() {
    let found = errors(&[
        ("audit.claims_weight", "0"),
        ("audit.evidence_weight", "0"),
        ("audit.integration_weight", "0"),
    ]);
    assert!(found.contains("all are 0"), "{found}");
}
