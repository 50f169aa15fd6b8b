//! From the ids that strangers choose to the keys under which things are held.

use std::collections::HashMap;
use std::sync::Arc;

/// Keyed anew in each process, so that nobody outside can choose ids that collide; several times as
/// fast as the standard library's hash.
pub(super) type Index<K> = HashMap<Arc<str>, K, foldhash::quality::RandomState>;
