use std::{fmt, sync::Arc};

/// Who makes a request, as established by authentication.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The tenant whose data may be seen and changed.
    pub tenant: Arc<str>,
    /// The user, client or key within the tenant, for the audit trail.
    pub subject: Arc<str>,
    /// What it may do, in words of the service: nothing unless it is said.
    pub scopes: Arc<[&'static str]>,
}

impl Principal {
    /// The principal `subject` of `tenant`, which may do nothing yet.
    pub fn new(tenant: impl Into<Arc<str>>, subject: impl Into<Arc<str>>) -> Self {
        Self { tenant: tenant.into(), subject: subject.into(), scopes: Arc::default() }
    }

    /// The same, which may do what these scopes open and nothing else.
    #[must_use]
    pub fn with_scopes(self, scopes: impl Into<Arc<[&'static str]>>) -> Self {
        Self { scopes: scopes.into(), ..self }
    }

    /// Whether it has this scope.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.contains(&scope)
    }
}

/// `tenant/subject`, the form used in logs.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_may_do_what_is_said_and_nothing_else() {
        let till = Principal::new("shop", "till");
        assert!(!till.may("read"));
        let reader = till.with_scopes(["read"]);
        assert!(reader.may("read") && !reader.may("write") && !reader.may(""));
        assert_eq!(reader.to_string(), "shop/till");
    }
}
