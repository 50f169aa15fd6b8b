//! The dashboard: one page without dependencies, embedded in the binary.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};

type Asset = ([(HeaderName, &'static str); 2], &'static str);

const fn asset(kind: &'static str, text: &'static str) -> Asset {
    // Revalidated at each load: a new binary brings a new page.
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text)
}

pub(super) async fn html() -> Asset {
    asset("text/html; charset=utf-8", include_str!("dashboard.html"))
}

pub(super) async fn css() -> Asset {
    asset("text/css; charset=utf-8", include_str!("dashboard.css"))
}

pub(super) async fn js() -> Asset {
    asset(
        "text/javascript; charset=utf-8",
        include_str!("dashboard.js"),
    )
}
