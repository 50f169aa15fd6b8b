//! The sources of the file: `[[discovery]]` tables.
//!
//! Beside what is read here a table has what `[[components]]` have (labels, metadata, TLS, canary):
//! it is the pattern of each component that is found.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use service_kit::config::{Source, mistake_at, shown_url};

use crate::config::components;
use crate::edge::validate::id;
use crate::fleet::api::Target;
use crate::probe::settings::ProbeSettings;

/// Between two lookups of a name, where the table does not say.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long what is found no more is kept, where the table does not say: longer than an answer that
/// lacks somebody by accident, shorter than `rules.restart_grace`, so that who left in order is
/// gone before its silence counts.
const KEEP: Duration = Duration::from_secs(5);

/// One source of components.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Discovery {
    pub(super) way: Way,
    /// How long a component that is found no more stays registered.
    pub(super) keep: Duration,
    pub(super) template: Template,
}

/// How its components are found.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Way {
    /// Each address of a name is a component.
    Dns {
        /// `HOST:PORT`.
        host: String,
        interval: Duration,
    },
    /// Each endpoint of the EndpointSlices with these labels is one.
    #[cfg(feature = "kubernetes")]
    EndpointSlices(SliceSettings),
}

/// Which EndpointSlices.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SliceSettings {
    /// `None`: the monitor's own. `*`: all.
    pub(super) namespace: Option<String>,
    /// A label selector, such as `kubernetes.io/service-name=bridge`.
    pub(super) labels: String,
    /// The port's name. `None`: the only one.
    pub(super) port: Option<String>,
    /// How to reach the API server from outside. `None`: as a pod does, or as `KUBECONFIG` says.
    pub(super) kubeconfig: Option<PathBuf>,
}

/// Where a component was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    /// The pod behind it; empty where nobody says.
    pub(super) pod: String,
}

/// Stands for every place while a table is checked.
fn anywhere() -> Place {
    Place {
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        pod: "pod".to_owned(),
    }
}

/// How a place becomes a component.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    pub(super) name: String,
    /// Where mistakes are, such as `discovery[0]`.
    path: String,
    scheme: String,
    component_id: String,
    /// Every component is this one, under another id and elsewhere.
    pattern: Target,
}

impl Template {
    /// The component at a place.
    ///
    /// # Errors
    /// Where the id that comes out is none.
    pub(super) fn target(&self, place: &Place) -> Result<Target, String> {
        let component_id = self
            .component_id
            .replace("{name}", &self.name)
            .replace("{pod}", &place.pod)
            .replace("{address}", &place.address.ip().to_string())
            .replace("{port}", &place.address.port().to_string())
            .replace("{hostname}", &hostname());
        let field = format!("{}.component_id", self.path);
        id(&field, &component_id).map_err(|error| error.0)?;
        Ok(Target {
            component_id: component_id.into(),
            endpoint: format!("{}://{}", self.scheme, place.address),
            ..self.pattern.clone()
        })
    }
}

/// In a pod its name.
fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Takes every source; what is wrong with one is kept in the settings' source, and the next is
/// checked.
pub(crate) fn take(source: &mut Source, probe: &ProbeSettings) -> Vec<Discovery> {
    let mut names = HashSet::new();
    let mut found = Vec::new();
    for (index, table) in source.take_tables("discovery").into_iter().enumerate() {
        let path = format!("discovery[{index}]");
        let reader = Reader { path: &path, table };
        match reader.read(probe, &mut |file| source.follow(file)) {
            Err(error) => source.reject(error),
            Ok(discovery) if !names.insert(discovery.template.name.clone()) => {
                let name = discovery.template.name;
                source.reject(format!("{path}.name: {name:?} is there twice"));
            }
            Ok(discovery) => found.push(discovery),
        }
    }
    found
}

/// One table, whose own keys are taken out until the component's are left.
struct Reader<'a> {
    path: &'a str,
    table: toml::Table,
}

impl Reader<'_> {
    /// Every file that the table names is told to `follow`.
    fn read(
        mut self,
        probe: &ProbeSettings,
        follow: &mut dyn FnMut(&Path),
    ) -> Result<Discovery, String> {
        let name: String = self.take("name")?.unwrap_or_default();
        id(&format!("{}.name", self.path), &name).map_err(|error| error.0)?;
        let keep = self.span("keep", KEEP, Duration::ZERO)?;
        let component_id = self.take("component_id")?;
        let (way, scheme, usual_id) = self.way()?;
        let component_id = component_id.unwrap_or_else(|| usual_id.to_owned());
        self.check_id(&component_id, usual_id == "{pod}")?;
        let endpoint = format!("{scheme}://{}", anywhere().address);
        self.table.insert("component_id".to_owned(), "any".into());
        self.table.insert("endpoint".to_owned(), endpoint.into());
        let template = Template {
            name,
            scheme,
            component_id,
            pattern: components::read(self.path, self.table, probe, follow)?,
            path: self.path.to_owned(),
        };
        template.target(&anywhere())?;
        Ok(Discovery {
            way,
            keep,
            template,
        })
    }

    /// How it finds, by which scheme it calls, and the usual id.
    fn way(&mut self) -> Result<(Way, String, &'static str), String> {
        let path = self.path;
        match (self.take::<String>("dns")?, self.take("endpoint_slices")?) {
            (Some(uri), None) => {
                let (scheme, host) = self.split(&uri)?;
                let interval = self.span("interval", INTERVAL, Duration::from_secs(1))?;
                Ok((Way::Dns { host, interval }, scheme, "{name}-{address}"))
            }
            (None, Some(labels)) => {
                let settings = SliceSettings {
                    namespace: self.take("namespace")?,
                    labels,
                    port: self.take("port")?,
                    kubeconfig: self.take("kubeconfig")?,
                };
                let scheme = self.take("scheme")?.unwrap_or_else(|| "http".to_owned());
                Ok((slices(path, settings)?, scheme, "{pod}"))
            }
            _ => Err(format!(
                "{path}: dns or endpoint_slices says where to look; allowed is one of the two"
            )),
        }
    }

    /// Scheme and `HOST:PORT` of the name's URI. Certificates are for the name, not for addresses.
    fn split(&mut self, uri: &str) -> Result<(String, String), String> {
        let wrong = || {
            let (path, shown) = (self.path, shown_url(uri));
            format!(
                "{path}.dns: {shown:?} is not allowed; allowed is http://HOST:PORT or https://HOST:PORT"
            )
        };
        let parsed: http::Uri = uri.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority), Some(_)) =
            (parsed.scheme_str(), parsed.authority(), parsed.port_u16())
        else {
            return Err(wrong());
        };
        let plain = parsed.query().is_none() && !authority.as_str().contains('@');
        if !matches!(scheme, "http" | "https") || !matches!(parsed.path(), "" | "/") || !plain {
            return Err(wrong());
        }
        let (scheme, host) = (scheme.to_owned(), authority.to_string());
        if scheme == "https" {
            let tls = self.table.entry("tls");
            let tls = tls.or_insert_with(|| toml::Table::new().into());
            if let toml::Value::Table(tls) = tls {
                let name = tls.entry("server_name");
                name.or_insert_with(|| authority.host().into());
            }
        }
        Ok((scheme, host))
    }

    /// Two components of one id would take turns.
    fn check_id(&self, pattern: &str, has_pods: bool) -> Result<(), String> {
        let path = self.path;
        if !has_pods && pattern.contains("{pod}") {
            return Err(format!(
                "{path}.component_id: {pattern:?} is not allowed; a name's addresses have no {{pod}}"
            ));
        }
        Ok(())
    }

    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, String> {
        let path = self.path;
        let taken = self.table.remove(key).map(toml::Value::try_into);
        taken
            .transpose()
            .map_err(|error| mistake_at(&format!("{path}.{key}"), &error))
    }

    fn span(&mut self, key: &str, usual: Duration, least: Duration) -> Result<Duration, String> {
        let path = self.path;
        let Some(text) = self.take::<String>(key)? else {
            return Ok(usual);
        };
        let parsed = humantime::parse_duration(&text);
        let allowed = least..=Duration::from_secs(3_600);
        parsed
            .ok()
            .filter(|span| allowed.contains(span))
            .ok_or_else(|| {
                format!("{path}.{key}: {text:?} is not allowed; allowed is {least:?} to 1h")
            })
    }
}

#[cfg(feature = "kubernetes")]
fn slices(_path: &str, settings: SliceSettings) -> Result<Way, String> {
    Ok(Way::EndpointSlices(settings))
}

#[cfg(not(feature = "kubernetes"))]
#[expect(clippy::needless_pass_by_value, reason = "as with the feature")]
fn slices(path: &str, settings: SliceSettings) -> Result<Way, String> {
    Err(format!(
        "{path}.endpoint_slices: {:?} cannot be followed; this program was built without the feature kubernetes",
        settings.labels
    ))
}

/// The ids of components at these places; what has none is left out, and logged.
pub(super) fn targets(template: &Template, places: &BTreeSet<Place>) -> Vec<Target> {
    let targets = places.iter().filter_map(|place| {
        template
            .target(place)
            .inspect_err(|error| tracing::warn!(?place, error, "what was found is no component"))
            .ok()
    });
    targets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::load;

    fn errors(text: &str) -> String {
        load(text).unwrap_err()
    }

    #[test]
    fn each_address_of_a_name_is_a_component() {
        let text = "[[discovery]]\nname = 'bridges'\ndns = 'https://bridges.chat:50051'\n\
                    keep = '1s'\nlabels = { team = 'x' }\ncanary = { interval = '7s' }\n";
        let mut settings = load(text).unwrap();
        let discovery = settings.discovery.remove(0);
        assert_eq!(discovery.keep, Duration::from_secs(1));
        assert!(matches!(&discovery.way, Way::Dns { host, interval }
            if host == "bridges.chat:50051" && *interval == INTERVAL));
        let place = Place {
            address: "[fd00::7]:50051".parse().unwrap(),
            pod: String::new(),
        };
        let target = discovery.template.target(&place).unwrap();
        assert_eq!(&*target.component_id, "bridges-fd00::7");
        assert_eq!(target.endpoint, "https://[fd00::7]:50051");
        assert_eq!(target.tls.unwrap().server_name, "bridges.chat");
        assert_eq!(target.labels["team"], "x");
        assert_eq!(target.canary.interval, Some(Duration::from_secs(7)));
    }

    #[test]
    fn what_is_wrong_is_named_together() {
        let found = errors(
            "[[discovery]]\nname = 'a'\n\
             [[discovery]]\nname = 'b'\ndns = 'bridges:50051'\n\
             [[discovery]]\nname = 'c'\ndns = 'http://bridges'\n\
             [[discovery]]\nname = 'd e'\ndns = 'http://x:1'\n\
             [[discovery]]\nname = 'f'\ndns = 'http://x:1'\ninterval = '1ms'\n\
             [[discovery]]\nname = 'g'\ndns = 'http://x:1'\nlables = {}\n\
             [[discovery]]\nname = 'h'\ndns = 'http://x:1'\ncomponent_id = '{pod}'\n\
             [[discovery]]\nname = 'i'\ndns = 'http://x:1'\ncomponent_id = 'two words'\n\
             [[discovery]]\nname = 'j'\ndns = 'http://x:1'\n\
             [[discovery]]\nname = 'j'\ndns = 'http://x:1'\n\
             [[discovery]]\nname = 'k'\ndns = 'http://user:hush@x:1'\n\
             [[discovery]]\nname = 'l'\ndns = ['hush']\n",
        );
        for part in [
            "discovery[0]: dns or endpoint_slices",
            "discovery[1].dns: \"bridges:50051\" is not allowed",
            "discovery[2].dns: \"http://bridges\" is not allowed",
            "discovery[3].name: \"d e\"",
            "discovery[4].interval: \"1ms\" is not allowed; allowed is 1s to 1h",
            "discovery[5]: unknown field `lables`",
            "discovery[6].component_id: \"{pod}\" is not allowed",
            "discovery[7].component_id: \"two words\"",
            "discovery[9].name: \"j\" is there twice",
            "discovery[10].dns: \"http://***@x:1\" is not allowed",
            "discovery[11].dns: invalid type, expected a string",
        ] {
            assert!(found.contains(part), "{part} is missing from {found}");
        }
        assert!(!found.contains("hush"), "{found}");
    }

    #[cfg(feature = "kubernetes")]
    #[test]
    fn each_pod_of_the_slices_is_a_component() {
        let text = "[[discovery]]\nname = 'pods'\nendpoint_slices = 'a=b'\n";
        let discovery = load(text).unwrap().discovery.remove(0);
        let place = Place {
            address: "10.0.0.7:50051".parse().unwrap(),
            pod: "bridge-1".to_owned(),
        };
        let target = discovery.template.target(&place).unwrap();
        assert_eq!(&*target.component_id, "bridge-1");
        assert_eq!(target.endpoint, "http://10.0.0.7:50051");
    }

    #[cfg(not(feature = "kubernetes"))]
    #[test]
    fn a_program_that_cannot_follow_slices_says_so() {
        let found = errors("[[discovery]]\nname = 'a'\nendpoint_slices = 'a=b'\n");
        assert!(found.contains("without the feature kubernetes"), "{found}");
    }
}
