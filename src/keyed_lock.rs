//! One at a time, or so many at a time, by name; within this process.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// The lock; whoever panicked while holding one left what it guards as it was.
pub(crate) fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever comes second for a name waits for the first.
#[derive(Debug, Default)]
pub struct KeyedMutex(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl KeyedMutex {
    /// Waits for the turn; it lasts as long as what is given.
    pub async fn of(&self, name: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = locked(&self.0);
            if let Some(lock) = locks.get(name).and_then(Weak::upgrade) {
                lock
            } else {
                // Names of turns long over go now and then.
                if locks.len() >= 1_024 {
                    locks.retain(|_, lock| lock.strong_count() > 0);
                }
                let lock = Arc::default();
                locks.insert(name.to_owned(), Arc::downgrade(&lock));
                lock
            }
        };
        lock.lock_owned().await
    }
}

/// Those who hold a place under one name, oldest first.
type Places = VecDeque<(u64, CancellationToken)>;

/// So many at a time for each name.
#[derive(Clone, Debug, Default)]
pub struct Permits(Arc<Mutex<HashMap<String, Places>>>);

/// One place taken; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    slots: Permits,
    name: String,
    number: u64,
    /// Cancelled when a newcomer takes the place.
    pub gives_way: CancellationToken,
}

impl Permits {
    /// A place, if one of `most` is free.
    #[must_use]
    pub fn take(&self, name: &str, most: u64) -> Option<Permit> {
        let taken = locked(&self.0).get(name).map_or(0, VecDeque::len);
        (taken < most as usize).then(|| self.push(name))
    }

    /// A place; the oldest gives way where all of `most` are taken.
    #[must_use]
    pub fn force(&self, name: &str, most: u64) -> Permit {
        let slot = self.push(name);
        let mut all = locked(&self.0);
        if let Some(places) = all.get_mut(name) {
            while places.len() > most.max(1) as usize {
                if let Some((_, oldest)) = places.pop_front() {
                    oldest.cancel();
                }
            }
        }
        drop(all);
        slot
    }

    fn push(&self, name: &str) -> Permit {
        let mut all = locked(&self.0);
        let places = all.entry(name.to_owned()).or_default();
        let number = places.back().map_or(0, |(number, _)| number + 1);
        let gives_way = CancellationToken::new();
        places.push_back((number, gives_way.clone()));
        Permit { slots: self.clone(), name: name.to_owned(), number, gives_way }
    }

    /// How many places are taken, by anybody.
    #[must_use]
    pub fn taken(&self) -> usize {
        locked(&self.0).values().map(VecDeque::len).sum()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut all = locked(&self.slots.0);
        if let Some(places) = all.get_mut(&self.name) {
            places.retain(|(number, _)| *number != self.number);
            if places.is_empty() {
                all.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_and_come_back() {
        let slots = Permits::default();
        let first = slots.take("a", 2).unwrap();
        let second = slots.take("a", 2).unwrap();
        assert!(slots.take("a", 2).is_none() && slots.take("b", 2).is_some());
        drop(first);
        let third = slots.force("a", 2);
        let fourth = slots.force("a", 2);
        assert!(second.gives_way.is_cancelled() && !third.gives_way.is_cancelled());
        drop((second, third, fourth));
        assert_eq!(slots.taken(), 0);
    }

    #[tokio::test]
    async fn turns_follow_each_other() {
        let turns = Arc::new(KeyedMutex::default());
        let first = turns.of("a").await;
        let waiting = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { drop(turns.of("a").await) }
        });
        drop(turns.of("b").await);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
    }
}
