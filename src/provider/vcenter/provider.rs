//! One configured vCenter, behind the contract of a provider.
//!
//! Reads one object, sends one call, asks about tasks. What to send is decided by the pure
//! half, when to send and how long to wait by the runner.

use super::{
    access,
    call::{Answers, NativeCall, RawMachine, Surroundings, native_call},
    customize,
    devices::devices_of,
    examine,
    extra::DeclaredKeys,
    hung::Hung,
    locate,
    observe::{joined, observe},
    places::{self, Places, PoolPlace},
    pools::{self, Attributes, PoolReader, RawPool},
    refusal::{of_fault, refused},
    spreads::{self, RawSpread},
    tagging::{DeclaredLabels, Tagging},
    translate::{DETAIL, LEAN, Reader, id_of, machine_ref, unreadable},
    vim::{
        CallError, ClientSettings, FaultKind, MoRef, Node, Proof, Request, Val, VimClient,
        collect::{Collected, ObjectContent, Paths},
        tasks::TaskStatus,
    },
};
use crate::{
    clock::Clock,
    model::{
        Altered, At, Authors, Birthplace, DesiredState, ErrorKind, Examination, Fresh, FreshObject,
        GuestIdentity, HypervisorInventory, HypervisorName, Intent, Kind, Listing, Located, Name,
        NativeId, ObservedSpread, ProjectName, ProviderError, Receipt, Refusal, RefusalKind,
        ResourceKey, Retry, Scope, StepOp, Submitted, Target, TaskRef, TaskState,
    },
    provider::{Call, Provider, endpoint::Endpoint, tls::TlsTrust},
    store::DurableIntent,
};
use async_trait::async_trait;
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex;

/// How old the index of places may be: names can be given to something else meanwhile, and
/// both the call and the look after it would go by the old ones.
const PLACES_AGE_MAX: Duration = Duration::from_secs(30);
/// One request as a whole, with its answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a provider is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the entry.
    pub name: HypervisorName,
    /// Whose mark counts as ours.
    pub project: Option<ProjectName>,
    /// Where it answers.
    pub endpoint: Endpoint,
    /// Hosts that trust settings bind to this name; loopback needs no entry.
    pub allowed_hosts: BTreeSet<String>,
    /// `user@domain`.
    pub username: String,
    /// Its password.
    pub password: SecretString,
    /// Whom to believe.
    pub tls: TlsTrust,
    /// The datacenter of our machines; `None` = the only one.
    pub datacenter: Option<String>,
    /// The cluster that is preferred when nothing else decides; resource pools are made in it.
    pub cluster: Option<String>,
    /// The folder of machines in no pool, below the datacenter's folder of machines.
    pub folder: String,
    /// What the pools of the configuration are here.
    pub pools: BTreeMap<Name, PoolPlace>,
    /// The labels of the configuration; without any, tags are not asked about at all.
    pub labels: DeclaredLabels,
    /// Keys of the free configuration that entries declare, by entry: no others are read.
    pub keys: BTreeMap<ResourceKey, BTreeSet<String>>,
    /// Descriptions of guests that entries name; without any, none is asked about.
    pub setups: BTreeSet<String>,
    /// Requests in flight when reading.
    pub reads_max: usize,
    /// Requests in flight when writing.
    pub writes_max: usize,
    /// `about.instanceUuid`; `None` believes whoever answers.
    pub expected_identity: Option<String>,
    /// How long after a call whose reply was lost its effect may still begin; before
    /// that nothing is called proved not to have happened.
    pub settle: Duration,
}

impl Settings {
    /// A request that has reached the server begins at once or not at all; proxies in front
    /// of it hold one for as long as a connection lives, and give up after half a minute.
    pub const SETTLE: Duration = Duration::from_secs(35);
}

/// The effectful half, for one vCenter.
#[derive(Debug)]
pub struct VcenterProvider {
    inner: Inner,
}

/// What all duties share.
#[derive(Debug)]
pub(super) struct Inner {
    pub client: VimClient,
    pub tagging: Tagging,
    pub name: HypervisorName,
    pub project: Option<ProjectName>,
    pub datacenter: Option<String>,
    pub cluster: Option<String>,
    pub folder: String,
    pub pools: BTreeMap<Name, PoolPlace>,
    pub keys: DeclaredKeys,
    pub setups: BTreeSet<String>,
    pub expected_identity: Option<String>,
    pub settle: Duration,
    pub clock: Clock,
    /// Where things are, as it was last read. Single reads look names up here, and read it
    /// again when they meet something that it does not know.
    places: Mutex<Option<Index>>,
    /// Who may hang on whose disks, as it was last read.
    hung: Hung,
    /// Paths that this server does not know, so that they are not asked for again.
    dropped: std::sync::Mutex<BTreeSet<String>>,
}

/// Where things are, as of when, and which objects it was asked for in vain: those are
/// hidden from the account, and reading again does not show them.
#[derive(Debug)]
struct Index {
    places: Arc<Places>,
    at: Duration,
    hidden: BTreeSet<MoRef>,
}

impl Index {
    fn knows_of(&self, object: &MoRef) -> bool {
        self.places.knows(object) || self.hidden.contains(object)
    }
}

/// How far machines are looked at.
#[derive(Clone, Copy)]
enum Depth<'a> {
    /// Whose they are.
    Marks,
    /// As a listing needs them.
    Listed,
    /// In full, with these free keys.
    Full(&'a BTreeSet<String>),
}

#[derive(Debug, thiserror::Error)]
enum Doubt {
    #[error("another vCenter answers: {found}, not {expected}")]
    Identity { found: String, expected: String },
    #[error("{0}")]
    Words(String),
}

impl VcenterProvider {
    /// A provider that has not connected yet.
    ///
    /// # Errors
    /// When the host is not bound by trust settings, TLS cannot be set up as asked, or plain
    /// HTTP is asked for anywhere but on loopback.
    pub fn new(settings: Settings, clock: Clock) -> Result<Self, ProviderError> {
        Self::with_timeout(settings, clock, None)
    }

    /// The same, giving a request up after this time rather than after the usual one.
    ///
    /// # Errors
    /// As [`VcenterProvider::new`].
    pub fn with_timeout(
        settings: Settings,
        clock: Clock,
        timeout: Option<Duration>,
    ) -> Result<Self, ProviderError> {
        let operation = format!("set up hypervisor `{}`", settings.name);
        let client = ClientSettings {
            endpoint: settings.endpoint,
            username: settings.username,
            password: settings.password,
            tls: settings.tls,
            allowed_hosts: settings.allowed_hosts,
            reads_max: settings.reads_max,
            writes_max: settings.writes_max,
            patience: timeout.unwrap_or(PATIENCE),
        };
        let client = VimClient::new(client, clock.clone()).map_err(|error| ProviderError {
            operation,
            kind: error.kind(),
            retry: Retry::No,
            source: Box::new(error),
        })?;
        let inner = Inner {
            tagging: Tagging::new(client.door(), settings.labels),
            client,
            name: settings.name,
            project: settings.project,
            datacenter: settings.datacenter,
            cluster: settings.cluster,
            folder: settings.folder,
            pools: settings.pools,
            keys: settings.keys,
            setups: settings.setups,
            expected_identity: settings.expected_identity,
            settle: settings.settle,
            clock,
            places: Mutex::new(None),
            hung: Hung::default(),
            dropped: std::sync::Mutex::default(),
        };
        Ok(Self { inner })
    }
}

#[async_trait]
impl Provider for VcenterProvider {
    async fn observe(&self, scope: &Scope) -> HypervisorInventory {
        observe(&self.inner, scope).await
    }

    async fn list(&self) -> Result<Listing, ProviderError> {
        self.inner.confirm_identity().await?;
        let (places, machines) = self.inner.look("list the machines").await?;
        let reader = self.inner.reader(&places);
        let mut gaps = places.gaps.clone();
        let mut guests = BTreeMap::new();
        for object in &machines.objects {
            if let Some((path, fault)) = object.missing.iter().next() {
                gaps.push(format!(
                    "`{path}` of {} may not be read: {}",
                    object.obj,
                    fault.kind.name()
                ));
            }
            guests.insert(id_of(object), reader.listed(object));
        }
        let online = places.observed_nodes().into_iter().filter(|(_, node)| node.online);
        Ok(Listing { guests, online: online.map(|(name, _)| name).collect(), gaps })
    }

    async fn read(&self, target: &Target) -> Result<Fresh, ProviderError> {
        self.inner.confirm_identity().await?;
        self.inner.read(target).await
    }

    async fn submit(&self, call: &Call<'_>, intent: &DurableIntent) -> Submitted {
        self.inner.submit(call, intent).await
    }

    async fn poll(&self, tasks: &[TaskRef]) -> Vec<TaskState> {
        match self.inner.confirm_identity().await {
            Ok(()) => self.inner.poll(tasks).await,
            Err(error) => vec![TaskState::Unknown(joined(&error)); tasks.len()],
        }
    }

    async fn locate(&self, intent: &Intent) -> Located {
        if let Err(error) = self.inner.confirm_identity().await {
            return Located::StillUnknown(joined(&error));
        }
        locate::locate(&self.inner, intent).await
    }

    async fn examine(&self, desired: &DesiredState, scope: &Scope) -> Examination {
        examine::examine(&self.inner, desired, scope).await
    }

    async fn authors(&self, altered: &[Altered]) -> Authors {
        super::authors::authors(&self.inner, altered).await
    }

    async fn close(&self) {
        self.inner.tagging.close().await;
        self.inner.client.close().await;
    }
}

impl Inner {
    /// Whether the vCenter is the one that trust means.
    pub async fn confirm_identity(&self) -> Result<(), ProviderError> {
        let service = self.client.service().await;
        let service = service.map_err(|error| error.into_provider("ask which vCenter answers"))?;
        match &self.expected_identity {
            Some(expected) if !expected.eq_ignore_ascii_case(&service.instance_uuid) => {
                let (found, expected) = (service.instance_uuid.clone(), expected.clone());
                Err(ProviderError {
                    operation: format!("trust hypervisor `{}`", self.name),
                    kind: ErrorKind::Identity,
                    retry: Retry::No,
                    source: Box::new(Doubt::Identity { found, expected }),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    pub fn reader<'a>(&'a self, places: &'a Places) -> Reader<'a> {
        let (project, keys) = (self.project.as_ref(), &self.keys);
        Reader { project, places, pools: &self.pools, folder: &self.folder, keys }
    }

    pub fn around<'a>(&'a self, places: &'a Places) -> Surroundings<'a> {
        Surroundings {
            places,
            pools: &self.pools,
            datacenter: self.datacenter.as_deref(),
            folder: &self.folder,
            kept: None,
        }
    }

    /// Paths of machines, as far as they are looked at.
    fn machine_paths(&self, depth: Depth<'_>) -> Paths {
        use super::extra;
        let mut paths = match depth {
            Depth::Marks => Paths::of("VirtualMachine", &["config.instanceUuid"]),
            Depth::Listed | Depth::Full(_) => Paths::of("VirtualMachine", &LEAN),
        };
        let mut keys = vec![extra::ID];
        if let Depth::Full(declared) = depth {
            paths.required.extend(DETAIL.map(str::to_owned));
            keys.extend([
                extra::MAP,
                extra::METADATA,
                extra::METADATA_ENCODING,
                extra::USERDATA,
                extra::USERDATA_ENCODING,
            ]);
            keys.extend(declared.iter().map(String::as_str));
        }
        let dropped = lock(&self.dropped);
        let wanted: Vec<String> = keys.into_iter().map(extra::path).collect();
        if wanted.iter().any(|path| dropped.contains(path)) {
            // A server that does not tell single keys is asked for all of them.
            paths.required.push(extra::WHOLE.to_owned());
        } else {
            paths.optional.extend(wanted);
        }
        paths
    }

    /// Notes paths that the server does not know. Tells whether a read without them is of
    /// no use.
    pub fn note_dropped(&self, read: &Collected) -> bool {
        if read.dropped.is_empty() {
            return false;
        }
        lock(&self.dropped).extend(read.dropped.iter().cloned());
        true
    }

    /// Everything in one read: places, and every machine as a listing needs it.
    pub async fn look(&self, operation: &str) -> Result<(Arc<Places>, Collected), ProviderError> {
        self.look_at(Depth::Listed, operation).await
    }

    async fn look_at(
        &self,
        depth: Depth<'_>,
        operation: &str,
    ) -> Result<(Arc<Places>, Collected), ProviderError> {
        let spell = |error: CallError| error.into_provider(operation);
        let root = self.client.service().await.and_then(|it| it.part("rootFolder"));
        let root = root.map_err(spell)?;
        for _ in 0..2 {
            let mut paths = places::paths();
            paths.push(self.machine_paths(depth));
            let mut read = self.client.collect(&root, &paths, operation).await.map_err(spell)?;
            if self.note_dropped(&read) {
                continue;
            }
            let places = Arc::new(Places::of(&read, &root, self.datacenter.as_deref()));
            self.keep(&mut *self.places.lock().await, &places, &[]);
            read.objects.retain(|object| object.obj.kind == "VirtualMachine");
            return Ok((places, read));
        }
        let text = "it tells no advanced configuration of its machines (`config.extraConfig`), and so no marker".to_owned();
        Err(doubt(operation, text))
    }

    /// Where things are; read when nobody has done so lately.
    pub async fn places(&self, operation: &str) -> Result<Arc<Places>, ProviderError> {
        self.places_with(&[], operation).await
    }

    /// Where things are, these objects among them as far as the account sees them. The lock
    /// is held over the read, so that many who ask cause one.
    async fn places_with(
        &self,
        wanted: &[MoRef],
        operation: &str,
    ) -> Result<Arc<Places>, ProviderError> {
        let mut kept = self.places.lock().await;
        let now = self.clock.monotonic();
        if let Some(index) = &*kept
            && now.saturating_sub(index.at) < PLACES_AGE_MAX
            && wanted.iter().all(|it| index.knows_of(it))
        {
            return Ok(Arc::clone(&index.places));
        }
        let places = self.read_places(operation).await?;
        self.keep(&mut kept, &places, wanted);
        Ok(places)
    }

    /// Where things are, read after these places were.
    async fn places_after(
        &self,
        old: &Arc<Places>,
        operation: &str,
    ) -> Result<Arc<Places>, ProviderError> {
        let mut kept = self.places.lock().await;
        if let Some(index) = &*kept
            && !Arc::ptr_eq(&index.places, old)
        {
            return Ok(Arc::clone(&index.places));
        }
        let places = self.read_places(operation).await?;
        self.keep(&mut kept, &places, &[]);
        Ok(places)
    }

    fn keep(&self, kept: &mut Option<Index>, places: &Arc<Places>, wanted: &[MoRef]) {
        let mut hidden = kept.take().map(|it| it.hidden).unwrap_or_default();
        hidden.extend(wanted.iter().cloned());
        hidden.retain(|it| !places.knows(it));
        let (places, at) = (Arc::clone(places), self.clock.monotonic());
        *kept = Some(Index { places, at, hidden });
    }

    /// The call of a step, or in words why there is none.
    async fn native(
        &self,
        call: &Call<'_>,
        operation: &str,
    ) -> Result<Result<NativeCall, String>, ProviderError> {
        let places = self.places(operation).await?;
        let kept = self.kept_of(call, operation).await?;
        let kept = kept.as_ref();
        let native = native_call(call, &Surroundings { kept, ..self.around(&places) });
        if native.is_ok() {
            return Ok(native);
        }
        // It may name what somebody has made since.
        let newer = self.places_after(&places, operation).await?;
        Ok(native_call(call, &Surroundings { kept, ..self.around(&newer) }))
    }

    /// The description of a guest that a step names, read when it is to be used: nothing
    /// tells when somebody changes it.
    async fn kept_of(
        &self,
        call: &Call<'_>,
        operation: &str,
    ) -> Result<Option<Node>, ProviderError> {
        let StepOp::Customize(seed) = call.op else { return Ok(None) };
        let identity = seed.init.customization.as_ref().map(|it| &it.identity);
        let Some(GuestIdentity::Kept(name)) = identity else { return Ok(None) };
        customize::read(self, name, operation).await
    }

    async fn read_places(&self, operation: &str) -> Result<Arc<Places>, ProviderError> {
        let spell = |error: CallError| error.into_provider(operation);
        let root = self.client.service().await.and_then(|it| it.part("rootFolder"));
        let root = root.map_err(spell)?;
        let read = self.client.collect(&root, &places::paths(), operation).await.map_err(spell)?;
        Ok(Arc::new(Places::of(&read, &root, self.datacenter.as_deref())))
    }

    /// The free keys that an entry declares.
    pub fn declared(&self, key: &ResourceKey) -> BTreeSet<String> {
        self.keys.get(key).cloned().unwrap_or_default()
    }

    /// Machines in full, by their references, with these free keys.
    pub async fn machines(
        &self,
        of: &[MoRef],
        declared: &BTreeSet<String>,
        operation: &str,
    ) -> Result<Vec<ObjectContent>, ProviderError> {
        let spell = |error: CallError| error.into_provider(operation);
        for _ in 0..2 {
            let paths = self.machine_paths(Depth::Full(declared));
            let read = self.client.properties(of, &paths, operation).await.map_err(spell)?;
            if !self.note_dropped(&read) {
                let mut objects = read.objects;
                objects.retain(|object| !is_gone(object));
                return Ok(objects);
            }
        }
        Err(doubt(operation, "it tells no advanced configuration of its machines (`config.extraConfig`), and so no marker".to_owned()))
    }

    pub async fn read(&self, target: &Target) -> Result<Fresh, ProviderError> {
        let operation = format!("read {target}");
        if target.key.kind == Kind::Pool {
            return self.read_pool(&target.key.name, &operation).await;
        }
        if target.key.kind == Kind::Spread {
            return self.read_spread(target, &operation).await;
        }
        let reference = match &target.at {
            At::Id(id) => Some(machine_ref(id)),
            At::Birth(place) => self.find(place, &operation).await?,
        };
        let Some(reference) = reference else { return Ok(Fresh::absent()) };
        let declared = self.declared(&target.key);
        let read = self.machines(std::slice::from_ref(&reference), &declared, &operation).await?;
        let Some(object) = read.into_iter().next() else { return Ok(Fresh::absent()) };
        let mut fresh = self.fresh(&object, &operation).await?;
        if let FreshObject::Machine(machine) = &mut fresh.object
            && self.tagging.is_about(&target.key)
        {
            let seen = self.tagging.look(std::slice::from_ref(&reference), Some(&target.key)).await;
            let seen = seen.map_err(|error| error.into_provider(&operation))?;
            seen.tell(machine, Some(&target.key));
        }
        Ok(fresh)
    }

    /// A pool with its parts. Nothing of it comes from what was read before: what bears our
    /// mark, and whether anything is in it, decides what is removed.
    async fn read_pool(&self, name: &Name, operation: &str) -> Result<Fresh, ProviderError> {
        let places = self.read_places(operation).await?;
        self.keep(&mut *self.places.lock().await, &places, &[]);
        let attributes = self.attributes(operation).await?;
        let Some(mut pool) = self.pool_reader(&places, &attributes).one(name) else {
            return Ok(Fresh::absent());
        };
        for (part, seen) in pool.parts.iter_mut().filter(|(part, _)| part.kind.is_own()) {
            // One that is known to hold something need not be asked.
            let marked = seen.empty && seen.marker.found().is_some();
            let Some(id) = seen.id.as_ref().filter(|_| marked) else { continue };
            seen.empty = self.is_empty(&pools::reference(part.kind, id), operation).await?;
        }
        let named = access::refresh(self, name, &mut pool, operation).await?;
        let manager = self.client.service().await.and_then(|it| it.part("authorizationManager"));
        let authorization = manager.map_err(|error| error.into_provider(operation))?.value;
        let (roles, spelled) = (named.roles, named.spelled);
        let raw = serde_json::to_value(RawPool { attributes, authorization, roles, spelled })
            .map_err(|error| doubt(operation, format!("it cannot be kept: {error}")))?;
        Ok(Fresh { object: FreshObject::Pool(pool), version: None, raw })
    }

    /// Whether a folder or a resource pool says that nothing is in it. What it does not say
    /// counts as something.
    async fn is_empty(&self, object: &MoRef, operation: &str) -> Result<bool, ProviderError> {
        let paths = match object.kind.as_str() {
            "Folder" => Paths::of("Folder", &["name", "childEntity"]),
            _ => Paths::of("ResourcePool", &["name", "resourcePool", "vm"]),
        };
        let read = self.client.properties(std::slice::from_ref(object), &paths, operation).await;
        let read = read.map_err(|error| error.into_provider(operation))?;
        let Some(found) = read.objects.first() else { return Ok(false) };
        let holds = |path: &String| {
            path != "name" && found.props.get(path).is_some_and(|it| !it.children.is_empty())
        };
        let told = found.missing.is_empty() && found.props.contains_key("name");
        Ok(told && !paths.required.iter().any(holds))
    }

    /// The definitions of the custom attributes that are ours.
    pub async fn attributes(&self, operation: &str) -> Result<Attributes, ProviderError> {
        let spell = |error: CallError| error.into_provider(operation);
        let manager = self.client.service().await.and_then(|it| it.part("customFieldsManager"));
        let manager = manager.map_err(spell)?;
        let paths = Paths::of("CustomFieldsManager", &["field"]);
        let read = self.client.properties(std::slice::from_ref(&manager), &paths, operation).await;
        let read = read.map_err(spell)?;
        let list = read.objects.first().and_then(|object| object.props.get("field"));
        Ok(Attributes::of(&manager, list))
    }

    pub fn pool_reader<'a>(
        &'a self,
        places: &'a Places,
        attributes: &'a Attributes,
    ) -> PoolReader<'a> {
        PoolReader {
            places,
            attributes,
            project: self.project.as_ref(),
            pools: &self.pools,
            datacenter: self.datacenter.as_deref(),
            folder: &self.folder,
            cluster: self.cluster.as_deref(),
        }
    }

    /// The rules of the project, as far as they are there, with its machines. Rules have no
    /// version: they are read right before each write.
    pub async fn spreads(
        &self,
        places: &Places,
        machines: &[ObjectContent],
        operation: &str,
    ) -> Result<(BTreeMap<NativeId, ObservedSpread>, BTreeMap<ResourceKey, MoRef>), ProviderError>
    {
        let Some(project) = &self.project else { return Ok(Default::default()) };
        let ours = spreads::ours(project, machines);
        let listed: BTreeSet<&MoRef> = machines.iter().map(|it| &it.obj).collect();
        let unlisted: Vec<MoRef> =
            spreads::named(places, project).into_iter().filter(|it| !listed.contains(it)).collect();
        let mut gone: BTreeSet<MoRef> = unlisted.iter().cloned().collect();
        if !unlisted.is_empty() {
            // One that is hidden from the account is somebody's; one that is gone is nobody's.
            for there in self.machines(&unlisted, &BTreeSet::new(), operation).await? {
                gone.remove(&there.obj);
            }
        }
        Ok((spreads::observed(places, project, &ours, &gone), ours))
    }

    async fn read_spread(&self, target: &Target, operation: &str) -> Result<Fresh, ProviderError> {
        // Whose the machines in a rule are, their marks say; more of them is not needed.
        let (places, machines) = self.look_at(Depth::Marks, operation).await?;
        let place = target.node.as_ref().and_then(|node| places.nodes.get(node));
        let (Some(place), Some(project)) = (place, &self.project) else {
            let text = format!("{} has no place here", target.at);
            return Err(doubt(operation, text));
        };
        let (mut found, ours) = self.spreads(&places, &machines.objects, operation).await?;
        let name = spreads::rule_name(project, &target.key.name);
        let rule = place.rules.iter().find(|it| it.text_at("name") == Some(name.as_str()));
        let machines = ours.into_iter().map(|(key, it)| (key.to_string(), it.value)).collect();
        let raw = RawSpread { rule: rule.cloned(), machines };
        let raw = serde_json::to_value(raw)
            .map_err(|error| doubt(operation, format!("a rule cannot be kept: {error}")))?;
        let object = match target.id().and_then(|id| found.remove(id)) {
            Some(spread) => FreshObject::Spread(spread),
            None => FreshObject::Absent,
        };
        Ok(Fresh { object, version: None, raw })
    }

    async fn fresh(&self, object: &ObjectContent, operation: &str) -> Result<Fresh, ProviderError> {
        if let Some(fault) = object.missing.values().find(|it| it.is(&FaultKind::NoPermission)) {
            return Err(ProviderError {
                operation: operation.to_owned(),
                kind: ErrorKind::Permission,
                retry: Retry::No,
                source: Box::new(CallError::Fault(Box::new(fault.clone()))),
            });
        }
        if let Some(why) = unreadable(object) {
            return Ok(Fresh {
                object: FreshObject::Unreadable(why),
                version: None,
                raw: serde_json::Value::Null,
            });
        }
        let around = ["parent", "resourcePool", "runtime.host"]
            .into_iter()
            .filter_map(|path| object.props.get(path).and_then(Node::as_moref));
        let places = self.places_with(&around.collect::<Vec<_>>(), operation).await?;
        let machine = self.reader(&places).machine(object);
        let raw = RawMachine { devices: devices_of(object).to_vec() };
        let raw = serde_json::to_value(raw)
            .map_err(|error| doubt(operation, format!("its devices cannot be kept: {error}")))?;
        let version = object.props.get("config.changeVersion").and_then(Node::as_word);
        Ok(Fresh {
            object: FreshObject::Machine(Box::new(machine)),
            version: version.map(str::to_owned),
            raw,
        })
    }

    /// A machine whose id nobody knows: by the UUID that we gave it, else by its name in
    /// the folder that it is born into.
    pub async fn find(
        &self,
        place: &Birthplace,
        operation: &str,
    ) -> Result<Option<MoRef>, ProviderError> {
        if let Some(uuid) = place.uuid {
            let found = self.by_uuid(&uuid.to_string(), operation).await?;
            match found.as_slice() {
                [] => {}
                [one] => return Ok(Some(one.clone())),
                [_, _, ..] => {
                    let text = format!("{} machines have the UUID {uuid}", found.len());
                    return Err(doubt(operation, text));
                }
            }
        }
        let mut places = self.places(operation).await?;
        if self.around(&places).folder_of(place.pool.as_ref()).is_err() {
            // Somebody may have made it since.
            places = self.places_after(&places, operation).await?;
        }
        let folder = self.around(&places).folder_of(place.pool.as_ref());
        let folder = folder.map_err(|text| doubt(operation, text))?;
        let args = [("entity", folder.into()), ("name", place.name.as_str().into())];
        let found = self.search("FindChild", &args, operation).await?;
        let found = found.returned().and_then(Node::as_moref);
        Ok(found.filter(|it| it.kind == "VirtualMachine"))
    }

    pub async fn by_uuid(&self, uuid: &str, operation: &str) -> Result<Vec<MoRef>, ProviderError> {
        let args =
            [("uuid", uuid.into()), ("vmSearch", true.into()), ("instanceUuid", true.into())];
        let answer = self.search("FindAllByUuid", &args, operation).await?;
        Ok(answer.all("returnval").filter_map(Node::as_moref).collect())
    }

    async fn search(
        &self,
        method: &str,
        args: &[(&str, Val)],
        operation: &str,
    ) -> Result<Node, ProviderError> {
        let spell = |error: CallError| error.into_provider(operation);
        let index = self.client.service().await.and_then(|it| it.part("searchIndex"));
        let index = index.map_err(spell)?;
        let request = Request { method, this: &index, args, operation: Some(operation) };
        self.client.read(&request).await.map_err(spell)
    }

    async fn submit(&self, call: &Call<'_>, intent: &DurableIntent) -> Submitted {
        let operation = format!("{} {}", call.op.name(), call.target);
        if let Err(error) = self.confirm_identity().await {
            return Submitted::NotSent(error);
        }
        if call.op.is_about_labels() {
            return self.submit_label(call, operation).await;
        }
        let native = match self.native(call, &operation).await {
            Ok(Ok(native)) => native,
            Ok(Err(text)) => {
                return Submitted::Refused(Refusal { kind: RefusalKind::Invalid, text });
            }
            // The login is part of the call: who may not come in may not do this either.
            Err(error) if error.kind == ErrorKind::Auth => {
                let text = joined(&error);
                return Submitted::Refused(Refusal { kind: RefusalKind::Auth, text });
            }
            Err(error) => return Submitted::NotSent(error),
        };
        match self.hung_on(call, &operation).await {
            Ok(None) => {}
            Ok(Some(refusal)) => return Submitted::Refused(refusal),
            Err(error) => return Submitted::NotSent(error),
        }
        // Ties the two logs together.
        let tag = format!("novahost-{}", intent.intent().request_id());
        let request = Request {
            method: native.method,
            this: &native.this,
            args: &native.args,
            operation: Some(&tag),
        };
        let answer = match self.client.mutate(&request).await {
            Ok(answer) => answer,
            Err(error) => {
                return match error.proof() {
                    Proof::Refused => Submitted::Refused(refused(&error)),
                    Proof::NotSent => Submitted::NotSent(error.into_provider(operation)),
                    Proof::Unknown => Submitted::Unknown(error.into_provider(operation)),
                };
            }
        };
        match (native.answers, answer.returned().and_then(Node::as_moref)) {
            (Answers::Nothing, _) => Submitted::Done(Receipt::default()),
            (Answers::Object, made) => {
                let id = made.map(|it| it.value.as_str().into());
                Submitted::Done(Receipt { id, notes: Vec::new() })
            }
            (Answers::Task, Some(task)) if task.kind == "Task" => {
                match self.task_ref(&task).await {
                    Some(task) => Submitted::Accepted(task),
                    None => {
                        let id = &task.value;
                        let text = format!(
                            "task `{id}` was begun, and which vCenter has it is not known any more"
                        );
                        Submitted::Unknown(doubt(&operation, text))
                    }
                }
            }
            (Answers::Task, _) => {
                Submitted::Unknown(doubt(&operation, "the answer names no task".to_owned()))
            }
        }
    }

    /// A step about labels. Their interface has no tasks: its answer is the end.
    async fn submit_label(&self, call: &Call<'_>, operation: String) -> Submitted {
        let invalid = |text| Submitted::Refused(Refusal { kind: RefusalKind::Invalid, text });
        let Some(machine) = call.target.id() else {
            return invalid(format!("{} has no id yet", call.target.at));
        };
        let order = self.tagging.order(call.op, machine.as_str(), self.project.as_ref()).await;
        let order = match order {
            Ok(order) => order,
            Err(text) => return invalid(text),
        };
        match self.tagging.send(&order).await {
            Ok(()) => Submitted::Done(Receipt::default()),
            Err(error) => match error.proof() {
                Proof::Refused => Submitted::Refused(error.refusal()),
                Proof::NotSent => Submitted::NotSent(error.into_provider(operation)),
                Proof::Unknown => Submitted::Unknown(error.into_provider(operation)),
            },
        }
    }

    /// Why a call is refused because other machines' disks go on from those of its own. Asked
    /// of machines with snapshots alone: nothing else can be gone on from.
    async fn hung_on(
        &self,
        call: &Call<'_>,
        operation: &str,
    ) -> Result<Option<Refusal>, ProviderError> {
        let snapshots = match &call.fresh.object {
            FreshObject::Machine(seen) => !seen.snapshots.is_empty(),
            FreshObject::Pool(_)
            | FreshObject::Spread(_)
            | FreshObject::Absent
            | FreshObject::Unreadable(_) => false,
        };
        let Some(id) = call.target.id().filter(|_| snapshots) else { return Ok(None) };
        let raw = serde_json::from_value::<RawMachine>(call.fresh.raw.clone());
        let raw = raw.map_err(|error| {
            doubt(operation, format!("what was read of it is not a machine's: {error}"))
        })?;
        let at = (&self.client, &self.clock);
        self.hung.refusal(at, call.op, (id.as_str(), &raw), operation).await
    }

    /// Tasks mean something only together with the vCenter that they run in.
    pub async fn task_ref(&self, task: &MoRef) -> Option<TaskRef> {
        let service = self.client.service().await.ok()?;
        Some(TaskRef(format!("{}/{}", service.instance_uuid, task.value)))
    }

    pub async fn poll(&self, tasks: &[TaskRef]) -> Vec<TaskState> {
        let here = match self.client.service().await {
            Ok(service) => service.instance_uuid.clone(),
            Err(error) => {
                let text = joined(&error);
                return vec![TaskState::Unknown(text); tasks.len()];
            }
        };
        let parsed: Vec<Option<MoRef>> = tasks
            .iter()
            .map(|task| match task.0.split_once('/') {
                Some((uuid, id)) if uuid == here => Some(MoRef::new("Task", id)),
                Some(_) | None => None,
            })
            .collect();
        let asked: Vec<MoRef> = parsed.iter().flatten().cloned().collect();
        let mut states = match self.client.task_states(&asked, "ask about tasks").await {
            Ok(states) => states.into_iter(),
            Err(error) => {
                let text = joined(&error);
                return vec![TaskState::Unknown(text); tasks.len()];
            }
        };
        parsed
            .iter()
            .zip(tasks)
            .map(|(known, task)| match known {
                Some(_) => match states.next() {
                    Some(status) => state_of(status),
                    None => TaskState::Unknown("no answer for this task".to_owned()),
                },
                None => TaskState::Unknown(format!("`{}` names no task of this vCenter", task.0)),
            })
            .collect()
    }
}

/// What a task's status means.
fn state_of(status: TaskStatus) -> TaskState {
    match status {
        TaskStatus::Queued => TaskState::Queued,
        TaskStatus::Running => TaskState::Running,
        TaskStatus::Success { result } => {
            let made = result.as_ref().and_then(Node::as_moref);
            let made = made.filter(|it| it.kind == "VirtualMachine");
            let id = made.map(|it| it.value.as_str().into());
            TaskState::Done(Receipt { id, notes: Vec::new() })
        }
        TaskStatus::Error(fault) => TaskState::Failed(of_fault(&fault)),
        TaskStatus::Gone => TaskState::Unknown("the vCenter has forgotten the task".to_owned()),
        TaskStatus::Unreadable(fault) => {
            TaskState::Unknown(format!("the task may not be read: {}", fault.kind.name()))
        }
    }
}

/// Whether nothing is told of an object but that it is not there any more.
fn is_gone(object: &ObjectContent) -> bool {
    let gone = |it: &super::vim::Fault| it.is(&FaultKind::ManagedObjectNotFound);
    object.props.is_empty() && !object.missing.is_empty() && object.missing.values().all(gone)
}

fn doubt(operation: &str, text: String) -> ProviderError {
    ProviderError {
        operation: operation.to_owned(),
        kind: ErrorKind::Decode,
        retry: Retry::No,
        source: Box::new(Doubt::Words(text)),
    }
}

/// A lock that outlives a panic elsewhere: the set behind it is valid at every step.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
