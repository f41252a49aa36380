//! Guests that the product sets up itself: a Windows by its `sysprep`, or by a description
//! that the product keeps.

use super::machine::Builder;
use super::table::Item;
use crate::config::decode::Cx;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{GuestInit, RawInit, RawWindows};
use crate::model::{
    BirthSource, Customization, DomainJoin, GuestIdentity, GuestOs, Told, WindowsSetup,
};
use serde_json::{Value as Json, json};

impl Builder<'_> {
    /// What reads the first-boot configuration of the image's guests.
    fn reader(&self, birth: &BirthSource) -> GuestInit {
        let image = self.around.world.images.get(birth.image.as_str());
        let image = image.and_then(|item| item.value.as_ref());
        image.map_or(GuestInit::None, |image| image.reads)
    }

    /// How the product sets the guest up; none when it does not, or after problems, which
    /// have been reported.
    pub(super) fn customization(
        &mut self,
        birth: &BirthSource,
        cx: &mut Cx<'_>,
    ) -> Option<Box<Customization>> {
        let written = self.raw.init.as_ref()?;
        let raw = &written.value;
        let sysprep = self.reader(birth) == GuestInit::Sysprep;
        if let (Some(zone), None) = (&raw.timezone, &raw.windows) {
            let message = "`timezone` is supported below `windows` alone in this version";
            let problem = Diagnostic::error("not-supported-yet", zone.span, message);
            self.refuse(problem.help("remove it, and set it in the image"), cx);
        }
        let identity = match (&raw.windows, &raw.customization_spec) {
            (Some(windows), Some(kept)) => {
                let message = "a customization spec and `windows` at once";
                let problem = Diagnostic::error("conflict", kept.span, message)
                    .related(windows.key, "also written here")
                    .help("keep one of them: the spec says all that `windows` would");
                self.refuse(problem, cx);
                return None;
            }
            (Some(windows), None) => {
                if birth.os == GuestOs::Windows && !sysprep {
                    let message = format!("the image `{}` is not set up by sysprep", birth.image);
                    let mut problem =
                        Diagnostic::error("init-without-reader", windows.key, message)
                            .help("write `init: sysprep` on the image, or remove `windows`");
                    let image = self.around.world.images.get(birth.image.as_str());
                    if let Some(Item { key, .. }) = image {
                        problem = problem.related(*key, "the image");
                    }
                    self.refuse(problem, cx);
                }
                GuestIdentity::Windows(Box::new(setup(raw, &windows.value)))
            }
            (None, Some(kept)) => GuestIdentity::Kept(kept.value.to_string()),
            (None, None) => {
                if sysprep {
                    let message = format!(
                        "a guest of `{}` is set up by sysprep, and nothing says how",
                        birth.image
                    );
                    let help = "write `windows: { organization: NAME }` below `init`, or on a vCenter `customization_spec: NAME`";
                    let problem = Diagnostic::error("missing-field", written.key, message);
                    self.missing(problem.help(help), cx);
                }
                return None;
            }
        };
        Some(Box::new(Customization { identity, told: Told::default() }))
    }

    /// Whether the image's guests are set up by the product, and this one is not: then it is
    /// told nothing.
    pub(super) fn is_left_alone(&self, birth: &BirthSource) -> bool {
        self.reader(birth) == GuestInit::Sysprep && self.raw.init.is_none()
    }
}

fn setup(init: &RawInit, raw: &RawWindows) -> WindowsSetup {
    let join = raw.join.as_ref().map(|join| DomainJoin {
        domain: join.value.domain.to_string(),
        user: join.value.user.to_string(),
        password: join.value.password.value.clone(),
    });
    WindowsSetup {
        organization: raw.organization.to_string(),
        timezone: init.timezone.as_ref().map(|zone| zone.value.to_string()),
        product_key: raw.product_key.as_ref().map(|key| key.value.clone()),
        join,
        run_once: raw.run_once.iter().map(ToString::to_string).collect(),
    }
}

/// What the digest holds of it. Of a secret that is its reference and version.
pub(super) fn document(setup: &Customization) -> Json {
    let secret =
        |it: &crate::model::SecretRef| json!({ "from": it.to_string(), "version": it.version });
    match &setup.identity {
        GuestIdentity::Kept(name) => json!({ "kept": name }),
        GuestIdentity::Windows(it) => json!({
            "organization": it.organization,
            "timezone": it.timezone,
            "product_key": it.product_key.as_ref().map(secret),
            "domain": it.join.as_ref().map(|join| &join.domain),
            "domain_user": it.join.as_ref().map(|join| &join.user),
            "domain_password": it.join.as_ref().map(|join| secret(&join.password)),
            "run_once": it.run_once,
        }),
    }
}
