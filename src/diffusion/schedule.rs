//! Which noise levels to visit.
