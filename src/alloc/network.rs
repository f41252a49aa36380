//! Hardware addresses for new cards.

use super::{Allotment, Request, Site, hash};
use crate::model::{Capabilities, Choice, MacAddress, MacRange};

impl Site<'_> {
    /// A declared address, or one derived from key and card inside the product's
    /// prefix, probed past every address that was seen. Chosen once, at birth; later
    /// the observed one is kept.
    pub(super) fn choose_macs(
        &mut self,
        request: &Request<'_>,
        capabilities: &Capabilities,
        result: &mut Allotment,
    ) {
        for name in request.new_nics {
            let declared = request.spec.nics.get(name).and_then(|nic| nic.mac);
            let (mac, why) = match declared {
                Some(mac) => (mac, "asked for"),
                None => {
                    let key = request.machine.key.to_string();
                    let derived = (0..=u32::MAX)
                        .map(|probe| derive(capabilities.macs, &key, name.as_str(), probe))
                        .find(|mac| !self.macs.contains(mac));
                    // Millions of addresses outlast any cluster; should they run out, the
                    // hypervisor assigns one itself.
                    let Some(mac) = derived else { continue };
                    (mac, "derived from key and card")
                }
            };
            self.macs.insert(mac);
            result.allotted.macs.insert(name.clone(), mac);
            result.choices.push(Choice {
                what: format!("mac nic.{name}"),
                value: mac.to_string(),
                why: why.to_owned(),
            });
        }
    }
}

fn derive(range: MacRange, key: &str, nic: &str, probe: u32) -> MacAddress {
    range.at(hash(&[b"mac", key.as_bytes(), nic.as_bytes(), &probe.to_be_bytes()]))
}
