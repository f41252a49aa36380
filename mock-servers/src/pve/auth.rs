//! Who is asking: API tokens, tickets with their CSRF tokens, and what is said to strangers.

use hyper::header::{self, HeaderMap};
use percent_encoding::percent_decode_str;
use serde_json::json;
use sha1::{Digest, Sha1};

use super::access::Identity;
use super::error::{ApiError, ApiResult};
use super::router::{Call, Outcome};
use super::server::Core;
use super::world::hex;

/// A ticket is good for two hours.
const TICKET_SECONDS: u64 = 2 * 3600;

/// What a request brought along.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    cookie: Option<String>,
    token: Option<String>,
    csrf: Option<String>,
}

impl Credentials {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let cookie = text(header::COOKIE.as_str()).and_then(|cookies| {
            cookies.split(';').find_map(|cookie| {
                let value = cookie.trim().strip_prefix("PVEAuthCookie=")?;
                Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
            })
        });
        let token = text(header::AUTHORIZATION.as_str()).and_then(|value| {
            let value = value.strip_prefix("PVEAPIToken=")?;
            let value = value.split(';').next().unwrap_or(value);
            Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
        });
        Self { cookie, token, csrf: text("CSRFPreventionToken").map(str::to_owned) }
    }

    /// The caller, or why there is none.
    pub(crate) fn check(&self, core: &Core, method: &str) -> ApiResult<Identity> {
        let now = core.now();
        let detailed = |text: String| {
            // Since January 2026 the reason stays in the server's log.
            let terse = core.is_nine() != core.switches.terse_auth;
            ApiError::unauthorized(if terse { "Authentication failed!".to_owned() } else { text })
        };
        if let Some(cookie) = &self.cookie {
            let who = verify_ticket(core, cookie, now).map_err(detailed)?;
            if method != "GET" {
                let given = self.csrf.as_deref().unwrap_or("");
                if !valid_csrf(core, &who, given, now) {
                    return Err(ApiError::unauthorized("Permission denied - invalid csrf token"));
                }
            }
            return Ok(who);
        }
        let Some(token) = &self.token else {
            return Err(ApiError::unauthorized("No ticket"));
        };
        let (name, secret) = token
            .rsplit_once('=')
            .ok_or_else(|| detailed("value does not look like a token".to_owned()))?;
        let (user, id) = name
            .split_once('!')
            .ok_or_else(|| detailed(format!("unable to parse token '{name}'")))?;
        core.world.access.check_token(user, id, secret, now).map_err(detailed)
    }

    /// Who the caller says to be, whether or not that is so.
    pub(crate) fn claimed(&self) -> String {
        let ticket = self.cookie.as_deref().and_then(|it| it.split(':').nth(1));
        let token = self.token.as_deref().and_then(|it| it.rsplit_once('=')).map(|it| it.0);
        ticket.or(token).unwrap_or_default().to_owned()
    }

    /// Whether a token header came without a cookie that would win over it.
    pub(crate) fn is_token(&self) -> bool {
        self.cookie.is_none() && self.token.is_some()
    }
}

fn signature(core: &Core, what: &str) -> String {
    hex(&Sha1::digest(format!("{}|{what}", core.world.counters.ticket_key).as_bytes()))
}

fn verify_ticket(core: &Core, ticket: &str, now: u64) -> Result<Identity, String> {
    let invalid = || "permission denied - invalid PVE ticket".to_owned();
    let (plain, signed) = ticket.split_once("::").ok_or_else(invalid)?;
    if signature(core, plain) != signed {
        return Err(invalid());
    }
    let rest = plain.strip_prefix("PVE:").ok_or_else(invalid)?;
    let (user, time) = rest.rsplit_once(':').ok_or_else(invalid)?;
    let made = u64::from_str_radix(time, 16).map_err(|_| invalid())?;
    if now.saturating_sub(made) > TICKET_SECONDS {
        return Err(invalid());
    }
    if !core.world.access.users.get(user).is_some_and(|account| account.enable) {
        return Err(format!("user '{user}' is disabled"));
    }
    Ok(Identity::user(user))
}

fn valid_csrf(core: &Core, who: &Identity, given: &str, now: u64) -> bool {
    let Some((time, signed)) = given.split_once(':') else {
        return false;
    };
    let Ok(made) = u64::from_str_radix(time, 16) else {
        return false;
    };
    now.saturating_sub(made) <= TICKET_SECONDS
        && signature(core, &format!("{time}:{who}")) == signed
}

/// `POST /access/ticket`: with a password, or with an old ticket in its place.
pub(crate) fn ticket(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let now = core.now();
    let name = call.get("username").unwrap_or("");
    let user = match call.get("realm") {
        Some(realm) if !name.contains('@') => format!("{name}@{realm}"),
        _ => name.to_owned(),
    };
    let password = call.get("password").unwrap_or("");
    let renewed = password.starts_with("PVE:")
        && verify_ticket(core, password, now).is_ok_and(|who| who.user == user);
    let known = renewed || core.world.access.check_password(&user, password, now).is_ok();
    if !known {
        return Err(ApiError::new(401, "authentication failure"));
    }
    let time = format!("{now:08X}");
    let plain = format!("PVE:{user}:{time}");
    let ticket = format!("{plain}::{}", signature(core, &plain));
    let csrf = format!("{time}:{}", signature(core, &format!("{time}:{user}")));
    let who = Identity::user(user.clone());
    let mut cap = serde_json::Map::new();
    for (name, path) in [
        ("vms", "/vms"),
        ("storage", "/storage"),
        ("access", "/access"),
        ("nodes", "/nodes"),
        ("dc", "/"),
        ("mapping", "/mapping"),
        ("sdn", "/sdn"),
    ] {
        let privileges: serde_json::Map<String, serde_json::Value> = core
            .privileges(&who, path)
            .keys()
            .map(|privilege| (privilege.clone(), json!(1)))
            .collect();
        cap.insert(name.to_owned(), privileges.into());
    }
    let mut data = json!({
        "username": user,
        "ticket": ticket,
        "CSRFPreventionToken": csrf,
        "cap": cap,
    });
    if core.world.datacenter.clustered {
        data["clustername"] = json!(core.world.cluster);
    }
    Ok(Outcome::Data(data))
}
