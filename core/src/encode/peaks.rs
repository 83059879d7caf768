//! Waveform overviews.
