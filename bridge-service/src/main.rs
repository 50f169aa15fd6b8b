//! Delivers agents' events to chat users, and accounts for every one.

mod health;
mod hub;

fn main() {}
