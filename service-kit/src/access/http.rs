//! The guard in front of HTTP routes.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Action, Guard, Refusal};
use crate::accept::Peer;

/// The token of `Authorization: Bearer`; `None` where there is no such header.
///
/// # Errors
/// Where the header is there and names another scheme or none.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(Refusal::NotBearer)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(token.trim()))
    } else {
        Err(Refusal::NotBearer)
    }
}

/// Lets through whoever may look: 401 for who is not known, 403 for who may not, and for who calls
/// this machine by a name that is not its own where it must be.
pub async fn guard_http(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let identified = guard.identify_request(request.headers(), request.extensions());
    let address = request.extensions().get::<Peer>().map(|peer| peer.address);
    match identified {
        Ok(None) => match guard.check_host(request.headers(), |_| false) {
            Ok(()) => next.run(request).await,
            Err(error) => {
                tracing::info!(?address, %error, "refused: it may be of a page");
                (StatusCode::FORBIDDEN, format!("{error}\n")).into_response()
            }
        },
        Ok(Some(identity)) => match identity.may(Action::Inspect) {
            Ok(()) => {
                request.extensions_mut().insert(identity);
                next.run(request).await
            }
            Err(denied) => {
                tracing::info!(?address, %denied, "refused: not allowed");
                (StatusCode::FORBIDDEN, format!("{denied}\n")).into_response()
            }
        },
        Err(refusal) => {
            tracing::info!(?address, %refusal, "refused: not known");
            unauthorized(refusal)
        }
    }
}

/// 401, and how to do better.
#[must_use]
pub fn unauthorized(refusal: Refusal) -> Response {
    let mut response = (
        StatusCode::UNAUTHORIZED,
        format!("Authorization: {refusal}\n"),
    )
        .into_response();
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_carries_a_token() {
        assert_eq!(bearer(&HeaderMap::new()), Ok(None));
        let with = |value: &'static str| {
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
        };
        assert_eq!(bearer(&with("bearer  abc ")), Ok(Some("abc")));
        for bad in ["Basic abc", "abc", ""] {
            assert_eq!(bearer(&with(bad)), Err(Refusal::NotBearer), "{bad}");
        }
    }
}
