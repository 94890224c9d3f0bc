//! A task for each partition that writes are handed to. It begins with the partition's first write, and ends after the last
//! one when the keys are spread over other partitions.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use birbnest_core::Partition;
use birbnest_stores::fence::FenceWatch;
use tokio::{runtime::Handle, sync::mpsc};

type Senders<T> = BTreeMap<Partition, mpsc::Sender<T>>;
type Work = Box<dyn Future<Output = ()> + Send>;
type Begin<T> = dyn Fn(Partition, mpsc::Receiver<T>) -> Work + Send + Sync;

/// The tasks, cheap to clone.
pub(crate) struct Writers<T> {
    begin: Arc<Begin<T>>,
    fences: FenceWatch,
    runtime: Handle,
    most_waiting: usize,
    senders: Arc<RwLock<Senders<T>>>,
}

impl<T: 'static> Writers<T> {
    /// Tasks on the runtime in whose context this is called, each made by `begin`. More than `most_waiting` writes of a
    /// partition never wait.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(crate) fn new<W: Future<Output = ()> + Send + 'static>(
        fences: FenceWatch,
        most_waiting: usize,
        begin: impl Fn(Partition, mpsc::Receiver<T>) -> W + Send + Sync + 'static,
    ) -> Self {
        Self {
            begin: Arc::new(move |partition, inbox| Box::new(begin(partition, inbox))),
            fences,
            runtime: Handle::current(),
            most_waiting,
            senders: Arc::default(),
        }
    }

    /// Hands a write over; `false` when too many wait already.
    pub(crate) fn hand_over(&self, partition: Partition, write: T) -> bool {
        self.sender(partition).try_send(write).is_ok()
    }

    fn sender(&self, partition: Partition) -> mpsc::Sender<T> {
        let senders = self.senders.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = senders.get(&partition) {
            return sender.clone();
        }
        drop(senders);
        let mut senders = self.senders.write().unwrap_or_else(PoisonError::into_inner);
        let layout = self.fences.layout();
        senders.retain(|other, _| layout.is_some_and(|layout| layout.place(*other).is_some()));
        let begun = senders.entry(partition).or_insert_with(|| {
            let (sender, inbox) = mpsc::channel(self.most_waiting);
            self.runtime.spawn(Box::into_pin((self.begin)(partition, inbox)));
            sender
        });
        begun.clone()
    }
}

impl<T> Clone for Writers<T> {
    fn clone(&self) -> Self {
        Self {
            begin: Arc::clone(&self.begin),
            fences: self.fences.clone(),
            runtime: self.runtime.clone(),
            most_waiting: self.most_waiting,
            senders: Arc::clone(&self.senders),
        }
    }
}
