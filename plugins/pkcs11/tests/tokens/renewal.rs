//! Sessions, logins and handles that end behind the plugin's back.

use cryptoki::context::Pkcs11;
use libtest_mimic::Trial;

use crate::keys::{sign, verifies};
use crate::world::{World, initialised};

pub(crate) fn trials(world: &'static World) -> Vec<Trial> {
    vec![world.trial("signing_survives_a_logout_and_a_lost_module", signing_survives)]
}

fn signing_survives(world: &World) {
    let key = world.open(&world.uri("token=fragile;object=k"), &[]).unwrap();
    let works = || verifies(key.as_ref(), b"m", &sign(key.as_ref(), b"m"));
    assert!(works());

    // The library is in this process: a login of an application is that of all its sessions.
    let context = Pkcs11::new(&world.module).unwrap();
    let slots = context.get_slots_with_token().unwrap();
    let slot = slots.into_iter().find(|s| context.get_token_info(*s).unwrap().label() == "fragile").unwrap();
    let session = context.open_ro_session(slot).unwrap();
    session.logout().unwrap();
    assert!(works(), "after a logout");
    drop(session);

    context.finalize().unwrap();
    let context = initialised(&world.module);
    assert!(works(), "after all sessions became invalid");
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| assert!(works()));
        }
    });
    drop(context);
}
