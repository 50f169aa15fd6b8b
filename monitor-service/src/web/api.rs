//! The API in JSON, for reading: the same messages as over gRPC.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use monitorable::monitor::v1 as wire;
use serde::Deserialize;
use serde_json::Value;
use tonic::Status;

use super::Failure;
use crate::edge::validate::{id, optional_id};
use crate::edge::{Edge, convert, monitor};
use crate::fleet::api::{Command, ComponentView, FleetError};
use crate::fleet::history::Kept;
use crate::json;

type Answer = Result<Json<Value>, Failure>;

/// The id in a path.
pub(super) fn path_id(path: Result<Path<String>, PathRejection>) -> Result<String, Failure> {
    let Path(value) =
        path.map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("path: {error}")))?;
    id("id", &value).map_err(Status::from)?;
    Ok(value)
}

fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Failure> {
    query.map(|Query(value)| value).map_err(|error| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            format!("query: {}", error.body_text()),
        )
    })
}

async fn views(edge: &Edge) -> Result<Vec<ComponentView>, Status> {
    Ok(edge.fleet.ask(|reply| Command::List { reply }).await?)
}

pub(super) async fn components(State(edge): State<Edge>) -> Answer {
    let views = views(&edge).await?;
    let response = wire::ListComponentsResponse {
        components: views.iter().map(convert::component_status).collect(),
    };
    Ok(Json(json::write(&response)))
}

/// The component as it stands.
pub(super) async fn find(edge: &Edge, component_id: &str) -> Result<ComponentView, Status> {
    let views = views(edge).await?;
    views
        .into_iter()
        .find(|view| *view.target.component_id == *component_id)
        .ok_or_else(|| FleetError::NotRegistered(component_id.to_owned()).into())
}

pub(super) async fn component(
    State(edge): State<Edge>,
    path: Result<Path<String>, PathRejection>,
) -> Answer {
    let view = find(&edge, &path_id(path)?).await?;
    Ok(Json(json::write(&convert::component_status(&view))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditsQuery {
    #[serde(default)]
    limit: u32,
    /// Only each audit's time and conclusion.
    #[serde(default)]
    brief: bool,
}

fn brief(audit: &Kept) -> wire::Audit {
    wire::Audit {
        internal_health: None,
        internal_metrics: None,
        event_monitor_validation: None,
        integration_health: None,
        findings: Vec::new(),
        ..audit.message()
    }
}

pub(super) async fn audits(
    State(edge): State<Edge>,
    path: Result<Path<String>, PathRejection>,
    asked: Result<Query<AuditsQuery>, QueryRejection>,
) -> Answer {
    let component_id = path_id(path)?;
    let asked = query(asked)?;
    let limit = monitor::limit(asked.limit);
    let shape = if asked.brief { brief } else { Kept::message };
    let list = |reply| Command::Audits {
        component_id,
        limit,
        reply,
    };
    let listed = edge.fleet.ask(list).await.map_err(Status::from)?;
    let (audits, trend) = listed.map_err(Status::from)?;
    let response = wire::ListAuditsResponse {
        audits: audits.iter().map(shape).collect(),
        trend: Some(convert::trend(&trend)),
    };
    Ok(Json(json::write(&response)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FindingsQuery {
    #[serde(default)]
    component_id: String,
    #[serde(default)]
    rule_id: String,
    /// `open`, `resolved`, `suspected`, or absent for open and resolved ones.
    #[serde(default)]
    state: String,
    #[serde(default)]
    limit: u32,
    #[serde(default)]
    include_suspected: bool,
}

pub(super) async fn findings(
    State(edge): State<Edge>,
    asked: Result<Query<FindingsQuery>, QueryRejection>,
) -> Answer {
    let asked = query(asked)?;
    let state = match asked.state.as_str() {
        "" => wire::finding::State::Unspecified,
        "open" => wire::finding::State::Open,
        "resolved" => wire::finding::State::Resolved,
        "suspected" => wire::finding::State::Suspected,
        other => {
            let why = format!(
                "state: {other:?} is not allowed; allowed are open, resolved and suspected"
            );
            return Err(Failure::new(StatusCode::BAD_REQUEST, why));
        }
    };
    let filter = monitor::filter(wire::ListFindingsRequest {
        component_id: asked.component_id,
        rule_id: asked.rule_id,
        state: state.into(),
        limit: asked.limit,
        include_suspected: asked.include_suspected,
    });
    let filter = filter.map_err(Status::from)?;
    let list = |reply| Command::Findings { filter, reply };
    let findings = edge.fleet.ask(list).await.map_err(Status::from)?;
    let response = wire::ListFindingsResponse {
        findings: findings.iter().map(convert::finding).collect(),
    };
    Ok(Json(json::write(&response)))
}

pub(super) async fn summary(State(edge): State<Edge>) -> Answer {
    let summary = edge.fleet.ask(|reply| Command::Summary { reply }).await;
    let summary = summary.map_err(Status::from)?;
    Ok(Json(json::write(&convert::summary(&summary))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ThreadQuery {
    #[serde(default)]
    component_id: String,
}

pub(super) async fn thread(
    State(edge): State<Edge>,
    path: Result<Path<String>, PathRejection>,
    asked: Result<Query<ThreadQuery>, QueryRejection>,
) -> Answer {
    let thread_id = path_id(path)?;
    let component_id = query(asked)?.component_id;
    optional_id("component_id", &component_id).map_err(Status::from)?;
    let thread = |reply| Command::Thread {
        component_id,
        thread_id,
        reply,
    };
    let thread = edge.fleet.ask(thread).await.map_err(Status::from)?;
    let thread = thread.map_err(Status::from)?;
    Ok(Json(json::write(&convert::thread(&thread))))
}
