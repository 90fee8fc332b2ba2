//! `cargo xtask demo`: a pod gets its GPU, from the ResourceSlices to the clean-up. Each step is asserted: a demo that
//! shows something else than it says ends with an error.

mod look;
mod manifests;
mod place;
mod story;

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use self::place::{Level, Place};
use crate::setup::{self, Need};
use crate::{cluster, command};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A control plane and stand-ins, no kubelet and no containers: needs no root
    #[arg(long)]
    quick: bool,
    /// Leave everything running at the end, and say how to go on
    #[arg(long)]
    keep: bool,
}

/// Whether something is what users have, or stands in for it.
#[derive(Debug, Clone, Copy)]
enum Is {
    Real,
    StandIn,
}

/// Says something about a thing that is real or a stand-in.
fn say(is: Is, text: &str) {
    let label = match is {
        Is::Real => "[real]    ",
        Is::StandIn => "[stand-in]",
    };
    for (first, line) in text.lines().enumerate() {
        println!("  {} {line}", if first == 0 { label } else { "          " });
    }
}

/// Begins a part of the story.
fn heading(text: &str) {
    println!("\n=== {text}");
}

/// Tells the story, and cleans up whatever became of it, unless it is to be kept.
pub(crate) fn demo(root: &Path, arguments: &Arguments) -> Result<()> {
    let level = if arguments.quick || !cluster::is_root() { Level::StandIn } else { Level::Node };
    if level == Level::StandIn && !arguments.quick {
        println!("Not root: a control plane with stand-ins. As root, this runs containers on a whole node.");
    }
    setup::provide(match level {
        Level::Node => &[Need::ForeignClients, Need::Cluster],
        Level::StandIn => &[Need::ForeignClients],
    })?;
    println!("Building the driver's programs and the fake GPUs. No GPU is needed.");
    let mut build = Command::new("cargo");
    build.args(["build", "--package=fake-node", "--package=fake-nvml", "--package=dra-kubelet-plugin"]);
    build.args(["--package=dra-controller", "--package=kubectl-dra"]);
    if level == Level::StandIn {
        build.args(["--package=e2e"]);
    }
    command::run(&mut build)?;

    play(root, level, arguments.keep)
}

/// Tells the story at both levels, with programs that are built already.
pub(crate) fn check(root: &Path) -> Result<()> {
    play(root, Level::StandIn, false)?;
    if !cluster::is_root() {
        println!("Not root: the demo on a whole node is left out.");
        return Ok(());
    }
    play(root, Level::Node, false)
}

fn play(root: &Path, level: Level, keep: bool) -> Result<()> {
    let place = Place::new(root, level)?;
    let told = story::tell(&place);
    if keep && told.is_ok() {
        place.say_how_to_go_on();
        return Ok(());
    }
    if told.is_err() {
        place.show_what_went_wrong();
        if keep {
            place.say_how_to_go_on();
            return told;
        }
    }
    heading("Clean-up");
    let cleaned = place.remove();
    told.and(cleaned)
}
