//! What callers show: a token, read from a file so that no process list has it.

use std::path::Path;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Adds a token to each call, where there is one.
#[derive(Clone, Debug, Default)]
pub struct SendToken(Option<MetadataValue<Ascii>>);

impl SendToken {
    /// The token in a file, which may end its line. `None`: no token is shown.
    ///
    /// # Errors
    /// Where the file cannot be read or holds no token; `argument` names it, and the token is not
    /// shown.
    pub fn from_file(argument: &str, path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{argument}: {shown} cannot be read: {error}"))?;
        let token = text.trim();
        let value = (!token.is_empty()).then(|| format!("Bearer {token}").parse());
        let Some(Ok(mut value)) = value else {
            return Err(format!(
                "{argument}: {shown} holds no token; allowed is one line of printable ASCII"
            ));
        };
        MetadataValue::set_sensitive(&mut value, true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for SendToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_and_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush-hush\n").unwrap();
        let mut token = SendToken::from_file("--token-file", Some(file.path())).unwrap();
        assert!(!format!("{token:?}").contains("hush"), "{token:?}");
        let request = token.call(Request::new(())).unwrap();
        assert_eq!(
            request.metadata().get("authorization").unwrap(),
            "Bearer hush-hush"
        );
        for bad in ["", " \n", "two\nlines"] {
            std::fs::write(file.path(), bad).unwrap();
            let error = SendToken::from_file("--token-file", Some(file.path())).unwrap_err();
            assert!(
                error.starts_with("--token-file: ") && error.contains("holds no token"),
                "{error}"
            );
        }
    }
}
