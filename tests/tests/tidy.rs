//! The repository keeps its own rules.
#![allow(
    clippy::unwrap_used,
    reason = "a test panics where the world is not as it must be"
)]

use std::collections::BTreeSet;

use monitorable_tests::command;
use monitorable_tests::paths::repository;
use monitorable_tests::tidy::{File, documents, files, limits, modules, protos, purity, texts};

fn clean(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

fn repository_files() -> Vec<File> {
    let files = files(&repository());
    assert!(files.len() > 50, "only {} files were found", files.len());
    files
}

#[test]
fn what_decides_does_no_io_and_reads_no_clock() {
    let files = repository_files();
    let pure = files.iter().filter(|file| purity::must_be_pure(&file.path));
    assert!(
        pure.count() > 10,
        "the pure folders are not where they were"
    );
    clean(&purity::offences(&files));
}

#[test]
fn every_rust_file_is_declared() {
    clean(&modules::undeclared(&repository_files()));
}

#[test]
fn everything_in_the_protos_has_a_comment() {
    clean(&protos::undocumented(&repository_files()));
}

#[test]
fn no_source_file_is_too_long() {
    clean(&texts::too_long(&repository_files()));
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    clean(&texts::machine_paths(&repository_files()));
}

#[test]
fn no_link_is_dead() {
    clean(&documents::dead_links(&repository_files()));
}

#[test]
fn every_rule_has_its_page() {
    let files = repository_files();
    let rules = registered_rules(&files);
    assert!(
        rules.len() > 5 && rules.contains("observer_blind"),
        "the rules are not where they were: {rules:?}"
    );
    clean(&documents::rule_pages(&rules, &files));
}

#[test]
fn every_limit_is_documented_and_has_its_test() {
    let files = repository_files();
    let page = files.iter().find(|file| file.path == limits::PAGE).unwrap();
    assert!(page.text.contains("`hub.connections`"), "{}", page.text);
    clean(&limits::offences(&files));
}

/// The ids in `monitor-service/src/audit/rules`, about components, and in `fleet_rules` beside it,
/// about the monitor itself.
fn registered_rules(files: &[File]) -> BTreeSet<String> {
    let folders =
        ["rules/", "fleet_rules/"].map(|name| format!("monitor-service/src/audit/{name}"));
    let is_rule = |file: &&File| folders.iter().any(|folder| file.path.starts_with(folder));
    let rules = files.iter().filter(is_rule);
    let lines = rules.flat_map(|file| file.text.lines());
    let ids = lines.filter_map(|line| line.trim().strip_prefix("id: \"")?.split('"').next());
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn every_command_of_the_documents_exists() {
    let files = repository_files();
    let documents = files.iter().filter(|file| file.is("md"));
    let commands: Vec<String> = documents
        .flat_map(|file| documents::commands(&file.text))
        .collect();
    clean(&documents::unknown_methods(&commands, &files));
    let tasks = xtask_tasks(&files);
    let mut offences = Vec::new();
    for command in &commands {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        // `target/release/bridge-service` is the same program.
        if let Some(first) = words.first_mut() {
            *first = first.rsplit('/').next().unwrap_or(first);
        }
        match words[..] {
            ["cargo", "xtask", task, ..] if !tasks.contains(task) => {
                offences.push(format!("{command}: there is no such task"));
            }
            [
                program @ ("bridge-service" | "monitor-service"),
                ref rest @ ..,
            ] => {
                offences.extend(unknown_words(program, rest).await);
            }
            _ => {}
        }
    }
    clean(&offences);
}

/// The tasks of `cargo xtask`.
fn xtask_tasks(files: &[File]) -> BTreeSet<String> {
    let main = files
        .iter()
        .find(|file| file.path == "xtask/src/main.rs")
        .unwrap();
    let tasks = main.text.split("enum Task {").nth(1).unwrap();
    let tasks = tasks.split('}').next().unwrap().lines().map(str::trim);
    let names = tasks.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    let names = names.filter_map(|line| line.split(['(', ',']).next());
    names.map(str::to_lowercase).collect()
}

/// What the program's own help says of a subcommand.
async fn help(program: &str, subcommand: &[&str]) -> command::Ended {
    let asked = [subcommand, &["--help"]].concat();
    match program {
        "bridge-service" => command::bridge(&asked).await,
        _ => command::monitor(&asked).await,
    }
}

/// A subcommand or a flag that the program's own help does not know.
async fn unknown_words(program: &str, words: &[&str]) -> Vec<String> {
    let subcommand = words.first().filter(|word| !word.starts_with('-'));
    let mut asked: Vec<&str> = subcommand.copied().into_iter().collect();
    let mut shown = help(program, &asked).await;
    // Some subcommands have subcommands of their own.
    if let [_, second, ..] = words
        && subcommand.is_some()
        && shown.stdout.contains("\nCommands:\n")
    {
        asked.push(second);
        shown = help(program, &asked).await;
    }
    if shown.code != Some(0) {
        return vec![format!(
            "{program} {subcommand:?}: there is no such subcommand"
        )];
    }
    let flags = words.iter().filter(|word| word.starts_with("--"));
    let flags = flags.map(|flag| flag.split('=').next().unwrap_or(flag));
    flags
        .filter(|flag| !shown.stdout.contains(flag))
        .map(|flag| format!("{program} {subcommand:?}: there is no flag {flag}"))
        .collect()
}
