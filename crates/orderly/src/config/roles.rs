//! What a process does.

use std::{collections::BTreeSet, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Answers clients.
    Api,
    /// Carries the feed to the world, and what the world tells to the orders.
    Relay,
    /// Carries on what is owed, and forgets what is past its time.
    Worker,
}

impl Role {
    const ALL: [Self; 3] = [Self::Api, Self::Relay, Self::Worker];

    const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Relay => "relay",
            Self::Worker => "worker",
        }
    }
}

/// What a process does: at least one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub(crate) struct Roles(BTreeSet<Role>);

impl Roles {
    pub(crate) fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    pub(crate) fn are_all(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Roles {
    fn default() -> Self {
        Self(Role::ALL.into())
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.are_all() {
            return f.write_str("all");
        }
        let names: Vec<_> = self.0.iter().map(|role| role.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::default());
        }
        let role = |name: &str| {
            let known = Role::ALL.into_iter().find(|role| role.name() == name);
            known.ok_or_else(|| {
                format!("{name:?} is no role; give all, or some of api, relay and worker")
            })
        };
        text.split(',').map(str::trim).map(role).collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<String> for Roles {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Roles> for String {
    fn from(roles: Roles) -> Self {
        roles.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_written() {
        for text in ["all", "api", "relay,worker"] {
            assert_eq!(text.parse::<Roles>().unwrap().to_string(), text);
        }
        assert_eq!("worker, api,relay".parse::<Roles>().unwrap().to_string(), "all");
        for wrong in ["", "api,", "web"] {
            let refused = wrong.parse::<Roles>().unwrap_err();
            assert!(refused.contains("some of api, relay and worker"), "{refused}");
        }
    }
}
