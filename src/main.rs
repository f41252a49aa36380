//! novahost.
fn main() {}
