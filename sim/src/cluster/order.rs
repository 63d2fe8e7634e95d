//! Orders: what is asked of the group itself, and not of the store. Who its members are, who leads it, what it goes by.
//!
//! A group may refuse an order at any time: it has no leader, another change is under way, too few voters can be reached. What
//! it does not refuse it must have done. An order of unknown outcome is given again, or forgotten.

use http::StatusCode;
use serde_json::{Value as Json, json};

use crate::Violation;

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To say who the members are.
    Members,
    /// For how many milliseconds a leader may take a lease; 0: not at all.
    Lease(u64),
    /// That this member leads.
    Lead(u64),
    /// That this member goes for ever.
    Remove(u64),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is done; how the group is then.
    Done(Json),
    /// It was not done: the code, and whatever else was said.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

impl Order {
    pub(super) fn method(self) -> &'static str {
        match self {
            Order::Members => "GET",
            Order::Lease(_) => "PUT",
            Order::Lead(_) => "POST",
            Order::Remove(_) => "DELETE",
        }
    }

    pub(super) fn path(self) -> String {
        match self {
            Order::Members => "/api/members".to_owned(),
            Order::Lease(_) => "/api/settings".to_owned(),
            Order::Lead(_) => "/api/leader".to_owned(),
            Order::Remove(id) => format!("/api/members/{id}"),
        }
    }

    /// The body; empty where there is none.
    pub(super) fn body(self) -> String {
        match self {
            Order::Lease(lease_ms) => json!({ "lease_ms": lease_ms }).to_string(),
            Order::Lead(id) => json!({ "id": id }).to_string(),
            Order::Members | Order::Remove(_) => String::new(),
        }
    }

    /// What counts it, if it is done.
    pub(super) fn counter(self) -> Option<&'static str> {
        match self {
            Order::Members => None,
            Order::Lease(_) => Some("leases set"),
            Order::Lead(_) => Some("transfers"),
            Order::Remove(_) => Some("members removed"),
        }
    }

    /// What the answer means.
    pub(super) fn said(self, status: StatusCode, body: &Json) -> Result<Said, Violation> {
        let wrong = |why: &str| Err(format!("form: {why}: {self:?} answered {} {body}", status.as_u16()));
        let code = body["code"].as_str().unwrap_or("no problem document");
        match (status.as_u16(), code) {
            (200, _) if self.is_done_by(body) => Ok(Said::Done(body.clone())),
            (200, _) => wrong("done, but the group says otherwise"),
            // What is valid today may not have been when it arrived: whoever was to lead has no vote (yet, or any more).
            (400, "invalid") | (404, "no_such_member") | (408 | 409 | 429 | 503 | 507, _)
                if body["outcome"] != "unknown" =>
            {
                Ok(Said::Refused(format!("{code}: {}", body["detail"].as_str().unwrap_or_default())))
            }
            (400..=407 | 409..=428, _) => wrong("a valid order was refused"),
            _ => Ok(Said::Unknown(format!("{} {code}", status.as_u16()))),
        }
    }

    /// Whether a group that is so can have done it.
    fn is_done_by(self, group: &Json) -> bool {
        let members = group["members"].as_array().map_or(&[][..], Vec::as_slice);
        match self {
            Order::Members => !members.is_empty(),
            Order::Lease(_) => group["lease_ms"].is_u64(),
            // A leader may be about to go: it leads until it is known to be gone, and is a member no more.
            Order::Lead(id) => {
                let stays = |member: &&Json| member["id"] == id;
                !members.is_empty()
                    && members.iter().find(stays).is_none_or(|member| member["leader"] == true)
            }
            Order::Remove(id) => !members.is_empty() && members.iter().all(|member| member["id"] != id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_must_show() {
        let said = |order: Order, status: u16, body: Json| {
            order.said(StatusCode::from_u16(status).expect("a status"), &body)
        };
        let group = json!({ "members": [{ "id": 1, "leader": false }, { "id": 2, "leader": true }] });
        assert_eq!(said(Order::Lead(2), 200, group.clone()), Ok(Said::Done(group.clone())));
        said(Order::Lead(1), 200, group.clone()).expect_err("another one leads");
        assert!(
            matches!(said(Order::Lead(3), 200, group.clone()), Ok(Said::Done(_))),
            "it led, and is on its way out"
        );
        assert!(matches!(said(Order::Remove(3), 200, group.clone()), Ok(Said::Done(_))));
        said(Order::Remove(1), 200, group).expect_err("it is still there");
        let busy = json!({ "code": "change_in_progress", "detail": "wait", "outcome": "not_applied" });
        let refused = Ok(Said::Refused("change_in_progress: wait".to_owned()));
        assert_eq!(said(Order::Remove(1), 409, busy), refused);
        let lost = json!({ "code": "unavailable", "outcome": "unknown" });
        assert!(matches!(said(Order::Lease(9), 503, lost), Ok(Said::Unknown(_))));
        said(Order::Lease(9), 422, json!({ "code": "invalid_body" })).expect_err("the order is right");
    }
}
