//! `/badge/ID.svg`: a component's verdict, to show in a page of one's own.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tonic::Code;

use super::Failure;
use super::api::find;
use crate::domain::Verdict;
use crate::edge::Edge;
use crate::edge::validate::{id, shown};

/// Longest label that is drawn, in characters.
const MAX_LABEL_CHARS: usize = 40;
/// Width of a character at the badge's font size, in pixels; the text is stretched to fit.
const CHAR_PIXELS: usize = 7;
/// Space around each half's text, in pixels.
const PADDING_PIXELS: usize = 12;

pub(super) async fn badge(
    State(edge): State<Edge>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(file) =
        path.map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("path: {error}")))?;
    let Some(component_id) = file.strip_suffix(".svg") else {
        let why = format!("path: {} does not end with .svg", shown(&file));
        return Err(Failure::new(StatusCode::NOT_FOUND, why));
    };
    let verdict = match id("id", component_id) {
        Err(_) => Verdict::NotMonitored,
        Ok(()) => match find(&edge, component_id).await {
            Ok(view) => view.verdict,
            Err(status) if status.code() == Code::NotFound => Verdict::NotMonitored,
            Err(status) => return Err(status.into()),
        },
    };
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, max-age=0"),
    ];
    Ok((headers, draw(component_id, verdict)).into_response())
}

/// The verdict in words, and its color; each has a contrast of 4.5 or more under white text.
const fn look(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Healthy => ("healthy", "#1a7f37"),
        Verdict::Unverified => ("unverified", "#57606a"),
        Verdict::Degraded => ("degraded", "#9a6700"),
        Verdict::SilentFailure => ("silent failure", "#a40e26"),
        Verdict::Down => ("down", "#cf222e"),
        Verdict::NoData => ("no data", "#57606a"),
        Verdict::NotMonitored => ("not monitored", "#6e7781"),
    }
}

fn draw(component_id: &str, verdict: Verdict) -> String {
    let label: String = component_id.chars().take(MAX_LABEL_CHARS).collect();
    let (words, color) = look(verdict);
    let left = label.chars().count() * CHAR_PIXELS + PADDING_PIXELS;
    let right = words.len() * CHAR_PIXELS + PADDING_PIXELS;
    let width = left + right;
    let (left_middle, right_middle) = (left / 2, left + right / 2);
    let label = escape(&label);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{label}: {words}"><title>{label}: {words}</title><rect width="{width}" height="20" rx="3" fill="#24292f"/><path d="M{left} 0h{flat}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" fill="{color}"/><g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"><text x="{left_middle}" y="14">{label}</text><text x="{right_middle}" y="14">{words}</text></g></svg>"##,
        flat = right - 3,
    )
}

fn escape(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\'' => "&#39;".to_owned(),
            control if control.is_control() => "\u{fffd}".to_owned(),
            other => other.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_break_out_of_the_badge() {
        let svg = draw(
            "\"><script>alert('1')</script>&\u{0}",
            Verdict::NotMonitored,
        );
        assert!(!svg.contains("<script"), "{svg}");
        assert!(!svg.contains('\u{0}'), "{svg}");
        assert!(svg.contains("&lt;script&gt;"), "{svg}");
        assert!(svg.contains("not monitored"), "{svg}");
    }

    #[test]
    fn a_long_id_is_cut() {
        assert!(draw(&"x".repeat(100_000), Verdict::Healthy).len() < 2_000);
    }
}
