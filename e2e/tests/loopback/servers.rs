//! The harness itself: servers that tests share, and servers that tests stop, kill and start again.

use birbnest_e2e::servers::{Disk, NatsServer, PostgresServer, RedisServer};
use sqlx::{Connection, Executor, PgConnection};

#[tokio::test]
async fn shared_servers_answer_and_each_test_gets_its_own_database() {
    let postgres = PostgresServer::shared().await;
    let (one, other) = (postgres.fresh_database().await, postgres.fresh_database().await);
    assert_ne!(one, other);
    for url in [one, other] {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        connection.execute("CREATE TABLE nest (egg int)").await.unwrap();
    }
    NatsServer::shared()
        .await
        .jetstream()
        .await
        .query_account()
        .await
        .unwrap();
    RedisServer::shared().await.connect().await.unwrap();
}

#[tokio::test]
async fn a_killed_postgres_comes_back_with_its_data() {
    let postgres = PostgresServer::start_new(Disk::Trusted).await;
    postgres.run("CREATE TABLE nest (egg int)").await;
    postgres.kill9();
    assert!(PgConnection::connect(&postgres.url()).await.is_err());
    postgres.start().await;
    postgres.run("SELECT egg FROM nest").await;
    postgres.stop().await;
    postgres.start().await;
}

#[tokio::test]
async fn a_killed_nats_comes_back_with_its_streams() {
    let nats = NatsServer::start_new(Disk::Trusted).await;
    let config = async_nats::jetstream::stream::Config {
        name: "nest".to_owned(),
        ..Default::default()
    };
    nats.jetstream().await.create_stream(config).await.unwrap();
    nats.kill9();
    assert!(nats.connect().await.is_err());
    nats.start().await;
    nats.jetstream().await.get_stream("nest").await.unwrap();
}

#[tokio::test]
async fn a_stopped_redis_comes_back_empty() {
    let redis = RedisServer::start_new().await;
    let mut connection = redis.connect().await.unwrap();
    redis::cmd("SET")
        .arg("robin")
        .arg(1)
        .query_async::<()>(&mut connection)
        .await
        .unwrap();
    redis.stop().await;
    assert!(redis.connect().await.is_err());
    redis.start().await;
    let mut connection = redis.connect().await.unwrap();
    let found: Option<String> = redis::cmd("GET")
        .arg("robin")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(found, None);
}
