//! LoopMastering: one binary, several roles.

fn main() {}
