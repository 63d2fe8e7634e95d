//! redb's storage seam over the simulated disk: the state machine's file.

use std::io;
use std::path::Path;

use quorate::wal::fs::{File, Fs};

use crate::cluster::disk::fs::{DiskFile, DiskFs};

/// An open state file. As production's it holds an exclusive lock and makes its own name durable when it is created.
pub struct StateFile {
    file: DiskFile,
    _lock: Box<dyn Send + Sync>,
}

impl StateFile {
    /// Opens the state file at `path`, creating it if need be.
    pub fn open(fs: &DiskFs, path: &Path) -> io::Result<StateFile> {
        let lock = fs.lock(path)?;
        let file = fs.open_or_create(path)?;
        fs.sync_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        Ok(StateFile { file, _lock: lock })
    }
}

impl std::fmt::Debug for StateFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateFile").field("path", &self.file.path()).finish_non_exhaustive()
    }
}

impl redb::StorageBackend for StateFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

    use super::*;
    use crate::cluster::disk::{Disk, Loss};
    use crate::cluster::faults::ledger::Ledger;
    use crate::cluster::power::Power;
    use crate::trace::Trace;

    const TABLE: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");

    fn open(fs: &DiskFs) -> Result<Database, redb::Error> {
        let file = StateFile::open(fs, Path::new("/data/state.redb")).map_err(redb::Error::Io)?;
        Ok(Database::builder().create_with_backend(file)?)
    }

    /// Commits 1, 2, 3, ... until the power goes; returns the last number whose commit was reported.
    fn commit_until_cut(database: &Database) -> u64 {
        for number in 1.. {
            let committed = (|| {
                let transaction = database.begin_write()?;
                transaction.open_table(TABLE)?.insert(number, number * number)?;
                transaction.commit()?;
                Ok::<_, redb::Error>(())
            })();
            if committed.is_err() {
                return number - 1;
            }
        }
        unreachable!("the power goes")
    }

    #[test]
    fn redb_keeps_every_reported_commit_through_crashes_between_any_two_calls() {
        let mut lost_something = 0;
        for seed in 0..60 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let trace = Trace::new(crate::cluster::entropy::now, None).expect("no sink to fail");
            let disk = Disk::new(1, Path::new("/data"), trace.clone(), Ledger::new(trace));
            let power = Power::on();
            let fs = DiskFs::mount(disk.clone(), power.clone());
            let database = open(&fs).expect("a new database");
            power.cut_after(rng.u64(1..60));
            let committed = commit_until_cut(&database);
            assert!(power.is_cut());
            drop(database);
            lost_something += disk.crash(Loss::draw(&mut rng), &mut rng);

            let fs = DiskFs::mount(disk, Power::on());
            let database = open(&fs).expect("redb recovers");
            let transaction = database.begin_read().expect("begin_read");
            let found = match transaction.open_table(TABLE) {
                Ok(table) => table.len().expect("len"),
                Err(redb::TableError::TableDoesNotExist(_)) => 0,
                Err(error) => panic!("{error}"),
            };
            assert!(found == committed || found == committed + 1, "{committed} committed, {found} found");
        }
        assert!(lost_something > 0, "no crash met an un-synced write");
    }
}
