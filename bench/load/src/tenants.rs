//! Whose requests a run sends.

use crate::{args::Common, rng::Rng, values::ApiKey};
use http::{HeaderValue, header::InvalidHeaderValue};
use serde::Serialize;
use std::str::FromStr;

/// Its own stream of randomness, apart from the mix: no request has so high a number.
const TENANTS: u64 = 1 << 63;

/// A tenant's part of the requests.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tenant {
    /// What the record adds it up under; tenants may share one.
    pub(crate) group: String,
    weight: u32,
    #[serde(skip)]
    key: ApiKey,
}

/// Who asks, by the number of the request.
#[derive(Debug)]
pub(crate) struct Tenants {
    seed: u64,
    all: Vec<Asker>,
}

/// Whoever asks: one of the tenants, or the only one there is.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) group: String,
    pub(crate) authorization: Option<HeaderValue>,
    /// Its weight and those of all before it.
    up_to: u64,
}

impl FromStr for Tenant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(group), Some(weight), Some(key)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("expected GROUP:WEIGHT:KEY".to_owned());
        };
        match weight.parse::<u32>() {
            Ok(weight @ 1..) => {
                Ok(Self { group: group.to_owned(), weight, key: ApiKey(key.to_owned()) })
            }
            Ok(0) | Err(_) => Err("a weight is a whole number from 1 on".to_owned()),
        }
    }
}

impl Tenants {
    pub(crate) fn new(common: &Common) -> Result<Self, InvalidHeaderValue> {
        let mut all = Vec::new();
        let mut up_to = 0;
        for tenant in &common.tenants {
            up_to += u64::from(tenant.weight);
            let authorization = Some(bearer(&tenant.key)?);
            all.push(Asker { group: tenant.group.clone(), authorization, up_to });
        }
        if all.is_empty() {
            let authorization = common.key.as_ref().map(bearer).transpose()?;
            all.push(Asker { group: String::new(), authorization, up_to: 1 });
        }
        Ok(Self { seed: common.seed, all })
    }

    /// The same one each time, so that an order is read with the key that made it.
    pub(crate) fn of(&self, sequence: u64) -> &Asker {
        let total = self.all.last().map_or(1, |last| last.up_to);
        let drawn = Rng::derived(self.seed, sequence | TENANTS).below(total);
        &self.all[self.all.partition_point(|asker| asker.up_to <= drawn)]
    }
}

fn bearer(key: &ApiKey) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.0))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::{Asker, Tenant, Tenants};

    #[test]
    fn each_tenant_asks_by_its_weight_and_always_for_the_same_requests() {
        let asker =
            |group: &str, up_to| Asker { group: group.to_owned(), authorization: None, up_to };
        let tenants = Tenants { seed: 1, all: vec![asker("hot", 9), asker("other", 10)] };
        let of_hot = |sequence: &u64| tenants.of(*sequence).group == "hot";
        let hot: Vec<u64> = (0..100_000).filter(of_hot).collect();
        assert!((89_000..91_000).contains(&hot.len()), "{}", hot.len());
        assert!(hot.iter().all(of_hot));
    }

    #[test]
    fn a_tenant_is_read_from_its_three_parts_and_hides_its_key() {
        let tenant: Tenant = "hot:81:id.secret".parse().unwrap();
        assert_eq!((tenant.group.as_str(), tenant.weight), ("hot", 81));
        assert_eq!(tenant.key.0, "id.secret");
        let shown = format!("{tenant:?}{}", serde_json::to_string(&tenant).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        for wrong in ["hot", "hot:1", "hot:0:key", "hot:-1:key", "hot:many:key"] {
            assert!(wrong.parse::<Tenant>().is_err(), "{wrong}");
        }
    }
}
