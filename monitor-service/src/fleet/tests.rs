//! Stories: what the fleet makes of what happens, on a clock that moves by hand.

mod claims;
mod scale;
mod stories;
mod teller;
mod wiring;
