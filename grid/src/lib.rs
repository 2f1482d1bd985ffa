//! grid: see ARCHITECTURE.md.
