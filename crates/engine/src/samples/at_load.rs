//! The known answers of a version, replayed when its weights are loaded.

use std::path::Path;
use std::time::{Duration, Instant};

use mar::Opened;
use mar_handler::{Device, Error, ErrorCode, Handler, Model, Result};
use parking_lot::Mutex;

use super::replay::{Failed, Limit, Replay, Replayed};
use super::report::{SampleReport, SamplesReport, SamplesVerdict, VerifySamples};
use crate::open::invalid;

/// A load waits for no more than this.
const LIMIT: Limit = Limit { samples: 3, time: Duration::from_secs(2) };

/// The known answers of one version, and what they came to.
#[derive(Debug)]
pub(crate) struct KnownAnswers {
    mode: VerifySamples,
    found: Found,
    /// What they came to on each device, as the weights were last loaded there.
    results: Mutex<Vec<(Device, SamplesReport)>>,
}

#[derive(Debug)]
enum Found {
    /// Nobody looked, or there are none.
    Nothing,
    /// They cannot be read, for this reason.
    Unreadable(String),
    Some(Opened),
}

/// What is to become of weights whose known answers were replayed.
#[derive(Debug)]
pub(crate) enum AfterReplay {
    /// They serve.
    Serve(SamplesReport),
    /// They were left in an unknown state: they serve once they are loaded again.
    LoadAgain(SamplesReport),
    /// They do not serve; whether they may do so if they are tried again.
    Refuse { report: SamplesReport, error: Error, may_pass: bool },
}

impl KnownAnswers {
    /// Looks for the known answers of an archive that is unpacked in this folder.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`] where they cannot be read and have to be.
    pub(crate) fn open(mode: VerifySamples, model_dir: &Path) -> Result<Self> {
        let found = match mode {
            VerifySamples::Off => Ok(None),
            _ => mar::read_samples(model_dir),
        };
        let found = match found {
            Ok(Some(opened)) if !opened.samples().samples.is_empty() => Found::Some(opened),
            Ok(_) => Found::Nothing,
            Err(error) => {
                let reason = invalid(&error).message().to_owned();
                let error = unreadable(&reason);
                if mode == VerifySamples::Strict {
                    return Err(error);
                }
                log::warn!("{error}");
                Found::Unreadable(reason)
            }
        };
        Ok(Self { mode, found, results: Mutex::default() })
    }

    /// The known answers, where there are some to replay.
    pub(crate) fn to_replay(&self) -> Option<&Opened> {
        if let Found::Some(opened) = &self.found { Some(opened) } else { None }
    }

    /// Replays them on weights that were just loaded.
    pub(crate) fn replay(
        &self,
        opened: &Opened,
        handler: &dyn Handler,
        model: &dyn Model,
    ) -> AfterReplay {
        let begun = Instant::now();
        let replay = Replay { opened, handler, model };
        self.judge(opened, replay.within(LIMIT, || begun.elapsed()))
    }

    fn judge(&self, opened: &Opened, replayed: Replayed) -> AfterReplay {
        let mut report = self.report_of(SamplesVerdict::Reproduced);
        let differences: Vec<_> =
            replayed.reports.iter().filter_map(SampleReport::first_difference).collect();
        report.of = opened.samples().samples.len();
        report.replayed = replayed.reports.len();
        report.differing = differences.len();
        let unread = replayed.unreadable.as_ref().map(|error| error.message().to_owned());
        report.reason = unread.or_else(|| replayed.nothing_compared());
        report.first_difference = differences.into_iter().next();
        let error = match (&report.first_difference, &report.reason) {
            (Some(first), _) => {
                report.verdict = SamplesVerdict::Differs;
                Error::invalid_model(format!("known answers are not reproduced: {first}"))
            }
            (None, Some(reason)) => {
                report.verdict = SamplesVerdict::Unreadable;
                unreadable(reason)
            }
            (None, None) => return AfterReplay::Serve(report),
        };
        self.weigh(report, error, replayed.failed)
    }

    fn weigh(&self, report: SamplesReport, error: Error, failed: Option<Failed>) -> AfterReplay {
        match (failed, self.mode) {
            // Nothing runs on that device any more.
            (Some(failed), _) if failed.error.code() == ErrorCode::DeviceLost => {
                AfterReplay::Refuse { report, error: failed.error, may_pass: false }
            }
            (Some(failed), VerifySamples::Strict) if failed.may_pass() => {
                AfterReplay::Refuse { report, error: failed.error, may_pass: true }
            }
            (_, VerifySamples::Strict) => AfterReplay::Refuse { report, error, may_pass: false },
            (Some(failed), _) if failed.panicked => AfterReplay::LoadAgain(report),
            _ => AfterReplay::Serve(report),
        }
    }

    /// Keeps what they came to on a device, and tells the log where that is nothing good; `who` loaded the
    /// weights.
    pub(crate) fn keep(&self, who: &str, device: Device, report: SamplesReport) {
        if let Some(first) = &report.first_difference {
            let SamplesReport { differing, replayed, .. } = report;
            log::warn!(
                "{who}: known answers are not reproduced, {differing} of {replayed} replayed: {first}"
            );
        }
        if let Some(reason) = &report.reason {
            log::warn!("{who}: {}", unreadable(reason));
        }
        let mut results = self.results.lock();
        results.retain(|(of, _)| *of != device);
        results.push((device, report));
    }

    /// What they came to; of several devices, on the one where they are worst.
    pub(crate) fn report(&self) -> SamplesReport {
        let results = self.results.lock();
        let worst = results.iter().max_by_key(|(_, report)| match report.verdict {
            SamplesVerdict::Differs => 2,
            SamplesVerdict::Unreadable => 1,
            _ => 0,
        });
        if let Some((_, worst)) = worst {
            return worst.clone();
        }
        match (&self.found, self.mode) {
            (_, VerifySamples::Off) => self.report_of(SamplesVerdict::Off),
            (Found::Nothing, _) => self.report_of(SamplesVerdict::None),
            (Found::Unreadable(reason), _) => SamplesReport {
                reason: Some(reason.clone()),
                ..self.report_of(SamplesVerdict::Unreadable)
            },
            (Found::Some(opened), _) => SamplesReport {
                of: opened.samples().samples.len(),
                ..self.report_of(SamplesVerdict::Pending)
            },
        }
    }

    fn report_of(&self, verdict: SamplesVerdict) -> SamplesReport {
        SamplesReport {
            mode: self.mode,
            verdict,
            replayed: 0,
            differing: 0,
            of: 0,
            first_difference: None,
            reason: None,
        }
    }
}

fn unreadable(reason: &str) -> Error {
    Error::invalid_model(format!("the known answers cannot be replayed: {reason}"))
}
