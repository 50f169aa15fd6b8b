//! How many connections each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections by address. Behind a lock because connections end in their own tasks; held for one
/// step in the map.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    limit: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection's place among those of its address, given back when dropped.
#[derive(Debug)]
pub struct Place(Option<(Addresses, IpAddr)>);

impl Addresses {
    /// 0: no limit, and nothing is counted.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Arc::default(),
        }
    }

    /// A place; `None` where the address has all that it may have.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        if self.limit == 0 {
            return Some(Place(None));
        }
        let address = address.to_canonical();
        let mut open = self.open();
        let count = open.entry(address).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Place(Some((self.clone(), address))))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((addresses, address)) = self.0.take() else {
            return;
        };
        let mut open = addresses.open();
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count() {
        let addresses = Addresses::new(2);
        let (one, other): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let first = addresses.enter(one).unwrap();
        let _second = addresses.enter(mapped).unwrap();
        assert!(addresses.enter(one).is_none(), "two are open");
        assert!(addresses.enter(other).is_some(), "another is untouched");
        drop(first);
        assert!(addresses.enter(one).is_some());
        assert_eq!(addresses.open().len(), 1, "who has none is forgotten");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let addresses = Addresses::new(0);
        let places: Vec<_> = (0..100)
            .map(|_| addresses.enter([10, 0, 0, 1].into()))
            .collect();
        assert!(places.iter().all(Option::is_some) && addresses.open().is_empty());
    }
}
