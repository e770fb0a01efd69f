//! `prokura` killed (SIGKILL) while the rogue hangs in its service: no process of it is left, and the next `prokura`
//! clears the rest away.

use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::Trial;
use prokura_integration::program::executable;
use prokura_integration::rogue::Break;
use prokura_integration::suite::trial;
use prokura_integration::world::World;

use super::scene::Scene;

/// The switch, and how many processes of the rogue there are before it hangs.
const HANGING: [(Break, usize); 4] = [
    (Break::Hangs, 3),
    (Break::HangsWithGrandchild, 4),
    (Break::GrpcHangsInSign, 2),
    (Break::GrpcStopsInSign, 2),
];

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let installed = executable("rogue").and_then(|rogue| world.home.install("rogue", &rogue));
    let installed = installed.map(|_| ()).map_err(|e| format!("{e:#}"));
    let trials = HANGING.into_iter().map(|(switch, processes)| {
        let name = format!("killed::{}", switch.name());
        let (world, installed) = (Arc::clone(world), installed.clone());
        trial(name.clone(), move || {
            installed.map_err(anyhow::Error::msg)?;
            kill_while_it_hangs(&world, &name, switch, processes)
        })
    });
    trials.collect()
}

fn kill_while_it_hangs(world: &Arc<World>, name: &str, switch: Break, processes: usize) -> Result<()> {
    let scene = Scene::new(world, name)?;
    scene.install_rogue()?;
    let config = [
        format!("break={}", switch.name()),
        format!("transport={}", if switch.is_grpc() { "grpc" } else { "stdio" }),
        format!("pids={}", scene.pids().display()),
        format!("signs={}", scene.signs().display()),
    ];
    let mut arguments = ["--plugin", "rogue", "--id", "k", "--deadline", "60s"].map(str::to_owned).to_vec();
    arguments.extend(config.into_iter().flat_map(|entry| ["--plugin-config".to_owned(), entry]));
    scene.sign_killed(&arguments, || {
        scene.processes() >= processes && (!switch.is_grpc() || scene.signs().exists())
    })
}
