//! Panics of a run's thread, wherever they happen: tokio swallows those of tasks, and a node that lost one may look alive.

use std::cell::RefCell;
use std::sync::Once;

use crate::cluster::entropy;

thread_local! {
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on panics on simulating threads are noted here instead of printed.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let otherwise = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if entropy::is_simulating() {
                let text = info.to_string().replace('\n', " ");
                FIRST.with_borrow_mut(|first| _ = first.get_or_insert(text));
            } else {
                otherwise(info);
            }
        }));
    });
}

/// The first panic on this thread since the last look, in words.
pub fn take() -> Option<String> {
    FIRST.take()
}
