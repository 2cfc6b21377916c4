use std::{fmt, sync::Arc};

/// Who makes a request, as established by authentication.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The tenant whose data may be seen and changed.
    pub tenant: Arc<str>,
    /// The user, client or key within the tenant, for the audit trail.
    pub subject: Arc<str>,
}

impl Principal {
    /// The principal `subject` of `tenant`.
    pub fn new(tenant: impl Into<Arc<str>>, subject: impl Into<Arc<str>>) -> Self {
        Self { tenant: tenant.into(), subject: subject.into() }
    }
}

/// `tenant/subject`, the form used in logs.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.subject)
    }
}
