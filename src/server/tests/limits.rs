//! What follows from the limits.

use crate::config::Limits;
use crate::server::log_bytes_max;

/// The log's own end lies behind the point from which writes are refused, also where the operator wants no limit: a sum
/// that ran over would end the node at its first write.
#[test]
fn the_log_takes_more_than_clients_may_write() {
    let usual = Limits::default();
    assert!(log_bytes_max(&usual) > usual.wal_bytes_max + 3 * usual.wal_segment_bytes);
    for wal_bytes_max in [u64::MAX, u64::MAX - 1, u64::MAX / 5 * 4] {
        let endless = Limits { wal_bytes_max, ..Limits::default() };
        assert_eq!(endless.validate(), Ok(()));
        assert!(log_bytes_max(&endless) >= wal_bytes_max, "{wal_bytes_max}");
    }
    let wide = Limits { write_set_bytes_max: usize::MAX, ..Limits::default() };
    assert_eq!(log_bytes_max(&wide), u64::MAX);
}
