//! What a campaign plays on: the simulator of one product, with a small world, a beginning
//! of every configuration, and faults by the words of [`mock_servers::harness`].

use mock_servers::{
    harness::{AnswerSink, Arrival, ArrivalSink, EffectSink, FaultPlan, Object},
    pve, vcenter,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
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

/// A request at the door, before anything is done about it.
pub struct Knock<'a> {
    pub arrival: &'a Arrival,
    /// What it asks for, in the product's own words.
    pub words: String,
    /// How many like it have been answered so far.
    pub answered: Arc<dyn Fn() -> usize + Send + Sync>,
}

/// Where the connection of a request breaks.
pub enum Cut {
    /// Before anything is done about it.
    Before,
    /// When it is done, and nobody was told.
    After,
}

impl Product {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Product::Pve => "Proxmox VE",
            Product::Vcenter => "vCenter",
        }
    }

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
                let text = include_str!("world-vcenter.yaml");
                let mut world = vcenter::World::from_yaml(text).unwrap();
                // A label of which a machine bears one value.
                let tenant = world.add_category("tenant", false, &["VirtualMachine"]);
                world.add_tag(&tenant, "acme");
                (&VCENTER, World::Vcenter(world))
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
        Self::with_idle(world, seed, None).await
    }

    /// The same; a connection that rests for so long is closed.
    pub async fn with_idle(world: World, seed: u64, idle: Option<Duration>) -> Self {
        let flipped = seed.is_multiple_of(2);
        match world {
            World::Pve(world) => {
                let release = match seed.is_multiple_of(3) {
                    true => pve::Release::V8_4,
                    false => pve::Release::V9_2,
                };
                let mut options = pve::Options::new(release, seed);
                options.timing = pve::Timing::instant();
                options.timing.keep_alive = idle.unwrap_or(options.timing.keep_alive);
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
                options.timing.keep_alive = idle.unwrap_or(options.timing.keep_alive);
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

    /// Whether no task runs.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Pve(_, control) => control.is_idle(),
            Self::Vcenter(_, control) => control.is_idle(),
        }
    }

    /// Stands at the door: sees each request first, and may break its connection.
    pub fn at_the_door(&self, mut hook: impl FnMut(&Knock<'_>) -> Option<Cut> + Send + 'static) {
        match self {
            Self::Pve(_, control) => {
                let log = control.clone();
                control.set_fault(Box::new(move |point| {
                    let (log, method, path) = (log.clone(), point.method.clone(), &point.path);
                    let path = path.clone();
                    let answered = move || {
                        let same = |it: &&pve::RequestLog| it.method == method && it.path == path;
                        log.requests().iter().filter(same).count()
                    };
                    let words = format!("{} {}", point.method, point.template);
                    let arrival = &point.arrival;
                    let cut = hook(&Knock { arrival, words, answered: Arc::new(answered) });
                    cut.map(|cut| match cut {
                        Cut::Before => pve::Fault::DropBefore,
                        Cut::After => pve::Fault::DropAfter,
                    })
                }));
            }
            Self::Vcenter(_, control) => {
                let log = control.clone();
                control.set_fault(Box::new(move |point| {
                    let (log, method, on) = (log.clone(), point.method.clone(), &point.on);
                    let on = on.clone();
                    let answered = move || {
                        let same = |it: &&vcenter::RequestLog| it.method == method && it.on == on;
                        log.requests().iter().filter(same).count()
                    };
                    // One method reads everything; what is read is another matter each time.
                    let words = match point.arrival.mutates {
                        true => point.method.clone(),
                        false => format!("{} {}", point.method, point.arrival.call),
                    };
                    let arrival = &point.arrival;
                    let cut = hook(&Knock { arrival, words, answered: Arc::new(answered) });
                    cut.map(|cut| match cut {
                        Cut::Before => vcenter::Fault::DropBefore,
                        Cut::After => vcenter::Fault::DropAfter,
                    })
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
                        let hides = [vcenter::access::NO_ACCESS, vcenter::access::VIEW];
                        entity.grants.retain(|it| !hides.contains(&it.role));
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
