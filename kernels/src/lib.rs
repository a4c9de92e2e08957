//! Channels-last candle ops with exact gradients.
