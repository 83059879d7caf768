//! What a visitor touches first.
