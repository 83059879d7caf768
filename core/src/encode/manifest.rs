//! What was delivered.
