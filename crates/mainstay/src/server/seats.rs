//! How many connections there may be, in all and from one address.

use super::{Config, Network, tally::Ended};
use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The places for connections. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Seats(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    most_per_address: usize,
    trusted: Vec<Network>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only addresses with an open connection, so it is never larger than `most`.
    by_address: HashMap<IpAddr, usize>,
}

impl Seats {
    pub(super) fn new(config: &Config) -> Self {
        Self(Arc::new(Shared {
            most: config.seats(),
            most_per_address: config.max_connections_per_address,
            trusted: config.trusted_proxies.clone(),
            taken: Mutex::default(),
        }))
    }

    /// A seat until it is dropped.
    ///
    /// # Errors
    ///
    /// Says which limit is reached.
    pub(super) fn take(&self, address: IpAddr) -> Result<Seat, Ended> {
        let trusted = self.0.trusted.iter().any(|network| network.contains(address));
        let counted = (!trusted).then(|| household(address));
        let mut taken = self.0.taken();
        if taken.all >= self.0.most {
            return Err(Ended::Full);
        }
        if let Some(address) = counted {
            let theirs = taken.by_address.entry(address).or_default();
            if *theirs >= self.0.most_per_address {
                return Err(Ended::Address);
            }
            *theirs += 1;
        }
        taken.all += 1;
        Ok(Seat { seats: self.clone(), counted })
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.0.taken().all
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one subscriber has: an IPv4 address, or the first half of an IPv6 address.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    counted: Option<IpAddr>,
}

impl Seat {
    /// Whether it counts by address.
    pub(super) const fn is_counted(&self) -> bool {
        self.counted.is_some()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.taken();
        taken.all -= 1;
        let Some(address) = self.counted else { return };
        if let Entry::Occupied(mut theirs) = taken.by_address.entry(address) {
            *theirs.get_mut() -= 1;
            if *theirs.get() == 0 {
                theirs.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(most: usize, most_per_address: usize) -> Seats {
        Seats::new(&Config {
            max_connections: most,
            max_connections_per_address: most_per_address,
            ..Config::default()
        })
    }

    fn take(seats: &Seats, address: &str) -> Result<Seat, Ended> {
        seats.take(address.parse().unwrap())
    }

    #[test]
    fn one_address_cannot_take_every_seat() {
        let seats = seats(10, 2);
        let first = take(&seats, "192.0.2.1").unwrap();
        let _second = take(&seats, "::ffff:192.0.2.1").unwrap();
        assert_eq!(take(&seats, "192.0.2.1").unwrap_err(), Ended::Address);
        let _other = take(&seats, "192.0.2.2").unwrap();
        drop(first);
        let _again = take(&seats, "192.0.2.1").unwrap();
    }

    #[test]
    fn addresses_of_one_64_count_together() {
        let seats = seats(10, 1);
        let _first = take(&seats, "2001:db8:0:1::1").unwrap();
        assert_eq!(take(&seats, "2001:db8:0:1:ffff::2").unwrap_err(), Ended::Address);
        let _neighbour = take(&seats, "2001:db8:0:2::1").unwrap();
    }

    #[test]
    fn a_trusted_proxy_is_bound_by_the_whole_only() {
        let seats = seats(3, 1);
        let held: Vec<_> = (0..3).map(|_| take(&seats, "127.0.0.1").unwrap()).collect();
        assert_eq!(take(&seats, "127.0.0.1").unwrap_err(), Ended::Full);
        assert_eq!(seats.taken(), 3);
        drop(held);
        assert_eq!(seats.taken(), 0);
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let seats = seats(10, 2);
        for last in 0..200_u8 {
            drop(seats.take(IpAddr::from([192, 0, 2, last])).unwrap());
        }
        assert_eq!(seats.0.taken().by_address.len(), 0);
    }
}
