//! The scheduler, and what must hold at the end of a run.
#![allow(unsafe_code, reason = "a coroutine's yielder is reached from inside the backend, which must be Send")]

use super::agent::{Agent, Choices, World, open, own_records, records};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use opslog_native::backend::memory::{MemoryBackend, Process};
use opslog_native::store::{Durability, Options, Store, load_archive};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

/// More steps than any run takes: one that goes on is one in which agents wait for each other.
const MOST_STEPS: u64 = 1_000_000;

thread_local! {
    /// The coroutine that runs now.
    static RUNNING: Cell<*const Yielder<(), ()>> = const { Cell::new(std::ptr::null()) };
}

/// Stops the running coroutine until it is chosen again. Outside of coroutines it does nothing.
fn step() {
    let yielder = RUNNING.get();
    if yielder.is_null() {
        return;
    }
    // SAFETY: set by the coroutine that runs now, to a yielder that lives as long as it does.
    unsafe { (*yielder).suspend(()) };
    RUNNING.set(yielder);
}

type Ended = Rc<RefCell<Vec<Store>>>;

struct Running {
    number: usize,
    coroutine: Coroutine<(), (), ()>,
    process: Arc<Process>,
}

/// An agent that goes is killed: what it does on its way out changes nothing.
impl Drop for Running {
    fn drop(&mut self) {
        if !self.coroutine.done() {
            self.process.kill();
        }
        RUNNING.set(std::ptr::null());
    }
}

struct Run {
    choices: Choices,
    disk: MemoryBackend,
    world: Rc<RefCell<World>>,
    options: Options,
    ended: Ended,
    sessions: u64,
    is_traced: bool,
}

impl Run {
    fn start(&mut self, number: usize, calls: u64) -> Running {
        let (backend, process) = self.disk.process(step);
        self.sessions += 1;
        let mut agent = Agent {
            number,
            world: self.world.clone(),
            backend: Arc::new(backend),
            options: Options { agent: Some(format!("agent {number}")), ..self.options.clone() },
            choices: Choices::new(self.choices.below(u64::MAX)),
            session: self.sessions,
            written: 0,
            overtaken: Vec::new(),
            is_traced: self.is_traced,
        };
        let ended = self.ended.clone();
        let coroutine = Coroutine::new(move |yielder: &Yielder<(), ()>, ()| {
            RUNNING.set(yielder);
            let store = agent.run(calls);
            ended.borrow_mut().push(store);
        });
        Running { number, coroutine, process }
    }

    /// Lets agents go on until all have ended.
    fn go(&mut self, agents: u64) -> u64 {
        let mut running = Vec::new();
        for number in 0..agents as usize {
            let calls = 2 + self.choices.below(8);
            running.push(self.start(number, calls));
        }
        // How long an agent goes on before another is chosen, and how often one is killed.
        let stays = 1 + self.choices.below(12);
        let kills = [0, 0, 200, 60][self.choices.below(4) as usize];
        let power_cut = self.options.durability == Durability::Fsync && self.choices.one_in(4);
        let cut_at = if power_cut { self.choices.below(250) } else { u64::MAX };
        let (mut steps, mut chosen) = (0, 0);
        while !running.is_empty() {
            steps += 1;
            assert!(steps < MOST_STEPS, "agents wait for each other");
            if steps == cut_at {
                if self.is_traced {
                    eprintln!("power cut");
                }
                let disk = self.disk.after_power_cut();
                running.clear();
                self.ended.borrow_mut().clear();
                self.disk = disk;
                break;
            }
            if chosen >= running.len() || self.choices.one_in(stays) {
                chosen = self.choices.below(running.len() as u64) as usize;
            }
            if kills > 0 && self.choices.one_in(kills) {
                let number = running.swap_remove(chosen).number;
                if self.is_traced {
                    eprintln!("agent {number}: killed");
                }
                if self.choices.one_in(2) {
                    let calls = 1 + self.choices.below(4);
                    running.push(self.start(number, calls));
                }
                continue;
            }
            let result = running[chosen].coroutine.resume(());
            RUNNING.set(std::ptr::null());
            if let CoroutineResult::Return(()) = result {
                running.swap_remove(chosen);
            }
        }
        steps
    }
}

/// Runs one schedule; panics with what is wrong. Returns the number of steps.
pub(crate) fn simulate(seed: u64, is_traced: bool) -> u64 {
    let mut choices = Choices::new(seed);
    let agents = 2 + choices.below(3);
    let options = Options {
        durability: if choices.one_in(2) { Durability::Fsync } else { Durability::Os },
        checkpoint_threshold: Some(if choices.one_in(3) { u64::MAX } else { 2 + choices.below(7) }),
        checkpoint_on_close: choices.one_in(2),
        ..Options::default()
    };
    let world = World { journals: vec![Default::default(); agents as usize] };
    let mut run = Run {
        choices,
        disk: MemoryBackend::new(),
        world: Rc::new(RefCell::new(world)),
        options,
        ended: Ended::default(),
        sessions: 0,
        is_traced,
    };
    let steps = run.go(agents);
    if is_traced {
        for path in run.disk.files() {
            eprintln!("{path}:\n{}", String::from_utf8_lossy(&run.disk.bytes(&path).unwrap()));
        }
    }
    check(&run, agents as usize);
    steps
}

/// What must hold at the end.
fn check(run: &Run, agents: usize) {
    let reader_options = Options { read_only: true, ..Options::default() };
    let reader = match open(Arc::new(run.disk.clone()), &reader_options) {
        Ok(reader) => reader,
        // All were killed before the first of them had made the store.
        Err(opslog_native::Error::NoStore { .. }) => {
            assert!(run.world.borrow().journals.iter().all(|journal| journal.own().is_empty()), "the store is gone");
            return;
        }
        Err(error) => panic!("the directory does not open: {error}"),
    };
    let seen = records(&reader);
    let manifest = reader.manifest();
    let mut archived = Vec::new();
    for path in &manifest.archive_segments {
        let segment = load_archive(&run.disk, std::slice::from_ref(path), path).unwrap();
        archived.extend(
            segment.records.iter().map(|(id, value)| {
                (String::from_utf8(id.to_vec()).unwrap(), String::from_utf8(value.to_vec()).unwrap())
            }),
        );
    }
    let mut world = run.world.borrow_mut();
    for agent in 0..agents {
        let found = own_records(&seen, agent);
        let before = world.journals[agent].clone();
        assert!(world.journals[agent].settle(&found), "records of agent {agent} are {found:?}, it was told {before:?}");
        let journal = &world.journals[agent];
        for id in journal.archive().keys() {
            let quoted = format!("\"{id}\"");
            assert!(archived.iter().any(|(id, _)| *id == quoted), "{id} is neither in the store nor in the archive");
        }
    }
    for (id, value) in seen.iter().filter(|(id, _)| id.starts_with('s')) {
        let mut written = world.journals.iter().flat_map(|journal| &journal.shared);
        assert!(written.any(|write| write == &(id.clone(), value.clone())), "{id} is {value}, which nobody wrote");
    }
    let mut names = HashSet::new();
    for op in reader.history() {
        let origin = op.origin().unwrap();
        let name = (origin.clock, origin.agent.as_ref().map(|agent| agent.to_vec()));
        assert!(names.insert(name), "an operation counts twice: {op:?}");
    }
    // All observers agree, also about the order.
    let order =
        |store: &Store| -> Vec<_> { store.history().iter().map(|op| (op.origin().cloned(), op.id.clone())).collect() };
    for store in run.ended.borrow().iter() {
        store.refresh().unwrap();
        if records(store) != seen {
            for store in [store, &reader] {
                eprintln!("{:?} knows", store.options().agent);
                store.history().iter().for_each(|op| eprintln!("  {op:?}"));
            }
        }
        assert_eq!(records(store), seen, "an agent sees other records than a reader");
        assert_eq!(order(store), order(&reader), "an agent sees another order than a reader");
    }
    let fresh_options =
        Options { agent: Some("observer".to_owned()), checkpoint_on_close: false, ..Options::default() };
    let fresh = open(Arc::new(run.disk.clone()), &fresh_options).unwrap();
    assert_eq!(records(&fresh), seen, "a new agent sees other records than a reader");
}
