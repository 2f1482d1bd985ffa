//! memnode: see ARCHITECTURE.md.
