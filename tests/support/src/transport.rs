//! A scripted layer around the real transport of a [`kube::Client`]: it makes the faults that an API server and the
//! network make, when the test says, and keeps a log of the requests.
//!
//! ```no_run
//! # async fn example(config: kube::Config) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use support::transport::{Action, Answer, Matching, Script, Verb, client};
//!
//! let script = Script::new();
//! let client = client(config, &script)?;
//! // The second update of a ResourceSlice meets a conflict.
//! script.on(Matching::verb(Verb::Update).resource("resourceslices").nth(2), Action::Answer(Answer::conflict()));
//! // The next list does not return before the test says so.
//! let list = script.on(Matching::verb(Verb::List).resource("resourceslices").nth(1), Action::Hold);
//! // … start what uses the client …
//! list.reached(1, Duration::from_secs(10)).await?;
//! list.release();
//! # Ok(()) }
//! ```

mod action;
mod body;
mod client;
mod layer;
mod matching;
mod script;

pub use action::{Action, Answer, Cut, Ending};
pub use body::Body;
pub use client::client;
pub use layer::{Lost, Scripted};
pub use matching::{Matching, Verb};
pub use script::{Fate, Late, Rule, Script, Seen};
