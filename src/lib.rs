//! novahost.
