//! Writing `no-archive`: plain copies.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::pack::input::Input;
use crate::pack::plan::Plan;

pub(super) fn write(plan: &Plan, root: &Path, count: &mut dyn FnMut(u64)) -> io::Result<()> {
    for (name, planned) in &plan.files {
        let path = root.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create_new(&path)?;
        Input::open(planned, count)?.copy_to(&mut file)?;
        file.sync_all()?;
    }
    Ok(())
}
