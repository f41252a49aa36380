//! All integration tests, as one binary: it links once.

mod provider_proxmox;
mod tidy;
