//! wire: see ARCHITECTURE.md.
