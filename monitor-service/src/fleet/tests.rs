//! Stories: what the fleet makes of what happens, on a clock that moves by hand.

mod canary;
mod claims;
mod evidence;
mod flock;
mod limits;
mod scale;
mod simulation;
mod stories;
mod teller;
mod wiring;
