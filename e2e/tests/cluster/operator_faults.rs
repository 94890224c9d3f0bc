//! An operator that dies, and an API server that refuses or is away. Each story has an operator of its own, which finds its
//! API server behind a door.

use std::{
    collections::BTreeMap,
    pin::pin,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use birbnest_e2e::{
    cluster::{Child, Door, OwnOperator, Verdict, story},
    servers::Link,
    wait::{eventually_within, seen},
};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use crate::{
    changes::until_rolled_out,
    deletion::{delete, managed, streams, until_gone},
    rollout::{assert_all_kept, under_load},
    small,
};

/// How long the Lease of a leader that says nothing more is valid (operator/src/leader.rs).
const LEASE: Duration = Duration::from_secs(20);
/// More than a nest needs for its whole life.
const LIVES: u64 = 200;
/// Longer than a Lease without its leader lives.
const AWAY: Duration = Duration::from_secs(40);
/// In which a nest is at rest.
const REST: Duration = Duration::from_secs(20);
/// What an operator may ask in that time: it renews its Lease, and looks at the nest's Secret.
const REQUESTS_AT_REST: u64 = 40;
/// What it may ask to find its way back: lists, watches, and a pass or two over the nest.
const REQUESTS_TO_RECOVER: u64 = 400;
/// A watch without a word is given up after less than two minutes.
const HEARD_AGAIN: Duration = Duration::from_mins(3);
/// Writes that one nest and one change of it cost at most, though some are refused.
const WRITES: u64 = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_dies_at_each_of_its_writes_makes_changes_and_ends_a_nest() {
    story("mortal", async |space| {
        let backends = space.backends().await;
        let door = Door::open(space.client.clone()).await;
        let operator = OwnOperator::new(space, door.address());
        let mut spec = small();
        spec["deletionPolicy"] = json!("Delete");
        let nest = operator.apply_nest("cat", &spec).await;
        let lives = live_and_die(&operator, &door, nest.until_ready()).await;
        eprintln!("made in {lives} lives");
        nest.client().await.put("robin", json!(1)).await.expect(201);

        // Whoever lives on has nothing left to do.
        let made = nest.children().await;
        door.judge(|_| Verdict::Pass);
        operator.process().start();
        operator.until_reconciled().await;
        operator.process().kill9();
        assert_eq!(specs(&nest.children().await), specs(&made));

        let change = json!({ "worker": { "batch": { "size": 100 } }, "api": { "requestTimeout": "4s" } });
        nest.patch(json!({ "spec": change })).await;
        let lives = live_and_die(&operator, &door, until_rolled_out(&nest, &change)).await;
        eprintln!("changed in {lives} lives");
        assert_eq!(
            nest.client().await.get("robin").await.expect(200).value(),
            json!(1)
        );

        let uid = delete(&nest).await;
        let lives = live_and_die(&operator, &door, until_gone(&nest, &uid)).await;
        eprintln!("ended in {lives} lives");
        assert_eq!(streams(&backends.nats.jetstream().await).await, [""; 0]);
        assert!(backends.table().count().await.is_err(), "the table is dropped");
    })
    .await;
}

/// Which children there are, and which spec of theirs: their status goes on.
fn specs(children: &BTreeMap<String, Child>) -> Vec<(&String, &String, Option<i64>)> {
    let each = children.iter();
    each.map(|(name, child)| (name, &child.uid, child.generation))
        .collect()
}

/// Starts the operator again and again, until the goal is reached: it dies at its first write, of which it never hears, then
/// at its second, and so on. Returns how often it lived.
async fn live_and_die<T>(operator: &OwnOperator, door: &Door, goal: impl Future<Output = T>) -> u64 {
    let (mut goal, mut life) = (pin!(goal), 0);
    loop {
        life += 1;
        assert!(life < LIVES, "it was not reached in {LIVES} lives");
        door.judge(move |number| {
            if number < life {
                Verdict::Pass
            } else {
                Verdict::Unanswered
            }
        });
        operator.process().start();
        let reached = tokio::select! {
            _ = &mut goal => true,
            () = door.until_unanswered() => false,
        };
        operator.process().kill9();
        if reached {
            return life;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_died_when_it_had_taken_a_nest_s_servers_away_lets_it_go() {
    story("last-step", async |space| {
        let door = Door::open(space.client.clone()).await;
        let operator = OwnOperator::new(space, door.address());
        let nest = operator.apply_nest("cat", &managed("Delete")).await;
        let patch = json!({ "metadata": { "finalizers": ["birbnest.dev/drain"] } });
        nest.patch(patch).await;
        let uid = delete(&nest).await;
        operator.process().start();
        until_gone(&nest, &uid).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_lease_is_refused_ends_before_its_lease_does() {
    story("overloaded", async |space| {
        let _backends = space.backends().await;
        let door = Door::open(space.client.clone()).await;
        let operator = OwnOperator::new(space, door.address());
        operator.process().start();
        operator.apply_nest("led", &small()).await.until_ready().await;
        let refused = Instant::now();
        door.refuse_leases(StatusCode::SERVICE_UNAVAILABLE);
        eventually_within(AWAY, "it ends", || async {
            seen(operator.process().ended(), Option::is_some).map(drop)
        })
        .await;
        let took = refused.elapsed();
        eprintln!("it ended {took:?} after the first refusal");
        assert!(took < LEASE, "{took:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_away_costs_no_request_and_is_not_overrun_when_it_is_back() {
    story("away", async |space| {
        let backends = space.backends().await;
        let door = Door::open(space.client.clone()).await;
        let link = Link::to(door.address()).await;
        let operator = OwnOperator::new(space, link.address());
        operator.process().start();
        let nest = operator.apply_nest("alone", &small()).await;
        nest.until_ready().await;
        let load = under_load(&nest).await;

        link.cut();
        let change = json!({ "worker": { "batch": { "size": 100 } } });
        nest.patch(json!({ "spec": change })).await;
        let mut ends = 0;
        let cut = Instant::now();
        while cut.elapsed() < AWAY {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if operator.process().ended().is_some() {
                ends += 1;
                operator.process().start();
            }
        }
        assert_eq!(ends, 1, "it ends when its Lease does, and then waits");
        load.until_more(200).await;

        let before = door.requests();
        link.mend();
        let back = Instant::now();
        until_rolled_out(&nest, &change).await;
        let asked = door.requests() - before;
        eprintln!("rolled out {:?} after, with {asked} requests", back.elapsed());
        assert!(asked < REQUESTS_TO_RECOVER, "{asked} requests");
        door.until_at_rest(REST, REQUESTS_AT_REST).await;
        assert_all_kept(load.stop().await, &backends).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_fall_silent_are_begun_again_where_they_were() {
    story("silent", async |space| {
        let _backends = space.backends().await;
        let door = Door::open(space.client.clone()).await;
        let operator = OwnOperator::new(space, door.address());
        operator.process().start();
        let nest = operator.apply_nest("deaf", &small()).await;
        nest.until_ready().await;

        door.hush_watches();
        let hushed = Instant::now();
        let change = json!({ "worker": { "batch": { "size": 100 } } });
        nest.patch(json!({ "spec": change })).await;
        space.delete::<Service>("deaf-api").await;
        eventually_within(HEARD_AGAIN, "what was missed is made good", || async {
            let observed = nest.status().await.observed_generation;
            seen(observed, |observed| *observed == Some(2))?;
            let service = space.api::<Service>().get_opt("deaf-api").await;
            let service = service.map_err(|error| error.to_string())?;
            service.map(drop).ok_or_else(|| "there is no Service".to_owned())
        })
        .await;
        let deaf = hushed.elapsed();
        eprintln!("deaf for {deaf:?}");
        assert!(
            deaf > Duration::from_secs(20),
            "it was heard after {deaf:?}: nothing was hushed"
        );
        until_rolled_out(&nest, &change).await;
        operator.process().assert_running();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_throttling_and_errors_of_the_api_server_pass() {
    story("refused", async |space| {
        let _backends = space.backends().await;
        let door = Door::open(space.client.clone()).await;
        let operator = OwnOperator::new(space, door.address());
        door.judge(storm);
        operator.process().start();
        let nest = operator.apply_nest("stubborn", &small()).await;
        nest.until_ready().await;
        let made = door.writes();
        door.judge(storm);
        let change = json!({ "worker": { "batch": { "size": 100 } } });
        nest.patch(json!({ "spec": change })).await;
        until_rolled_out(&nest, &change).await;
        operator.process().assert_running();
        let writes = made + door.writes();
        eprintln!("{writes} writes");
        assert!(writes < WRITES, "{writes} writes");
    })
    .await;
}

/// Half of the first writes are refused. Each refusal makes the pause after it longer, up to a minute.
fn storm(number: u64) -> Verdict {
    match number {
        3 | 6 | 9 => Verdict::Refuse(StatusCode::CONFLICT),
        5 | 10 => Verdict::Refuse(StatusCode::TOO_MANY_REQUESTS),
        7 => Verdict::Refuse(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Verdict::Pass,
    }
}
