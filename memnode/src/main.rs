//! memnode: see ARCHITECTURE.md.

fn main() {}
