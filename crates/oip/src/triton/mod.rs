//! Model repositories of Triton's layout: `config.pbtxt` and versions in folders, as networks for the engine.
//!
//! Nothing here serves anything: [`Model::read`] says what there is, [`Repositories`] asks the engine to load it.

mod complete;
mod honoured;
mod layout;
mod model;
mod optimization;
mod repository;
mod reshape;
mod text;
mod types;
mod warmup;

#[cfg(test)]
mod tests;

pub use layout::is_model;
pub use model::Model;
pub use repository::Repositories;
pub use reshape::{to_client, to_network};
pub(crate) use types::data_type;
