//! Model repositories of Triton's layout: `config.pbtxt` and versions in folders, as networks for the engine.
//!
//! Nothing here serves anything: [`Model::read`] says what there is, [`Repository`] asks the engine to load it.

mod complete;
mod honoured;
mod layout;
mod model;
mod reshape;
mod text;
mod types;
mod warmup;

pub use layout::is_model;
pub use model::Model;
pub use reshape::{to_client, to_network};
