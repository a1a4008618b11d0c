//! One agent of the simulation: opens the store, makes calls that its seed decides, and checks what it sees.

use super::journal::{Call, Journal, Own};
use opslog_native::backend::StorageBackend;
use opslog_native::format::json;
use opslog_native::store::{Migration, Opening, Options, Store, Ticket, Value};
use opslog_native::{Error, Result};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// What the agents of one run share.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Journals by agent.
    pub(crate) journals: Vec<Journal>,
}

/// A seeded source of choices.
pub(crate) struct Choices(TestRng);

impl Choices {
    pub(crate) fn new(seed: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..].copy_from_slice(&(!seed).to_le_bytes());
        Choices(TestRng::from_seed(RngAlgorithm::XorShift, &bytes))
    }

    /// A number below another.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Opens a store.
pub(crate) fn open(backend: Arc<dyn StorageBackend>, options: &Options) -> Result<Store> {
    let opening = Opening::load(backend, options.clone())?.without_threads();
    Ok(opening.start(Migration::default(), Box::new(|| {}))?.0)
}

/// All records in order.
pub(crate) fn records(store: &Store) -> Vec<(String, String)> {
    let page = store.page(0, usize::MAX);
    assert!(page.next.is_none());
    let list = |bytes: &[u8]| -> Vec<String> {
        json::elements(bytes).unwrap().into_iter().map(|item| String::from_utf8(item.to_vec()).unwrap()).collect()
    };
    list(&page.ids).into_iter().map(|id| json::unquote(id.as_bytes())).zip(list(&page.values)).collect()
}

/// The records of one agent.
pub(crate) fn own_records(records: &[(String, String)], agent: usize) -> Own {
    let prefix = format!("a{agent}:");
    records.iter().filter(|(id, _)| id.starts_with(&prefix)).cloned().collect()
}

pub(crate) struct Agent {
    pub(crate) number: usize,
    pub(crate) world: Rc<RefCell<World>>,
    pub(crate) backend: Arc<dyn StorageBackend>,
    pub(crate) options: Options,
    pub(crate) choices: Choices,
    /// Told apart from values of earlier sessions.
    pub(crate) session: u64,
    pub(crate) written: u64,
    /// Checkpoints that nobody has waited for.
    pub(crate) overtaken: Vec<Ticket>,
    /// A schedule that is run alone tells what goes on.
    pub(crate) is_traced: bool,
}

impl Agent {
    /// Opens, makes calls, and answers with the open store.
    pub(crate) fn run(&mut self, calls: u64) -> Store {
        let mut store = self.open();
        for _ in 0..calls {
            store = self.call(store);
            self.check_own(&store);
        }
        self.end_overtaken(&store);
        store
    }

    /// Tells what goes on where one schedule is run alone.
    fn trace(&self, what: impl FnOnce() -> String) {
        if self.is_traced {
            eprintln!("agent {}: {}", self.number, what());
        }
    }

    fn journal<R>(&self, work: impl FnOnce(&mut Journal) -> R) -> R {
        work(&mut self.world.borrow_mut().journals[self.number])
    }

    fn open(&self) -> Store {
        self.trace(|| "open".to_owned());
        let opened = open(self.backend.clone(), &self.options);
        self.trace(|| "is open".to_owned());
        let store = opened.unwrap_or_else(|error| panic!("agent {} cannot open: {error}", self.number));
        let found = own_records(&records(&store), self.number);
        let before = self.journal(|journal| journal.clone());
        assert!(
            self.journal(|journal| journal.settle(&found)),
            "agent {} opens with {found:?}, was told {before:?}",
            self.number
        );
        store
    }

    /// An agent always sees its own records as they are.
    fn check_own(&self, store: &Store) {
        let found = own_records(&records(store), self.number);
        assert_eq!(found, self.journal(|journal| journal.own()), "agent {} sees other records of its own", self.number);
    }

    fn call(&mut self, store: Store) -> Store {
        match self.choices.below(100) {
            0..=32 => {
                let change = self.change();
                self.write(&store, vec![change]);
            }
            33..=41 => {
                let own = self.journal(|journal| journal.own());
                if let Some(id) = own.keys().next().cloned() {
                    self.write(&store, vec![(id, None)]);
                }
            }
            42..=51 => {
                let changes = (0..2 + self.choices.below(2)).map(|_| self.change()).collect();
                self.write(&store, changes);
            }
            52..=64 if self.journal(|journal| journal.can_undo()) => {
                self.journal(|journal| journal.begin(Call::Undo));
                match self.wait(&store, store.undo()) {
                    Value::Bool(undone) => self.journal(|journal| journal.end(undone)),
                    other => panic!("undo answers {other:?}"),
                }
            }
            65..=69 => drop(self.wait(&store, store.compact())),
            // A checkpoint that later calls overtake.
            70..=75 => {
                let ticket = store.compact().unwrap_or_else(|error| panic!("agent {}: {error}", self.number));
                self.overtaken.push(ticket);
            }
            76..=78 => {
                let own = self.journal(|journal| journal.own());
                let shared = records(&store).into_iter().map(|(id, _)| id).find(|id| id.starts_with('s'));
                if let Some(id) = shared.filter(|_| self.choices.one_in(3)) {
                    // Others may be writing it: it is archived as it is then, or written again afterwards.
                    self.wait(&store, store.archive(vec![json::quote(&id).as_slice().into()], "U"));
                } else if let Some(id) = own.keys().next_back().cloned() {
                    self.journal(|journal| journal.begin(Call::Archive(id.clone())));
                    let segment = if self.choices.one_in(2) { "S" } else { "T" };
                    let archived = self.wait(&store, store.archive(vec![json::quote(&id).as_slice().into()], segment));
                    assert_eq!(archived, Value::Count(1));
                    self.journal(|journal| journal.end(false));
                }
            }
            79..=94 => self.refresh(&store),
            _ => {
                self.end_overtaken(&store);
                self.wait(&store, store.close());
                drop(store);
                return self.open();
            }
        }
        store
    }

    /// Checkpoints are made, however many came in between.
    fn end_overtaken(&mut self, store: &Store) {
        for ticket in std::mem::take(&mut self.overtaken) {
            self.wait(store, Ok(ticket));
        }
    }

    fn change(&mut self) -> (String, Option<String>) {
        self.written += 1;
        let value = format!("\"{} {} {}\"", self.number, self.session, self.written);
        let id = match self.choices.below(5) {
            n @ 0..=2 => format!("a{}:{n}", self.number),
            n => format!("s{n}"),
        };
        (id, Some(value))
    }

    fn write(&mut self, store: &Store, changes: Vec<(String, Option<String>)>) {
        self.journal(|journal| {
            let shared = changes.iter().filter(|(id, _)| id.starts_with('s'));
            journal.shared.extend(shared.map(|(id, value)| (id.clone(), value.clone().unwrap_or_default())));
            journal.begin(Call::Write(changes.clone()));
        });
        if changes.len() > 1 {
            store.begin_batch().unwrap();
        }
        let mut accepted = None;
        for (id, value) in &changes {
            let id = json::quote(id);
            accepted = Some(match value {
                Some(value) => store.set(&id, value.as_bytes()),
                None => store.delete(&id),
            });
        }
        if changes.len() > 1 {
            accepted = Some(store.end_batch(true));
        }
        use opslog_native::store::Accepted;
        match accepted.unwrap().unwrap() {
            Accepted::Done => panic!("an immediate write is never done at once"),
            Accepted::Through(ticket) | Accepted::Told(ticket) => drop(self.wait(store, Ok(ticket))),
        }
        self.journal(|journal| journal.end(false));
    }

    fn wait(&self, store: &Store, ticket: Result<Ticket>) -> Value {
        self.trace(|| format!("{:?}", self.journal(|journal| journal.running.clone())));
        let result = ticket.and_then(|ticket| store.wait(ticket));
        self.trace(|| format!("-> {result:?}"));
        store.take_changed();
        result.unwrap_or_else(|error: Error| panic!("agent {}: {error}", self.number))
    }

    /// After a refresh everything is seen that was acknowledged before it, of agents that made no calls meanwhile.
    fn refresh(&self, store: &Store) {
        let versions = || -> Vec<_> {
            let world = self.world.borrow();
            world.journals.iter().map(|journal| journal.running.is_none().then_some(journal.version)).collect()
        };
        let before = versions();
        store.refresh().unwrap_or_else(|error| panic!("agent {} cannot refresh: {error}", self.number));
        store.take_changed();
        let seen = records(store);
        for (agent, (before, now)) in before.into_iter().zip(versions()).enumerate() {
            if before.is_some() && before == now {
                let expected = self.world.borrow().journals[agent].own();
                assert_eq!(
                    own_records(&seen, agent),
                    expected,
                    "agent {} sees old records of agent {agent}",
                    self.number
                );
            }
        }
    }
}
