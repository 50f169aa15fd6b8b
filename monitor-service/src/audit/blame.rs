//! Whose fault it is that a call got no answer.

use crate::domain::CallError;

/// Whether the component is to blame. The monitor's own trouble is not, nor are credentials that
/// were refused: somebody answered, and would not let the monitor look.
pub(crate) fn blames_component(error: &CallError) -> bool {
    match error {
        CallError::Unreachable(_) | CallError::TimedOut(_) | CallError::Malformed(_) => true,
        CallError::Own(_) => false,
        CallError::Refused { code, .. } => {
            let code: String = code.chars().filter(|c| c.is_alphanumeric()).collect();
            !matches!(
                code.to_ascii_lowercase().as_str(),
                "unauthenticated" | "permissiondenied" | "16" | "7"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_components_own_failures_are_its_fault() {
        let refused = |code: &str| CallError::Refused {
            code: code.to_owned(),
            message: String::new(),
        };
        assert!(blames_component(&CallError::Unreachable("refused".into())));
        assert!(blames_component(&CallError::TimedOut(Duration::from_secs(
            2
        ))));
        assert!(blames_component(&refused("UNAVAILABLE")));
        assert!(!blames_component(&refused("UNAUTHENTICATED")));
        assert!(!blames_component(&refused("PermissionDenied")));
        assert!(!blames_component(&CallError::Own("no file handles".into())));
    }
}
