//! hooktool: see ARCHITECTURE.md.

fn main() {}
