//! The weights of one version, loaded once a device and shared by its workers where the model allows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use mar_handler::{Device, Model, Result};
use parking_lot::Mutex;

/// One place a device.
#[derive(Debug, Default)]
pub(crate) struct Weights(Mutex<HashMap<Device, Arc<Slot>>>);

/// A device's weights, while a worker holds them.
#[derive(Default)]
pub(crate) struct Slot {
    /// Locked while the weights are loaded, so that two workers that start together load them once.
    current: Mutex<Option<Weak<dyn Model>>>,
    /// Changes whenever the weights that are current do.
    generation: AtomicU64,
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
    /// The weights that another worker has, else those that `load` brings. Blocks while another loads.
    pub(crate) fn get(&self, load: impl FnOnce() -> Result<Arc<dyn Model>>) -> Result<Held> {
        let mut current = self.current.lock();
        if let Some(model) = current.as_ref().and_then(Weak::upgrade) {
            return Ok(Held { model, generation: self.generation() });
        }
        let model = load()?;
        if model.is_shareable() {
            *current = Some(Arc::downgrade(&model));
            self.generation.fetch_add(1, Ordering::Release);
        }
        Ok(Held { model, generation: self.generation() })
    }

    /// Exchanges weights that another worker has found to be damaged for those loaded since.
    pub(crate) fn refresh(&self, held: &mut Held) {
        let generation = self.generation();
        if held.generation != generation && held.model.is_shareable() {
            // While others are being loaded, the next batch asks again.
            let Some(current) = self.current.try_lock() else { return };
            if let Some(model) = current.as_ref().and_then(Weak::upgrade) {
                *held = Held { model, generation };
            }
        }
    }

    /// Weights in an unknown state are not handed to anybody else.
    pub(crate) fn discard(&self, held: &Held) {
        let mut current = self.current.lock();
        let same = |weak: &Weak<dyn Model>| {
            weak.upgrade().is_some_and(|model| Arc::ptr_eq(&model, &held.model))
        };
        if current.as_ref().is_some_and(same) {
            *current = None;
        }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
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
        slot.refresh(&mut other);
        assert!(Arc::ptr_eq(&other.model, &untouched), "nothing newer");
        slot.discard(&damaged);
        drop(damaged);
        let fresh = slot.get(|| load(true)).unwrap();
        slot.refresh(&mut other);
        assert!(Arc::ptr_eq(&other.model, &fresh.model));
        assert!(!Arc::ptr_eq(&other.model, &untouched));
    }
}
