//! Something for each process of a component, as far as they can be told apart.

use std::sync::Arc;

/// Processes remembered; the one that was heard longest ago is forgotten first.
const INSTANCES_MAX: usize = 8;

/// A value for each process.
#[derive(Clone, Debug)]
pub(super) struct ByInstance<T> {
    /// The one heard last is the last.
    known: Vec<(Arc<str>, T)>,
}

impl<T> Default for ByInstance<T> {
    fn default() -> Self {
        Self { known: Vec::new() }
    }
}

impl<T> ByInstance<T> {
    pub(super) fn get(&self, instance: &str) -> Option<&T> {
        let of = |(known, _): &&(Arc<str>, T)| &**known == instance;
        self.known.iter().find(of).map(|(_, value)| value)
    }

    pub(super) fn set(&mut self, instance: &str, value: T) {
        let place = self.known.iter().position(|(id, _)| &**id == instance);
        let id = match place {
            Some(place) => self.known.remove(place).0,
            None => instance.into(),
        };
        if self.known.len() >= INSTANCES_MAX {
            self.known.remove(0);
        }
        self.known.push((id, value));
    }

    /// The value of a process, made where there is none.
    pub(super) fn entry(&mut self, instance: &str) -> &mut T
    where
        T: Default,
    {
        let place = self.known.iter().position(|(id, _)| &**id == instance);
        let (id, value) = match place {
            Some(place) => self.known.remove(place),
            None => (instance.into(), T::default()),
        };
        if self.known.len() >= INSTANCES_MAX {
            self.known.remove(0);
        }
        self.known.push((id, value));
        let last = self.known.len() - 1;
        &mut self.known[last].1
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.known.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_heard_longest_ago_is_forgotten_first() {
        let mut known = ByInstance::default();
        for number in 0..INSTANCES_MAX {
            known.set(&format!("i{number}"), number);
        }
        *known.entry("i0") += 100;
        known.set("new", 9);
        assert_eq!(known.get("i0"), Some(&100));
        assert_eq!(known.get("i1"), None);
        assert_eq!(known.values().count(), INSTANCES_MAX);
    }
}
