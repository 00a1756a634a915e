//! The weights of one version, loaded once a device and shared by its workers where the model allows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use mar_handler::{Device, Model, Result};
use parking_lot::{Condvar, Mutex};

/// One place a device.
#[derive(Debug, Default)]
pub(crate) struct Weights(Mutex<HashMap<Device, Arc<Slot>>>);

/// A device's weights, while a worker holds them.
#[derive(Default)]
pub(crate) struct Slot {
    state: Mutex<State>,
    /// A load has ended or was given up.
    loaded: Condvar,
    /// Changes whenever the weights that are current do.
    generation: AtomicU64,
}

#[derive(Default)]
struct State {
    /// What workers share.
    current: Option<Weak<dyn Model>>,
    /// The number of the load that is under way, so that workers that start together load once.
    loading: Option<u64>,
    /// Loads that were begun.
    begun: u64,
}

/// A load that is under way; it ends when dropped.
struct Loading<'a> {
    slot: &'a Slot,
    number: u64,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// A worker's hold on weights.
pub(crate) struct Held {
    pub(crate) model: Arc<dyn Model>,
    generation: u64,
}

impl Weights {
    pub(crate) fn slot(&self, device: Device) -> Arc<Slot> {
        Arc::clone(self.0.lock().entry(device).or_default())
    }
}

impl Slot {
    /// The weights that another worker has, else those that `load` brings. Blocks while another loads,
    /// until that load ends or is given up.
    pub(crate) fn get(&self, load: impl FnOnce() -> Result<Arc<dyn Model>>) -> Result<Held> {
        let mut state = self.state.lock();
        loop {
            if let Some(model) = state.shared() {
                return Ok(Held { model, generation: self.generation() });
            }
            if state.loading.is_none() {
                break;
            }
            self.loaded.wait(&mut state);
        }
        state.begun += 1;
        let number = state.begun;
        state.loading = Some(number);
        drop(state);
        let loading = Loading { slot: self, number };
        let model = load()?;
        if model.is_shareable() {
            loading.share(&model);
        }
        Ok(Held { model, generation: self.generation() })
    }

    /// Exchanges weights that another worker has found to be damaged for those loaded since; says whether
    /// it did.
    pub(crate) fn refresh(&self, held: &mut Held) -> bool {
        let generation = self.generation();
        if held.generation == generation || !held.model.is_shareable() {
            return false;
        }
        // Where others have yet to be loaded, the next batch asks again.
        let Some(model) = self.state.lock().shared() else { return false };
        *held = Held { model, generation };
        true
    }

    /// Weights in an unknown state are not handed to anybody else.
    pub(crate) fn discard(&self, held: &Held) {
        let mut state = self.state.lock();
        if state.shared().is_some_and(|model| Arc::ptr_eq(&model, &held.model)) {
            state.current = None;
        }
    }

    /// As [`Slot::discard`], of what is shared now.
    pub(crate) fn forget(&self) {
        self.state.lock().current = None;
    }

    /// Nobody waits any longer for the load that is under way, nor takes what it brings.
    pub(crate) fn give_up_load(&self) {
        self.state.lock().loading = None;
        self.loaded.notify_all();
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

impl State {
    fn shared(&self) -> Option<Arc<dyn Model>> {
        self.current.as_ref().and_then(Weak::upgrade)
    }
}

impl Loading<'_> {
    /// Hands the weights to others, unless the load was given up meanwhile.
    fn share(&self, model: &Arc<dyn Model>) {
        let mut state = self.slot.state.lock();
        if state.loading == Some(self.number) {
            state.current = Some(Arc::downgrade(model));
            self.slot.generation.fetch_add(1, Ordering::Release);
        }
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut state = self.slot.state.lock();
        if state.loading == Some(self.number) {
            state.loading = None;
            self.slot.loaded.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use mar_handler::{Epilogue, Error, Tensor};

    use super::*;

    struct Loaded {
        shareable: bool,
    }

    impl Model for Loaded {
        fn forward(&self, inputs: Vec<Tensor>, _: Epilogue) -> Result<Vec<Tensor>> {
            Ok(inputs)
        }

        fn device(&self) -> Device {
            Device::Cpu
        }

        fn is_shareable(&self) -> bool {
            self.shareable
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a runtime's load is")]
    fn load(shareable: bool) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(Loaded { shareable }))
    }

    fn nothing() -> Result<Arc<dyn Model>> {
        Err(Error::invalid_model("loaded a second time"))
    }

    #[test]
    fn weights_are_loaded_once_a_device_and_go_with_the_last_worker() {
        let weights = Weights::default();
        let slot = weights.slot(Device::Cpu);
        let first = slot.get(|| load(true)).unwrap();
        let second = weights.slot(Device::Cpu).get(nothing).unwrap();
        assert!(Arc::ptr_eq(&first.model, &second.model));
        assert!(
            weights.slot(Device::Cuda(0)).get(nothing).is_err(),
            "another device loads its own"
        );
        drop((first, second));
        assert!(slot.get(nothing).is_err(), "nobody held them");
    }

    #[test]
    fn weights_that_must_not_be_shared_are_loaded_by_each() {
        let slot = Slot::default();
        let _first = slot.get(|| load(false)).unwrap();
        assert!(slot.get(nothing).is_err());
    }

    #[test]
    fn damaged_weights_are_exchanged_by_all_who_have_them() {
        let slot = Slot::default();
        let damaged = slot.get(|| load(true)).unwrap();
        let mut other = slot.get(nothing).unwrap();
        let untouched = Arc::clone(&other.model);
        assert!(!slot.refresh(&mut other), "nothing newer");
        assert!(Arc::ptr_eq(&other.model, &untouched));
        slot.discard(&damaged);
        drop(damaged);
        let fresh = slot.get(|| load(true)).unwrap();
        assert!(slot.refresh(&mut other));
        assert!(Arc::ptr_eq(&other.model, &fresh.model));
        assert!(!Arc::ptr_eq(&other.model, &untouched));
    }
}
