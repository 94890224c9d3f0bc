//! `birbnest-migrate` against a real PostgreSQL.

use birbnest_core::config::{Config, Secrets};
use birbnest_e2e::servers::{NatsServer, PostgresServer};
use birbnest_migrate::{MigrateError, SCHEMA_VERSION, Tasks, run};
use futures::future::join_all;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// A database of its own, reached as the administrator.
struct Database {
    config: Config,
    secrets: Secrets,
}

impl Database {
    async fn fresh() -> Self {
        let mut config = Config::default();
        config.postgres.schema = "nest_a".into();
        config.stream.prefix = NatsServer::unique_prefix();
        let url = PostgresServer::shared().await.fresh_database().await;
        Self {
            config,
            secrets: secrets(&url).await,
        }
    }

    async fn migrate(&self) -> Result<(), MigrateError> {
        run(&self.config, &self.secrets, Tasks::default()).await
    }

    async fn run(&self, statements: &str) {
        let mut connection = PgConnection::connect(&self.secrets.postgres_url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
    }

    async fn ask<T>(&self, query: &'static str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let mut connection = PgConnection::connect(&self.secrets.postgres_url).await.unwrap();
        sqlx::query_scalar(query)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }
}

async fn secrets(url: &str) -> Secrets {
    Secrets {
        postgres_url: url.to_owned(),
        postgres_owner_url: None,
        nats_url: NatsServer::shared().await.url(),
        redis_url: String::new(),
    }
}

const APPLIED: &str = "SELECT coalesce(max(version), 0) FROM nest_a._sqlx_migrations WHERE success";

/// What the migrations gave the entries, whatever tables they are in.
const SHAPE: &str = "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') AS line FROM pg_index
     WHERE indrelid = 'nest_a.cache_entries'::regclass
     UNION SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
     WHERE conrelid = 'nest_a.cache_entries'::regclass
     UNION SELECT DISTINCT array_to_string(reloptions, ', ') FROM pg_class
     WHERE relkind = 'r' AND relname LIKE 'cache_entries%'
     UNION SELECT attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || attcollation
                  || coalesce(pg_get_expr(adbin, adrelid), '')
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = 'nest_a.cache_entries'::regclass AND attnum > 0) AS shape";

const TABLES: &str = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'cache\\_entries%'";

#[tokio::test]
async fn entries_are_spread_over_tables_and_put_together_again() {
    let mut database = Database::fresh().await;
    database.migrate().await.unwrap();
    database
        .run(
            "INSERT INTO nest_a.cache_entries (instance, key, version, created_at, updated_at, partition, value)
             SELECT 'i', 'key-' || n, n, now(), now(), 0, to_json(n) FROM generate_series(1, 1000) AS n",
        )
        .await;
    let entries = "SELECT md5(string_agg(e::text, '' ORDER BY key)) FROM nest_a.cache_entries AS e";
    let (shape, before) = (
        database.ask::<String>(SHAPE).await,
        database.ask::<String>(entries).await,
    );
    assert!(
        shape.contains("fillfactor=80") && shape.contains("WHERE tombstone"),
        "{shape}"
    );
    for tables in [8_u16, 3, 1] {
        database.config.postgres.table_partitions = tables;
        database.migrate().await.unwrap();
        assert_eq!(database.ask::<i64>(TABLES).await, i64::from(tables));
        assert_eq!(database.ask::<String>(SHAPE).await, shape, "{tables} tables");
        assert_eq!(database.ask::<String>(entries).await, before, "{tables} tables");
    }
}

#[tokio::test]
async fn a_fresh_database_gets_the_schema_and_a_second_run_changes_nothing() {
    let database = Database::fresh().await;
    database.migrate().await.unwrap();
    assert_eq!(database.ask::<i64>(APPLIED).await, SCHEMA_VERSION);
    let before: String = database
        .ask("SELECT max(installed_on)::text FROM nest_a._sqlx_migrations")
        .await;
    database.migrate().await.unwrap();
    let after: String = database
        .ask("SELECT max(installed_on)::text FROM nest_a._sqlx_migrations")
        .await;
    assert_eq!(before, after);
    assert_eq!(
        database
            .ask::<i64>("SELECT count(*) FROM nest_a.cache_entries")
            .await,
        0
    );
}

#[tokio::test]
async fn runs_at_the_same_time_wait_for_each_other() {
    let database = Database::fresh().await;
    let runs = (0..6).map(|_| database.migrate());
    for ended in join_all(runs).await {
        ended.unwrap();
    }
    let applied: i64 = database.ask("SELECT count(*) FROM nest_a._sqlx_migrations").await;
    assert_eq!(applied, SCHEMA_VERSION);
}

#[tokio::test]
async fn a_broken_migration_leaves_nothing_behind_says_why_and_runs_once_it_is_mended() {
    let database = Database::fresh().await;
    database
        .run("CREATE SCHEMA nest_a; CREATE TABLE nest_a.cache_entries (mine text)")
        .await;
    let error = database.migrate().await.unwrap_err().to_string();
    for part in [
        "migration 2",
        "cache entries",
        "relation \"cache_entries\" already exists",
        "42P07",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert_eq!(database.ask::<i64>(APPLIED).await, 1, "the one before it stays");
    let indexes =
        "SELECT count(*) FROM pg_indexes WHERE schemaname = 'nest_a' AND tablename = 'cache_entries'";
    assert_eq!(database.ask::<i64>(indexes).await, 0);

    database.run("DROP TABLE nest_a.cache_entries").await;
    database.migrate().await.unwrap();
    assert_eq!(database.ask::<i64>(APPLIED).await, SCHEMA_VERSION);
}

#[tokio::test]
async fn a_schema_that_an_administrator_prepared_needs_no_right_to_create_one() {
    let database = Database::fresh().await;
    database
        .run(
            "CREATE ROLE modest LOGIN; CREATE SCHEMA nest_a AUTHORIZATION modest; \
             REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        )
        .await;
    let modest = Database {
        config: database.config.clone(),
        secrets: secrets(&database.secrets.postgres_url.replace("postgres@", "modest@")).await,
    };
    assert!(
        modest.secrets.postgres_url.contains("modest@"),
        "the test's address names its user"
    );
    modest.migrate().await.unwrap();

    let mut elsewhere = Database {
        config: modest.config.clone(),
        secrets: modest.secrets,
    };
    elsewhere.config.postgres.schema = "nest_b".to_owned();
    let error = elsewhere.migrate().await.unwrap_err().to_string();
    assert!(error.contains("permission denied"), "{error}");
}

#[tokio::test]
async fn whoever_serves_reads_and_writes_rows_and_can_do_nothing_else() {
    let database = Database::fresh().await;
    // As an earlier release left it, when there was one role for everything.
    database.migrate().await.unwrap();
    let owner = database.secrets.postgres_url.clone();
    let app = owner.replacen("postgres@", "app%27%22%20role:p%27w@", 1);
    let split = Database {
        config: database.config.clone(),
        secrets: Secrets {
            postgres_url: app,
            postgres_owner_url: Some(owner),
            ..database.secrets.clone()
        },
    };
    split.migrate().await.unwrap();
    split.migrate().await.unwrap();
    let writes = "UPDATE nest_a.fence SET updated_at = now(); DELETE FROM nest_a.cache_entries";
    split.run(writes).await;
    database.run("CREATE TABLE nest_a.later (id bigint)").await;
    split.run("INSERT INTO nest_a.later VALUES (1)").await;
    assert_eq!(split.ask::<i64>(APPLIED).await, SCHEMA_VERSION);
    for refused in [
        "DROP TABLE nest_a.cache_entries",
        "ALTER TABLE nest_a.cache_entries ADD COLUMN more text",
        "TRUNCATE nest_a.cache_entries",
        "CREATE TABLE nest_a.mine (id bigint)",
        "DELETE FROM nest_a._sqlx_migrations",
    ] {
        let mut connection = PgConnection::connect(&split.secrets.postgres_url).await.unwrap();
        let error = connection.execute(refused).await.unwrap_err().to_string();
        assert!(
            error.contains("permission denied") || error.contains("must be owner"),
            "{refused}: {error}"
        );
    }
}

#[tokio::test]
async fn a_schema_from_a_later_release_is_left_as_it_is() {
    let database = Database::fresh().await;
    database.migrate().await.unwrap();
    database
        .run("INSERT INTO nest_a._sqlx_migrations VALUES (9000, 'from the future', now(), true, '\\x00', 1)")
        .await;
    database.migrate().await.unwrap();
}

#[tokio::test]
async fn a_migration_that_was_changed_after_it_was_applied_is_refused() {
    let database = Database::fresh().await;
    database.migrate().await.unwrap();
    database
        .run("UPDATE nest_a._sqlx_migrations SET checksum = '\\x00' WHERE version = 1")
        .await;
    let error = database.migrate().await.unwrap_err();
    assert!(matches!(error, MigrateError::Altered(1)), "{error}");
}

#[tokio::test]
async fn two_nests_share_a_database_and_one_goes_without_the_other() {
    let one = Database::fresh().await;
    let mut two = Database {
        config: one.config.clone(),
        secrets: one.secrets.clone(),
    };
    two.config.postgres.schema = "nest_b".to_owned();
    one.migrate().await.unwrap();
    two.migrate().await.unwrap();
    let drop = Tasks {
        drop_schema: true,
        ..Tasks::default()
    };
    run(&two.config, &two.secrets, drop).await.unwrap();
    run(&two.config, &two.secrets, drop).await.unwrap();
    let left: i64 = one
        .ask("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'nest\\__'")
        .await;
    assert_eq!(left, 1);
    assert_eq!(one.ask::<i64>(APPLIED).await, SCHEMA_VERSION);
}
