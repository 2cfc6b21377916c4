//! Whether what goes to other servers could be read on the way there.

use std::net::IpAddr;

/// Whether a URL has a password in it, which may hold any sign: all before the last `@` may be its.
pub(super) fn holds_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let user = rest.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || url.contains("password=")
}

/// Whether a URL of PostgreSQL leads to another machine.
pub(super) fn leaves(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or("");
    let named = parameters(url).filter(|(key, _)| matches!(*key, "host" | "hostaddr"));
    named.map(|(_, hosts)| hosts).chain([authority]).flat_map(|hosts| hosts.split(',')).any(is_away)
}

/// How a URL of PostgreSQL says that TLS is used, if it does.
pub(super) fn sslmode(url: &str) -> Option<&str> {
    parameters(url).filter(|(key, _)| *key == "sslmode").last().map(|(_, mode)| mode)
}

/// The parameters of a URL.
fn parameters(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let all = url.rsplit_once('?').map_or("", |(_, all)| all);
    all.split('&').filter_map(|one| one.split_once('='))
}

/// Whether a host, with a port or without, may be another machine. No host and a path stand for a socket
/// of this one.
pub(super) fn is_away(host: &str) -> bool {
    let is_v6 = host.starts_with('[');
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let name = if is_v6 { name.trim_matches(['[', ']']) } else { name };
    let is_path = ["/", "%2F", "%2f"].iter().any(|begin| name.starts_with(begin));
    let is_here = name.is_empty()
        || is_path
        || name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    !is_here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_whatever_signs_it_has() {
        for url in [
            "postgres://u:p@h/db",
            "postgres://u:pa/ss@h/db",
            "postgres://u:pa?ss@h/db",
            "postgres://u:p@ss@h/db",
            "postgres://u@h/db?password=p",
        ] {
            assert!(holds_password(url), "{url}");
        }
        for url in ["postgres://u@h:5432/db", "postgres://u@[::1]:5432/db", "postgres://h:5432/db"]
        {
            assert!(!holds_password(url), "{url}");
        }
    }

    #[test]
    fn a_host_is_here_only_when_it_surely_is() {
        for url in [
            "postgres://u@127.0.0.1:5432/db",
            "postgres://u@127.8.0.1/db",
            "postgres://u@[::1]:5432/db",
            "postgres://u@localhost,127.0.0.1:5433/db?sslmode=disable",
            "postgres://u@%2Fvar%2Frun/db",
            "postgres:///db?host=/var/run",
        ] {
            assert!(!leaves(url), "{url}");
        }
        for url in [
            "postgres://u@db:5432/db",
            "postgres://db/db",
            "postgres://u@[2001:db8::1]:5432/db",
            "postgres://u@127.0.0.1,db-2/db",
            "postgres://u@10.0.0.1?sslmode=prefer",
            "postgres://u@127.0.0.1/db?hostaddr=10.0.0.1",
            "postgres:///db?connect_timeout=1&host=localhost,db-2",
            "postgres://u@127.0.0.1.example/db",
        ] {
            assert!(leaves(url), "{url}");
        }
        assert!(!is_away("127.0.0.1:9092") && !is_away("[::1]:9092") && is_away("kafka-1:9092"));
    }

    #[test]
    fn the_last_word_about_tls_counts() {
        assert_eq!(sslmode("postgres://u@db/db"), None);
        assert_eq!(sslmode("postgres://u@db/db?sslmode=require&a=b"), Some("require"));
        assert_eq!(sslmode("postgres://u@db/db?sslmode=require&sslmode=prefer"), Some("prefer"));
    }
}
