//! The honest account: JSON for machines, one self-contained HTML page with plots for people.
