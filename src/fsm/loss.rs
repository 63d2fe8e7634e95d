//! A state that is lost: the file is damaged, or gone, or known to hold something else than it should.
//!
//! Damage is latched where it is met (see `base`), and from then on the store answers nothing else. What becomes of that is
//! the node's business: it can give the state up ([`Store::give_up`]), and put another one in its place, which came from
//! another node or begins empty ([`Store::install`]). In between, and from the start if there was nothing to open
//! ([`Store::without_state`]), the store holds nothing and says so: every call is an [`Error::Lost`], no answer is ever that
//! of an empty store.

use std::sync::Arc;

use super::base::{Base, Loaded};
use super::snapshot::Fresh;
use super::{Error, Options, RawFile, Store, backend};

impl Store {
    /// A store that has no state.
    ///
    /// # Errors
    /// None but for a bug: it is made in memory.
    pub fn without_state(options: Options) -> Result<Store, Error> {
        let (base, loaded) = nothing(&options)?;
        Ok(Store::over(base, loaded, options))
    }

    /// Opens a state that was there before. One that is not there any more is damage, while [`Store::open`] would begin it.
    ///
    /// # Errors
    /// As of [`Store::open`].
    pub fn reopen(raw: RawFile, options: Options) -> Result<Store, Error> {
        if !backend::is_formed(&*raw, options.owner)? {
            let what = "it is empty, or was never finished".to_owned();
            return Err(Error::Damaged { offset: Some(0), what });
        }
        Store::open(raw, options)
    }

    /// Whether there is a state that answers.
    ///
    /// # Errors
    /// Why not: the error that every call gives.
    pub fn check(&self) -> Result<(), Error> {
        // A file that is full is opened again, and answers.
        self.shared.base().latch.check_failed()
    }

    /// From now on the state is damaged: it is known, from elsewhere, to be wrong. Nothing is read from it any more.
    pub fn condemn(&self, what: String) {
        // Under the view's lock: a file that is being opened again takes nothing over from one that is condemned.
        self.shared.view().base.latch.set(Error::Damaged { offset: None, what });
    }

    /// Lets go of file, sets and sessions: there is no state any more. Waits for the batch that is being applied.
    ///
    /// # Errors
    /// As of [`Store::without_state`].
    pub fn give_up(&self) -> Result<(), Error> {
        let (base, loaded) = nothing(&self.shared.options)?;
        self.replace(Fresh::new(base, loaded));
        Ok(())
    }
}

impl Fresh {
    /// An empty state in a new file, to be installed where one was lost.
    ///
    /// # Errors
    /// As of [`Store::open`].
    pub fn begin(raw: RawFile, options: &Options) -> Result<Fresh, Error> {
        let (base, loaded) = Base::open(raw, options)?;
        Ok(Fresh::new(base, loaded))
    }
}

/// A base that holds nothing, and says so to everyone.
fn nothing(options: &Options) -> Result<(Base, Loaded), Error> {
    let options = Options { cache_bytes: 0, ..options.clone() };
    let (base, loaded) = Base::open(Box::new(redb::backends::InMemoryBackend::new()), &options)?;
    base.latch.set(Error::Lost);
    Ok((base, loaded))
}

impl Store {
    /// Puts a state in place of all that the store holds.
    pub(super) fn replace(&self, fresh: Fresh) {
        let shared = &*self.shared;
        let (base, Loaded { head, sessions }) = fresh.into_parts();
        let replaced = {
            let mut applier = shared.applier();
            let mut view = shared.view_mut();
            let (index, before) = (head.applied.0, view.head.applied.0);
            // Only where nothing was, or nothing that may be believed, may it be another past.
            let was_lost = view.base.latch.check_failed().is_err() || base.latch.check_failed().is_err();
            assert!(index > before || was_lost, "a snapshot of index {index} at index {before}");
            view.folded = head.applied;
            view.sessions = sessions.len();
            view.own_keys = None;
            (
                std::mem::replace(&mut view.base, Arc::new(base)),
                std::mem::take(&mut view.active),
                view.frozen.take(),
                std::mem::replace(&mut view.head, head),
                std::mem::replace(&mut applier.sessions, sessions),
            )
        };
        // To free a set and to close a file takes a while: not under the locks.
        drop(replaced);
    }
}
