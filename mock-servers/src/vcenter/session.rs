//! Sessions: who is logged in, and for how long yet.

use super::access::User;
use super::fault::{Fault, Outcome};
use super::server::Core;
use super::val::{Val, flag, long, obj, text, time};
use super::world::Session;
use super::xml::Elem;

/// A login that did not become a session.
pub(crate) enum Refused {
    /// As a fault.
    Fault(Fault),
    /// The table is full: the front end answers without any SOAP.
    Full,
}

impl Core {
    /// The user of a cookie whose session still lives; using it keeps it alive.
    pub(crate) fn authenticate(&mut self, cookie: Option<&str>) -> Option<String> {
        self.expire();
        let now = self.now_ms();
        let session = self.world.sessions.get_mut(cookie?)?;
        session.active_ms = now;
        session.calls += 1;
        Some(session.user.clone())
    }

    /// Ends sessions that have rested for too long, with all that was theirs.
    pub(crate) fn expire(&mut self) {
        let now = self.now_ms();
        let idle = u64::try_from(self.timing.session_idle.as_millis()).unwrap_or(u64::MAX);
        self.tag_expire();
        self.world.sessions.retain(|_, session| now < session.active_ms.saturating_add(idle));
    }

    /// Ends all sessions, as a restart does.
    pub(crate) fn end_sessions(&mut self) {
        self.world.sessions.clear();
        self.world.tagging.sessions.clear();
    }

    /// Begins a session; gives the cookie.
    pub(crate) fn log_in(
        &mut self,
        args: &Elem,
        cookie: Option<&str>,
        agent: &str,
    ) -> Result<(String, Val), Refused> {
        self.expire();
        let invalid = || {
            let message = "Cannot complete login due to an incorrect user name or password.";
            Refused::Fault(Fault::new("InvalidLogin", message, vec![]))
        };
        if cookie.is_some_and(|cookie| self.world.sessions.contains_key(cookie)) {
            return Err(invalid());
        }
        let name = args.text_of("userName").unwrap_or("");
        let password = args.text_of("password").unwrap_or("");
        let found = self.world.access.user(name);
        let right = |user: &User| user.password == password && !password.is_empty();
        let Some((user, _)) = found.filter(|(_, user)| right(user)) else { return Err(invalid()) };
        let user = user.to_owned();
        let any = self.world.entities.keys().any(|id| self.world.may(&user, id, "System.View"));
        if !any {
            let root = Val::Ref("Folder".into(), self.world.root().to_owned());
            return Err(Refused::Fault(Fault::no_permission(root, "System.View")));
        }
        if self.world.sessions.len() >= self.world.sessions_max {
            return Err(Refused::Full);
        }
        let cookie = self.world.new_uuid().replace('-', "");
        let now = self.now_ms();
        let session = Session {
            key: self.world.new_uuid(),
            user,
            began_ms: now,
            active_ms: now,
            calls: 0,
            agent: agent.to_owned(),
        };
        let answer = value(&session);
        self.cookies.insert(cookie.clone(), session.user.clone());
        self.world.sessions.insert(cookie.clone(), session);
        Ok((cookie, answer))
    }

    /// Ends a session.
    pub(crate) fn log_out(&mut self, cookie: Option<&str>) -> Outcome<()> {
        if let Some(cookie) = cookie {
            self.world.sessions.remove(cookie);
            self.live.end(cookie);
        }
        Ok(())
    }
}

/// A session as it is told.
pub(crate) fn value(session: &Session) -> Val {
    obj(
        "UserSession",
        vec![
            ("key", text(session.key.clone())),
            ("userName", text(session.user.clone())),
            ("fullName", text(session.user.clone())),
            ("loginTime", time(session.began_ms)),
            ("lastActiveTime", time(session.active_ms)),
            ("locale", text("en")),
            ("messageLocale", text("en")),
            ("extensionSession", flag(false)),
            ("ipAddress", text("127.0.0.1")),
            ("userAgent", text(session.agent.clone())),
            ("callCount", long(session.calls)),
        ],
    )
}
