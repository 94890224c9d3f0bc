//! Bytes that are held in memory on behalf of clients: a bound over all of them, and what each takes of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

/// A bound of bytes. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    most: usize,
    held: AtomicUsize,
}

/// What somebody holds of a budget. It is given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

/// Bytes together with the share that counts them, so that it lives as long as the last slice of them.
struct Counted<B, S> {
    bytes: B,
    _share: S,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Account {
            most,
            held: AtomicUsize::new(0),
        }))
    }

    /// A share of nothing yet.
    pub fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            bytes: 0,
        }
    }

    /// Bytes that may be held.
    pub fn most(&self) -> usize {
        self.0.most
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Whether so many bytes more could be held now.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.held().saturating_add(bytes) <= self.0.most
    }

    /// Whether more than half of it is held: time to get rid of who holds for nothing.
    pub fn is_tight(&self) -> bool {
        self.held() > self.0.most / 2
    }
}

impl Share {
    /// Takes so many bytes more. False when too many are held: then nothing was taken.
    #[must_use]
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let before = self.budget.0.held.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.budget.0.most {
            self.budget.0.held.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes += bytes;
        true
    }

    /// Takes so many bytes more, whatever is held: for what can no longer be refused. Others are refused instead.
    pub fn grow(&mut self, bytes: usize) {
        self.budget.0.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }

    /// Gives back so many bytes, at most all.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.budget.0.held.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The bytes, with a share (or anything else) that is dropped together with the last slice of them.
pub fn counted<B, S>(bytes: B, share: S) -> Bytes
where
    B: AsRef<[u8]> + Send + 'static,
    S: Send + 'static,
{
    Bytes::from_owner(Counted { bytes, _share: share })
}

impl<B: AsRef<[u8]>, S> AsRef<[u8]> for Counted<B, S> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_refused_and_takes_nothing() {
        let budget = Budget::new(10);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert!(one.try_grow(8));
        assert!(!two.try_grow(3));
        assert!(two.try_grow(2) && !budget.has_room(1));
        one.shrink(99);
        assert_eq!(budget.held(), 2);
        two.grow(20);
        assert!(!one.try_grow(1) && budget.is_tight());
        drop(two);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn bytes_count_until_their_last_slice_is_gone() {
        let budget = Budget::new(10);
        let mut share = budget.share();
        assert!(share.try_grow(5));
        let bytes = counted(b"robin".to_vec(), share);
        let slice = bytes.slice(1..2);
        drop(bytes);
        assert_eq!((budget.held(), &slice[..]), (5, &b"o"[..]));
        drop(slice);
        assert_eq!(budget.held(), 0);
    }
}
