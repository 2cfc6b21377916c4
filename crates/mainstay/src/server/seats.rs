//! How many connections there may be, in all and from one address.

use super::{Config, Network, network::household, tally::Ended};
use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
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
    by_address: HashMap<IpAddr, Theirs>,
}

/// The seats of one address.
#[derive(Debug, Default)]
struct Theirs {
    taken: usize,
    /// Those among them whose connection ended by abuse.
    abused: usize,
}

/// So many seats of one address that are taken for abuse bar it from more. Several, because many
/// clients may share an address; few, because each has made some work for nothing.
const ABUSED: usize = 16;

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
        let counted = self.counted(address);
        let mut taken = self.0.taken();
        if taken.all >= self.0.most {
            return Err(Ended::Full);
        }
        if let Some(address) = counted {
            let theirs = taken.by_address.entry(address).or_default();
            if theirs.abused >= ABUSED {
                return Err(Ended::Abuse);
            }
            if theirs.taken >= self.0.most_per_address {
                return Err(Ended::Address);
            }
            theirs.taken += 1;
        }
        taken.all += 1;
        Ok(Seat { seats: self.clone(), counted, abused: false })
    }

    /// What `address` counts as; nothing if it is trusted.
    pub(super) fn counted(&self, address: IpAddr) -> Option<IpAddr> {
        let trusted = self.0.trusted.iter().any(|network| network.contains(address));
        (!trusted).then(|| household(address))
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

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    counted: Option<IpAddr>,
    abused: bool,
}

impl Seat {
    /// Counts it as abused until it is dropped; returns whether it counts by address at all.
    pub(super) fn abused(&mut self) -> bool {
        let mut taken = self.seats.0.taken();
        let theirs = self.counted.and_then(|address| taken.by_address.get_mut(&address));
        if let Some(theirs) = theirs.filter(|_| !self.abused) {
            theirs.abused += 1;
            self.abused = true;
        }
        self.counted.is_some()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.taken();
        taken.all -= 1;
        let Some(address) = self.counted else { return };
        if let Entry::Occupied(mut theirs) = taken.by_address.entry(address) {
            let left = theirs.get_mut();
            left.taken -= 1;
            left.abused -= usize::from(self.abused);
            if left.taken == 0 {
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
    fn an_address_that_abuses_many_seats_gets_no_more() {
        let seats = seats(100, 50);
        let mut abused: Vec<_> = (0..ABUSED).map(|_| take(&seats, "192.0.2.1").unwrap()).collect();
        for seat in &mut abused {
            drop(take(&seats, "192.0.2.1").unwrap());
            seat.abused();
            seat.abused();
        }
        assert_eq!(take(&seats, "192.0.2.1").unwrap_err(), Ended::Abuse);
        let _other = take(&seats, "192.0.2.2").unwrap();
        abused.pop();
        let _again = take(&seats, "192.0.2.1").unwrap();
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
