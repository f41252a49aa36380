//! Addresses as a person types them.

use crate::model::{Kind, ResourceKey, inert};

/// `KIND/NAME`, or the bare name of a machine: most of what is typed is about machines.
pub(super) fn address(text: &str) -> Result<ResourceKey, String> {
    let whole = if text.contains('/') { text.to_owned() } else { format!("vm/{text}") };
    whole.parse().map_err(|_| {
        let text = inert(text);
        format!("`{text}` is no address; write `NAME` or `vm/NAME`, `pool/NAME`, `spread/NAME`")
    })
}

/// The address of a machine.
pub(super) fn machine(text: &str) -> Result<ResourceKey, String> {
    let named = address(text).ok().filter(|key| key.kind == Kind::Vm);
    named.ok_or_else(|| {
        format!(
            "`{}` names no machine; write `NAME` or `vm/NAME`, as its entry is called",
            inert(text)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_with_or_without_its_kind() {
        for read in [address, machine] {
            assert_eq!(read("web-1"), Ok(ResourceKey::vm("web-1")));
            assert_eq!(read("vm/web-1"), Ok(ResourceKey::vm("web-1")));
            assert!(read("").is_err() && read("disk/a").is_err());
        }
        assert_eq!(address("pool/team"), Ok(ResourceKey::pool("team")));
        assert!(machine("pool/team").unwrap_err().contains("names no machine"));
    }
}
