//! What a setting's value may be, and how it is read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A value that can be written in a file, a variable or a flag.
pub trait Setting: Sized {
    /// Parses what was written.
    ///
    /// # Errors
    /// A phrase that shows the value and says what is allowed.
    fn parse(written: &toml::Value) -> Result<Self, String>;
}

fn text(written: &toml::Value) -> String {
    match written {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Setting for String {
    fn parse(written: &toml::Value) -> Result<Self, String> {
        match written {
            toml::Value::String(text) => Ok(text.clone()),
            other => Err(format!("{other} is not a text; write it in quotes")),
        }
    }
}

impl Setting for PathBuf {
    fn parse(written: &toml::Value) -> Result<Self, String> {
        String::parse(written).map(Self::from)
    }
}

macro_rules! from_str_setting {
    ($type:ty, $allowed:expr) => {
        impl Setting for $type {
            fn parse(written: &toml::Value) -> Result<Self, String> {
                let text = text(written);
                text.parse()
                    .map_err(|_| format!("{text:?} is not {}", $allowed))
            }
        }
    };
}

from_str_setting!(bool, "true or false");
from_str_setting!(u32, "a whole number from 0 to 4294967295");
from_str_setting!(u64, "a whole number, 0 or more");
from_str_setting!(usize, "a whole number, 0 or more");
from_str_setting!(f64, "a number");
from_str_setting!(SocketAddr, "an address such as 127.0.0.1:8080 or [::]:8080");

impl Setting for Duration {
    fn parse(written: &toml::Value) -> Result<Self, String> {
        let text = text(written);
        humantime::parse_duration(&text)
            .map_err(|_| format!("{text:?} is not a duration such as 250ms, 30s or 5m"))
    }
}

impl Setting for crate::telemetry::LogFormat {
    fn parse(written: &toml::Value) -> Result<Self, String> {
        match text(written).as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!(
                "{other:?} is not a log format; allowed are text and json"
            )),
        }
    }
}
