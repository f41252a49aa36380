//! Checks that need a JSON Schema validator.
