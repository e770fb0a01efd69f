//! One signature at a time per device: requests wait in the order they came, each within its deadline.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Who waits for a device; the front has it.
#[derive(Default)]
pub(crate) struct Queue {
    line: Mutex<Line>,
    moved: Condvar,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<u64>,
    next: u64,
}

/// The front of the queue, until it is dropped.
pub(crate) struct Turn<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Queue {
    /// Waits for a turn; `None` if it has not come at `until`.
    pub(crate) fn wait(&self, until: Instant) -> Option<Turn<'_>> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let number = line.next;
        line.next += 1;
        line.waiting.push_back(number);
        let turn = Turn { queue: self, number };
        while line.waiting.front() != Some(&number) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(line);
                return None; // dropping the turn leaves the line
            }
            line = self.moved.wait_timeout(line, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.waiting.retain(|number| *number != self.number);
        self.queue.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn turns_come_in_order_and_whoever_gives_up_holds_up_nobody() {
        let queue = Queue::default();
        let order = Mutex::new(Vec::new());
        let far = Instant::now() + Duration::from_secs(20);
        let first = queue.wait(far).unwrap();
        assert!(queue.wait(Instant::now() + Duration::from_millis(5)).is_none(), "the deadline passed");
        std::thread::scope(|threads| {
            for number in 0..8_u64 {
                let (queue, order) = (&queue, &order);
                threads.spawn(move || {
                    let turn = queue.wait(far).unwrap();
                    order.lock().unwrap().push(number);
                    drop(turn);
                });
                while queue.line.lock().unwrap().waiting.len() < usize::try_from(number).unwrap() + 2 {
                    std::thread::yield_now();
                }
            }
            assert!(order.lock().unwrap().is_empty());
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
        assert!(queue.line.lock().unwrap().waiting.is_empty());
    }
}
