//! The instruments: BS.1770 loudness, true peak, spectrum. Used by `analyse`, by the loudness solver of `render` and by `verify`.
