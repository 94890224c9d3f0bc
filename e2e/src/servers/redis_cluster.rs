//! A Redis Cluster: three masters with a replica each.

use std::net::Ipv4Addr;

use super::{RedisServer, place::free_port};
use crate::wait::{eventually, seen};

/// The first slot of each master, and the one behind the last.
const BOUNDS: [u16; 4] = [0, 5_461, 10_923, 16_384];

/// All nodes of a cluster but the first master.
#[derive(Debug)]
pub struct RedisCluster {
    /// The second and the third master.
    pub masters: Vec<RedisServer>,
    /// The replica of each master in their order, the first master's first.
    pub replicas: Vec<RedisServer>,
    url: String,
}

impl RedisCluster {
    /// Starts it; returns when every node knows the others and every replica follows.
    ///
    /// # Panics
    /// When somebody does not come up.
    pub async fn start() -> (RedisServer, Self) {
        let (mut masters, mut replicas) = (Vec::new(), Vec::new());
        for number in 1..BOUNDS.len() {
            let (master, replica) = tokio::join!(Member::start(number), Member::start(number + 3));
            let (first, end) = (BOUNDS[number - 1].to_string(), BOUNDS[number] - 1);
            let slots = ["CLUSTER", "ADDSLOTSRANGE", &first, &end.to_string()];
            master.server.run::<()>(&slots).await;
            masters.push(master);
            replicas.push(replica);
        }
        let all: Vec<&Member> = masters.iter().chain(&replicas).collect();
        for other in &all[1..] {
            all[0].meet(other).await;
        }
        for (master, replica) in masters.iter().zip(&replicas) {
            replica.follow(&master.server).await;
        }
        for member in &all {
            member.until_complete().await;
        }
        let servers = |members: Vec<Member>| members.into_iter().map(|member| member.server).collect();
        let (mut masters, replicas): (Vec<RedisServer>, _) = (servers(masters), servers(replicas));
        let places: Vec<String> = masters
            .iter()
            .map(|master| master.address().to_string())
            .collect();
        let cluster = Self {
            url: format!("redis-cluster://{}", places.join(",")),
            replicas,
            masters: masters.split_off(1),
        };
        (masters.remove(0), cluster)
    }

    /// The address of the cluster; it names the masters.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every node but the first master.
    pub fn nodes(&self) -> impl Iterator<Item = &RedisServer> {
        self.masters.iter().chain(&self.replicas)
    }

    /// Waits until this replica is a master, for itself and for the other masters.
    pub async fn until_rules(&self, replica: &RedisServer) {
        let place = replica.address().to_string();
        for asked in self.masters.iter().chain([replica]) {
            eventually("the replica is a master", || async {
                let nodes = asked.ask::<String>(&["CLUSTER", "NODES"]).await;
                seen(nodes.map_err(|error| error.to_string())?, |nodes| {
                    nodes
                        .lines()
                        .any(|node| node.contains(&place) && node.contains("master"))
                })
            })
            .await;
        }
    }

    /// Begins to move a slot: from now on both redirect whoever asks for a key that has gone or not come yet.
    pub async fn begin_to_move(&self, slot: u16, from: &RedisServer, to: &RedisServer) {
        let (slot, source, target) = (slot.to_string(), id_of(from).await, id_of(to).await);
        to.run::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source])
            .await;
        from.run::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target])
            .await;
    }

    /// Carries the keys that are there now.
    pub async fn carry(&self, slot: u16, from: &RedisServer, to: &RedisServer) {
        let slot = slot.to_string();
        let keys: Vec<String> = from.run(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]).await;
        let (host, port) = (to.address().ip().to_string(), to.address().port().to_string());
        for key in keys {
            from.run::<()>(&["MIGRATE", &host, &port, &key, "0", "5000"])
                .await;
        }
    }

    /// Gives the slot to its new master, and tells the others.
    pub async fn end_to_move(&self, slot: u16, from: &RedisServer, to: &RedisServer) {
        self.carry(slot, from, to).await;
        let (slot, target) = (slot.to_string(), id_of(to).await);
        for told in [to, from].into_iter().chain(&self.masters) {
            told.run::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &target])
                .await;
        }
    }
}

struct Member {
    server: RedisServer,
    bus: u16,
}

impl Member {
    async fn start(number: usize) -> Self {
        let bus = free_port();
        let settings = [
            ["--cluster-enabled", "yes"],
            ["--cluster-port", &bus.to_string()],
            ["--cluster-node-timeout", "2000"],
            ["--cluster-require-full-coverage", "no"],
            ["--repl-diskless-sync-delay", "0"],
        ];
        let server = RedisServer::start_with(Ipv4Addr::LOCALHOST, settings.as_flattened()).await;
        server
            .run::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &number.to_string()])
            .await;
        Self { server, bus }
    }

    async fn meet(&self, other: &Self) {
        let place = other.server.address();
        let (host, port) = (place.ip().to_string(), place.port().to_string());
        let meet = ["CLUSTER", "MEET", &host, &port, &other.bus.to_string()];
        self.server.run::<()>(&meet).await;
    }

    async fn follow(&self, master: &RedisServer) {
        let id = id_of(master).await;
        let follow = ["CLUSTER", "REPLICATE", &id];
        eventually("the replica knows its master", || self.server.ask::<()>(&follow)).await;
    }

    async fn until_complete(&self) {
        eventually("a node knows the cluster", || async {
            let nodes: String = self.server.run(&["CLUSTER", "NODES"]).await;
            let info: String = self.server.run(&["CLUSTER", "INFO"]).await;
            let replication: String = self.server.run(&["INFO", "replication"]).await;
            seen((info, replication, nodes), |(info, replication, nodes)| {
                let linked = nodes.matches(" connected").count() == 6 && nodes.matches("slave ").count() == 3;
                let followed = ["connected_slaves:1", "master_link_status:up"];
                info.contains("cluster_state:ok")
                    && linked
                    && followed.iter().any(|text| replication.contains(text))
            })
        })
        .await;
    }
}

async fn id_of(server: &RedisServer) -> String {
    server.run(&["CLUSTER", "MYID"]).await
}
