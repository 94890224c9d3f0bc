//! Another one takes the place of a server that leads.

use std::time::Duration;

use tokio::time::sleep;

use super::Target;
use crate::{house::House, servers::PostgresServer};

/// Kills whoever leads, lets another one take over, and brings the killed one back.
///
/// # Panics
/// When nobody takes over, and when there is nobody who could.
pub(super) async fn fail_over(house: &House, target: Target, length: Duration) {
    match target {
        Target::Redis => redis(house, length).await,
        Target::Nats => nats(house, length).await,
        Target::Postgres => postgres(&house.postgres, house.standby(), length).await,
        Target::Api | Target::Workers => panic!("{target} has no leader"),
    }
}

/// The sentinels make the replica the master. They may think better of it when the old one is back before they are done.
async fn redis(house: &House, length: Duration) {
    house.until_redis_is_replicated().await;
    let (old, Some(new)) = house.until_redis_master().await else {
        panic!("this Redis has no replica");
    };
    old.process().kill9();
    new.until_master().await;
    sleep(length).await;
    old.start().await;
    house.until_redis_is_replicated().await;
}

/// The old master goes on, and does not know that it is none any more, until the sentinels see it again.
///
/// # Panics
/// When this Redis has no sentinels.
pub(super) async fn two_masters(house: &House, length: Duration) {
    house.until_redis_is_replicated().await;
    let (Some(sentinels), (old, Some(new))) = (&house.sentinels, house.until_redis_master().await) else {
        panic!("this Redis has no sentinels");
    };
    sentinels.lose_sight_of(old).await;
    new.until_master().await;
    sleep(length).await;
    sentinels.regain_sight_of(old).await;
    house.until_redis_is_replicated().await;
}

async fn nats(house: &House, length: Duration) {
    let leader = house.until_led(house.layout().first()).await;
    leader.kill9();
    sleep(length).await;
    leader.start().await;
    house.until_led(house.layout().first()).await;
}

/// There and back: the first is killed and loses what the second has not seen yet; then the second is stopped in order.
async fn postgres(first: &PostgresServer, second: &PostgresServer, length: Duration) {
    first.kill9();
    second.promote().await;
    sleep(length).await;
    first.follow(second).await;
    second.until_followed().await;
    second.stop().await;
    first.promote().await;
    second.follow(first).await;
}
