//! Many tracks on few cores: as many workers as there are tracks or threads, each with its share of the threads; longest first,
//! so that no core idles at the end. A track never changes its worker, and no worker waits for another.

use crate::inputs::Input;
use crate::progress::Progress;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `work` for every input on `threads` threads. Results come back in the order of `inputs`.
pub fn run<T: Send>(inputs: &[Input], threads: usize, work: impl Fn(usize, &Input) -> T + Sync) -> Vec<T> {
    let workers = threads.min(inputs.len()).max(1);
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(inputs[index].bytes));
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<T>>> = Mutex::new(inputs.iter().map(|_| None).collect());

    std::thread::scope(|scope| {
        for worker in 0..workers {
            // The first workers take the remainder: 8 threads over 3 workers are 3 + 3 + 2.
            let share = threads / workers + usize::from(worker < threads % workers);
            let (order, next, results, work) = (&order, &next, &results, &work);
            scope.spawn(move || {
                let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(share.max(1)).build() else {
                    return;
                };
                while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = pool.install(|| work(index, &inputs[index]));
                    if let Ok(mut results) = results.lock() {
                        results[index] = Some(result);
                    }
                }
            });
        }
    });
    results.into_inner().map_or_else(|_| Vec::new(), |results| results.into_iter().flatten().collect())
}

/// A fault of ours in one track is that track's failure, not the end of the run. An error has been told when this returns.
pub(crate) fn guarded<T>(input: &Input, progress: &Progress, work: impl FnOnce() -> Result<T, ()>) -> Result<T, ()> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let message = "the engine failed on this file, which is a fault of ours; please report it";
        progress.error(&input.path.display().to_string(), "internal", message);
        Err(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn every_input_once_and_in_order() {
        let inputs: Vec<Input> = (0..23u64)
            .map(|n| Input { path: PathBuf::from(n.to_string()), below: PathBuf::new(), bytes: n * 7 % 11 })
            .collect();
        for threads in [1, 2, 7, 64] {
            let done = run(&inputs, threads, |index, input| (index, input.path.clone()));
            assert_eq!(done.len(), 23);
            assert!(done.iter().enumerate().all(|(n, (index, path))| n == *index && *path == inputs[n].path));
        }
        assert!(run(&[], 4, |_, _| ()).is_empty());
    }
}
