use super::*;

fn config() -> StreamConfig {
    StreamConfig::default()
}

fn layout() -> Layout {
    Layout::of_new_nest(3)
}

fn first() -> Role {
    Role::Persist(Partition(0), layout())
}

#[test]
fn limits_are_shared_among_the_partitions_rounded_up() {
    let wanted = stream(&config(), Role::Persist(Partition(1), layout()));
    assert_eq!(wanted.max_messages, 333_334);
    assert_eq!(wanted.max_bytes, 357_913_942);
    assert_eq!(wanted.subjects, ["cache.persist.1.>"]);
}

#[test]
fn dead_letters_of_one_key_wait_side_by_side_and_a_full_stream_refuses() {
    let wanted = stream(&config(), Role::Dead);
    assert_eq!(
        (wanted.name.as_str(), wanted.subjects),
        ("cache_dead", vec!["cache.dead.>".to_owned()])
    );
    assert_eq!(
        (wanted.max_messages_per_subject, wanted.discard),
        (-1, DiscardPolicy::New)
    );
    assert_eq!((wanted.max_messages, wanted.max_bytes), (250_000, 1 << 28));
}

#[test]
fn replicas_have_a_witness_that_forgets_when_they_stop() {
    assert!(!Role::all(&config(), layout()).any(|role| role == Role::Witness));
    let replicated = StreamConfig {
        replicas: 3,
        ..config()
    };
    assert!(Role::all(&replicated, layout()).any(|role| role == Role::Witness));
    let wanted = stream(&replicated, Role::Witness);
    assert_eq!(
        (wanted.name.as_str(), wanted.storage, wanted.num_replicas),
        ("cache_witness", StorageType::Memory, 3)
    );
    let mut found = wanted.clone();
    assert_eq!(repaired_stream(&found, &replicated, Role::Witness), Ok(wanted));
    found.storage = StorageType::File;
    assert!(repaired_stream(&found, &replicated, Role::Witness).is_err());
}

#[test]
fn only_a_single_copy_answers_direct_gets() {
    assert!(stream(&config(), first()).allow_direct);
    let replicated = StreamConfig {
        replicas: 3,
        ..config()
    };
    assert!(!stream(&replicated, first()).allow_direct);
}

#[test]
fn a_limit_changed_by_hand_is_set_back_and_a_description_stays() {
    let wanted = stream(&config(), first());
    let mut found = wanted.clone();
    found.max_messages = 5;
    found.discard = DiscardPolicy::Old;
    found.description = Some("ours".to_owned());
    found.metadata.insert("_nats.ver".to_owned(), "2.15.0".to_owned());
    let repaired = repaired_stream(&found, &config(), first()).unwrap();
    assert_eq!(repaired.max_messages, wanted.max_messages);
    assert_eq!(repaired.discard, DiscardPolicy::New);
    assert_eq!(repaired.description, found.description);
    assert_eq!(repaired.metadata.len(), 3);
    assert_eq!(layout_of(&repaired), Some(layout()));
    assert_eq!(repaired_stream(&repaired, &config(), first()).unwrap(), repaired);
}

#[test]
fn a_stream_of_somebody_else_is_left_alone() {
    let mut found = stream(&config(), first());
    found.metadata.insert(OWNER_KEY.to_owned(), "other".to_owned());
    let refused = repaired_stream(&found, &config(), first()).unwrap_err();
    assert!(matches!(refused, Obstacle::Foreign(_)));

    found.metadata.clear();
    assert!(repaired_stream(&found, &config(), first()).is_ok());
    found.subjects = vec!["orders.>".to_owned()];
    let refused = repaired_stream(&found, &config(), first()).unwrap_err();
    assert_eq!(
        refused,
        Obstacle::Foreign(r#"it stores the subjects ["orders.>"]"#.to_owned())
    );
}

fn fence() -> Fence {
    Fence {
        epoch: 2,
        base: Base::new(1 << 32).unwrap(),
        replay: 7,
        ..Fence::example()
    }
}

#[test]
fn a_consumer_remembers_the_epoch_that_it_was_made_for() {
    let fence = fence();
    let known = remembered(fence.term(), &drain(&fence)).unwrap();
    assert_eq!(
        (known.epoch, known.base, &known.incarnation),
        (2, fence.base, &fence.incarnation)
    );
    let earlier = consumer::Config::default();
    assert_eq!(remembered(fence.term(), &earlier), None);
    let noted = noting(earlier.clone(), &fence);
    assert_ne!(noted, earlier);
    assert_eq!(noting(noted.clone(), &fence), noted);
    let through = Fence {
        mode: Mode::Through,
        ..fence
    };
    let of_nobody = drain(&through);
    assert_eq!(noting(of_nobody.clone(), &through), of_nobody);
    assert_eq!(remembered(through.term(), &of_nobody), None);
}

#[test]
fn what_cannot_be_changed_in_place_is_named() {
    let mut found = stream(&config(), first());
    found.retention = RetentionPolicy::WorkQueue;
    let refused = repaired_stream(&found, &config(), first()).unwrap_err();
    assert!(
        matches!(&refused, Obstacle::Fixed(why) if why.contains("retention")),
        "{refused:?}"
    );
    let mut found = drain(&fence());
    found.deliver_policy = DeliverPolicy::New;
    let refused = repaired_drain(&found).unwrap_err();
    assert!(
        matches!(&refused, Obstacle::Fixed(why) if why.contains("deliver all")),
        "{refused:?}"
    );
}
