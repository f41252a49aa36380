//! What a campaign plays on: the simulator of one product, with a small world, a beginning
//! of every configuration, and faults by the words of [`mock_servers::harness`].

use mock_servers::{
    harness::{AnswerSink, ArrivalSink, EffectSink, FaultPlan, Object},
    pve, vcenter,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::OnceCell;

/// A product that the campaigns run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Pve,
    Vcenter,
}

/// A fault of the simulator that is played on.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    Pve(pve::Fault),
    Vcenter(vcenter::Fault),
}

/// A world of the simulator that is played on.
#[derive(Clone)]
pub enum World {
    Pve(pve::World),
    Vcenter(vcenter::World),
}

/// A running simulator and the operator's hand in it.
pub enum Stage {
    Pve(pve::Server, pve::Control),
    Vcenter(vcenter::Server, vcenter::Control),
}

impl Product {
    /// The hypervisor's name in every configuration.
    pub fn hypervisor(self) -> &'static str {
        match self {
            Product::Pve => "pve",
            Product::Vcenter => "vc",
        }
    }

    /// What every configuration of a campaign begins with.
    pub fn common(self) -> &'static str {
        match self {
            Product::Pve => include_str!("common-pve.yaml"),
            Product::Vcenter => include_str!("common-vcenter.yaml"),
        }
    }

    /// What a campaign's files are called.
    pub fn file(self, name: &str) -> String {
        match self {
            Product::Pve => name.to_owned(),
            Product::Vcenter => format!("{name}-vcenter"),
        }
    }

    /// A world with a certificate, which is slow to make and the same for all.
    pub async fn first_world(self) -> World {
        static PVE: OnceCell<World> = OnceCell::const_new();
        static VCENTER: OnceCell<World> = OnceCell::const_new();
        let (cell, world) = match self {
            Product::Pve => {
                let world = pve::World::from_yaml(include_str!("world-pve.yaml"));
                (&PVE, World::Pve(world.unwrap()))
            }
            Product::Vcenter => {
                let world = vcenter::World::from_yaml(include_str!("world-vcenter.yaml"));
                (&VCENTER, World::Vcenter(world.unwrap()))
            }
        };
        let made = cell.get_or_init(|| async {
            let stage = Stage::start(world, 1).await;
            let world = stage.world();
            stage.stop().await;
            world
        });
        made.await.clone()
    }
}

impl Stage {
    /// The seed decides the release, where there are several, and which reading of the
    /// points that the sources leave open is played.
    pub async fn start(world: World, seed: u64) -> Self {
        let flipped = seed.is_multiple_of(2);
        match world {
            World::Pve(world) => {
                let release = match seed.is_multiple_of(3) {
                    true => pve::Release::V8_4,
                    false => pve::Release::V9_2,
                };
                let mut options = pve::Options::new(release, seed);
                options.timing = pve::Timing::instant();
                if flipped {
                    options.switches = pve::Switches::flipped();
                }
                let server = pve::serve(world, options).await.unwrap();
                let control = server.control();
                Self::Pve(server, control)
            }
            World::Vcenter(world) => {
                let mut options = vcenter::Options::new(seed);
                options.timing = vcenter::Timing::instant();
                if flipped {
                    options.switches = vcenter::Switches::flipped();
                }
                let server = vcenter::serve(world, options).await.unwrap();
                let control = server.control();
                Self::Vcenter(server, control)
            }
        }
    }

    /// Which product it is.
    pub fn product(&self) -> Product {
        match self {
            Self::Pve(..) => Product::Pve,
            Self::Vcenter(..) => Product::Vcenter,
        }
    }

    /// Where it answers.
    pub fn endpoint(&self) -> String {
        match self {
            Self::Pve(server, _) => server.endpoint(),
            Self::Vcenter(server, _) => server.endpoint(),
        }
    }

    /// The CA of its certificate.
    pub fn ca_pem(&self) -> String {
        match self {
            Self::Pve(server, _) => server.ca_pem().to_owned(),
            Self::Vcenter(server, _) => server.ca_pem().to_owned(),
        }
    }

    /// Its world as it is.
    pub fn world(&self) -> World {
        match self {
            Self::Pve(_, control) => World::Pve(control.snapshot()),
            Self::Vcenter(_, control) => World::Vcenter(control.snapshot()),
        }
    }

    /// Every object of it.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        match self {
            Self::Pve(_, control) => control.objects(),
            Self::Vcenter(_, control) => control.objects(),
        }
    }

    /// Tells of each change, each request and each answer.
    pub fn tells(&self, effects: EffectSink, arrivals: ArrivalSink, answers: AnswerSink) {
        match self {
            Self::Pve(_, control) => {
                control.watch(effects);
                control.answers(answers);
                control.witness(arrivals);
            }
            Self::Vcenter(_, control) => {
                control.watch(effects);
                control.answers(answers);
                control.witness(arrivals);
            }
        }
    }

    /// Faults strike from now on, whenever this is set.
    pub fn plant(&self, mut plan: FaultPlan<Fault>, armed: Arc<AtomicBool>) {
        // What is asked while no fault is armed is not counted either, so that a look
        // between two runs does not change what strikes in the second.
        let mut decide =
            move |arrival: &_| armed.load(Ordering::SeqCst).then(|| plan.decide(arrival)).flatten();
        match self {
            Self::Pve(_, control) => {
                control.set_fault(Box::new(move |point| match decide(&point.arrival)? {
                    Fault::Pve(fault) => Some(fault),
                    other @ Fault::Vcenter(_) => panic!("{other:?} is of another product"),
                }));
            }
            Self::Vcenter(_, control) => {
                control.set_fault(Box::new(move |point| match decide(&point.arrival)? {
                    Fault::Vcenter(fault) => Some(fault),
                    other @ Fault::Pve(_) => panic!("{other:?} is of another product"),
                }));
            }
        }
    }

    /// Everything that the operator or a fault has broken for a while is whole again.
    pub fn heal(&self) {
        match self {
            Self::Pve(_, control) => {
                control.certificate(false);
                control.edit(|world| {
                    world.datacenter.quorate = true;
                    for node in world.nodes.values_mut() {
                        (node.online, node.lost_ms) = (true, 0);
                    }
                    world.access.acl.retain(|row| row.role != "NoAccess");
                    // A killed worker leaves its lock; a person takes it away (`qm unlock`).
                    for guest in world.guests.values_mut() {
                        guest.config.remove("lock");
                    }
                });
            }
            Self::Vcenter(_, control) => {
                control.certificate(false);
                control.edit(|world| {
                    use vcenter::world::Kind;
                    for entity in world.entities.values_mut() {
                        entity.grants.retain(|it| it.role != vcenter::access::NO_ACCESS);
                        match &mut entity.kind {
                            Kind::Host(host) => {
                                host.connection = "connected".to_owned();
                                host.maintenance = false;
                            }
                            Kind::Vm(vm) => {
                                vm.connection = "connected".to_owned();
                                vm.question = None;
                                // Without them nobody can ask a guest to go down; whoever
                                // installed it by hand does this too.
                                vm.behaviour.tools = true;
                            }
                            _ => {}
                        }
                    }
                });
            }
        }
    }

    /// From now on no guest goes down when it is asked to.
    pub fn guests_are_stubborn(&self) {
        match self {
            Self::Pve(_, control) => control.edit(|world| {
                for guest in world.guests.values_mut() {
                    guest.behaviour.answers_shutdown = false;
                }
            }),
            Self::Vcenter(_, control) => control.edit(|world| {
                for entity in world.entities.values_mut() {
                    if let vcenter::world::Kind::Vm(vm) = &mut entity.kind {
                        vm.behaviour.answers_shutdown = false;
                    }
                }
            }),
        }
    }

    /// Ends it.
    pub async fn stop(self) {
        match self {
            Self::Pve(server, _) => server.stop().await,
            Self::Vcenter(server, _) => server.stop().await,
        }
    }
}
