//! How much an archive may hold, and the counter that enforces it while bytes are being inflated.

use std::path::Path;

use crate::Error;

/// Bytes that any archive may inflate to, whatever its ratio: small text compresses very well.
pub const RATIO_FREE_BYTES: u64 = 64 << 20;

/// The most an archive may hold before it is refused.
///
/// The limits hold for what is really inflated, not for what the headers claim. All three may be
/// raised for an archive that is known to be good.
///
/// ```
/// let limits = mar::Limits { max_entries: 100, ..mar::Limits::default() };
/// assert_eq!(limits.max_ratio, 200);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files and folders in the archive. Default 10 000.
    pub max_entries: usize,
    /// Bytes of all files together, unpacked. Default 64 GiB.
    pub max_total_bytes: u64,
    /// Unpacked bytes of the whole archive per byte of it, counted only beyond the first
    /// [`RATIO_FREE_BYTES`] (64 MiB). Default 200; deflate itself stops at about 1030. Folders,
    /// which are not compressed, have no ratio.
    pub max_ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_entries: 10_000, max_total_bytes: 64 << 30, max_ratio: 200 }
    }
}

impl Limits {
    /// Bytes that may come out of `stored` compressed bytes; `None` where nothing is compressed.
    pub(crate) fn allowance(&self, stored: Option<u64>) -> u64 {
        let by_ratio = stored
            .map_or(u64::MAX, |stored| stored.saturating_mul(self.max_ratio).max(RATIO_FREE_BYTES));
        by_ratio.min(self.max_total_bytes)
    }

    pub(crate) fn check_entries(&self, path: &Path, count: usize) -> Result<(), Error> {
        if count > self.max_entries {
            return Err(Error::over_limit(path, format!("more than {} entries", self.max_entries)));
        }
        Ok(())
    }
}

/// Counts unpacked bytes down to zero.
#[derive(Debug)]
pub(crate) struct Meter {
    allowed: u64,
    left: u64,
}

impl Meter {
    pub(crate) fn new(limits: &Limits, stored: Option<u64>) -> Self {
        let allowed = limits.allowance(stored);
        Self { allowed, left: allowed }
    }

    pub(crate) fn spend(&mut self, path: &Path, bytes: u64) -> Result<(), Error> {
        let left = self.left.checked_sub(bytes).ok_or_else(|| {
            Error::over_limit(path, format!("unpacks to more than {} bytes", self.allowed))
        })?;
        self.left = left;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_archive_may_inflate_to_the_free_bytes_and_a_big_one_by_the_ratio() {
        let limits = Limits::default();
        assert_eq!(limits.allowance(Some(100)), RATIO_FREE_BYTES);
        assert_eq!(limits.allowance(Some(1 << 30)), limits.max_total_bytes);
        assert_eq!(limits.allowance(Some(1 << 20)), 200 << 20);
        assert_eq!(limits.allowance(None), limits.max_total_bytes);
    }

    #[test]
    fn a_meter_refuses_the_first_byte_too_many() {
        let limits = Limits { max_total_bytes: 10, ..Limits::default() };
        let mut meter = Meter::new(&limits, None);
        let path = Path::new("m.mar");
        assert!(meter.spend(path, 10).is_ok());
        let error = meter.spend(path, 1).unwrap_err();
        assert!(error.to_string().contains("more than 10 bytes"), "{error}");
    }
}
