//! Addresses as the operator sees them, which lives in another namespace than the pods that use them.

use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpStream;

const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The port of a Redis sentinel whose address names none.
const SENTINEL_PORT: u16 = 26_379;

/// The address with each host that is a bare Service name put into the namespace: `nats` becomes `nats.shop.svc`.
pub fn from_outside(address: &str, namespace: &str) -> String {
    address
        .split(',')
        .map(|one| qualify(one.trim(), namespace))
        .collect::<Vec<_>>()
        .join(",")
}

fn qualify(address: &str, namespace: &str) -> String {
    let (start, end) = host_span(address);
    let host = &address[start..end];
    let bare = !host.is_empty() && host != "localhost" && !host.contains(['.', ':', '[']);
    if bare {
        format!("{}{host}.{namespace}.svc{}", &address[..start], &address[end..])
    } else {
        address.to_owned()
    }
}

/// Where the host stands: after `scheme://` and `user:password@`, up to the port or path.
fn host_span(address: &str) -> (usize, usize) {
    let authority = address.find("://").map_or(0, |scheme| scheme + 3);
    let authority_end = address[authority..]
        .find(['/', '?'])
        .map_or(address.len(), |end| authority + end);
    let start = address[authority..authority_end]
        .rfind('@')
        .map_or(authority, |at| authority + at + 1);
    let rest = &address[start..authority_end];
    let len = if rest.starts_with('[') {
        rest.find(']').map_or(rest.len(), |bracket| bracket + 1)
    } else {
        rest.find(':').unwrap_or(rest.len())
    };
    (start, start + len)
}

/// Hosts and ports, without what is secret in the address.
fn endpoints(address: &str, default_port: u16) -> Vec<String> {
    let port = if address.contains("-sentinel://") {
        SENTINEL_PORT
    } else {
        default_port
    };
    address.split(',').map(|one| endpoint(one.trim(), port)).collect()
}

fn endpoint(address: &str, default_port: u16) -> String {
    let (start, end) = host_span(address);
    let port: String = address[end..]
        .strip_prefix(':')
        .into_iter()
        .flat_map(str::chars)
        .take_while(char::is_ascii_digit)
        .collect();
    let port = port.parse().unwrap_or(default_port);
    format!("{}:{port}", &address[start..end])
}

/// Whether one of the address' hosts accepts connections: the reason when none does.
///
/// # Errors
/// The endpoints and why they cannot be reached, without anything secret.
pub async fn probe(address: &str, default_port: u16) -> Result<(), String> {
    let answers = join_all(endpoints(address, default_port).into_iter().map(connect)).await;
    if answers.iter().any(Result::is_ok) {
        return Ok(());
    }
    let troubles: Vec<String> = answers.into_iter().filter_map(Result::err).collect();
    Err(troubles.join(", "))
}

async fn connect(endpoint: String) -> Result<(), String> {
    match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(&endpoint)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{endpoint} cannot be reached ({error})")),
        Err(_) => Err(format!(
            "{endpoint} does not answer within {} s",
            CONNECT_WITHIN.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_service_name_is_looked_for_in_the_nests_namespace() {
        for (address, outside) in [
            ("nats://nats:4222", "nats://nats.shop.svc:4222"),
            (
                "nats://a:4222,nats://b.other:4222",
                "nats://a.shop.svc:4222,nats://b.other:4222",
            ),
            (
                "postgres://u:p@a:5432,b/x?target_session_attrs=read-write",
                "postgres://u:p@a.shop.svc:5432,b.shop.svc/x?target_session_attrs=read-write",
            ),
            ("redis://:pa@ss@cache/0", "redis://:pa@ss@cache.shop.svc/0"),
            (
                "postgres://u:p@db.example.org/x?sslmode=require",
                "postgres://u:p@db.example.org/x?sslmode=require",
            ),
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://[::1]:4222", "nats://[::1]:4222"),
            ("redis://localhost", "redis://localhost"),
            (
                "redis-sentinel://:p@a:26379,b/0?master=x",
                "redis-sentinel://:p@a.shop.svc:26379,b.shop.svc/0?master=x",
            ),
            (
                "rediss-cluster://:p@a:7000,b",
                "rediss-cluster://:p@a.shop.svc:7000,b.shop.svc",
            ),
        ] {
            assert_eq!(from_outside(address, "shop"), outside);
        }
    }

    #[test]
    fn an_endpoint_names_no_secret() {
        assert_eq!(
            endpoints("redis://:secret@cache.shop.svc/0", 6379),
            ["cache.shop.svc:6379"]
        );
        assert_eq!(
            endpoints(
                "postgres://u:p@a:6543,[::1]/x?target_session_attrs=read-write",
                5432
            ),
            ["a:6543", "[::1]:5432"]
        );
        assert_eq!(endpoints("redis://[::1]:7000/0", 6379), ["[::1]:7000"]);
        assert_eq!(
            endpoints("redis-sentinel://:secret@a,b:7/0?master=x", 6379),
            ["a:26379", "b:7"]
        );
        assert_eq!(
            endpoints("redis-cluster://:secret@a,b:7", 6379),
            ["a:6379", "b:7"]
        );
    }

    #[tokio::test]
    async fn a_dead_address_is_told_with_its_endpoint() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("redis://:secret@{}", listener.local_addr().unwrap());
        assert_eq!(probe(&address, 6379).await, Ok(()));
        assert_eq!(probe(&format!("127.0.0.1:1,{address}"), 6379).await, Ok(()));
        drop(listener);
        let refused = probe(&address, 6379).await.unwrap_err();
        assert!(
            refused.contains("127.0.0.1") && !refused.contains("secret"),
            "{refused}"
        );
    }
}
