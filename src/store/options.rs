//! What a store is opened with.

/// When a `set` is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WriteMode {
    /// Once it is written (and synced, see [`Durability`]).
    #[default]
    Immediate,
    /// At once, except the call that fills the buffer: that one waits for the commit.
    Group,
    /// Always at once.
    Async,
}

/// How durable a commit is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// On stable storage: survives power loss.
    #[default]
    Fsync,
    /// With the operating system: survives the end of the process.
    Os,
}

/// What `open` does with an invalid line inside a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// Refuses to open.
    #[default]
    Reject,
    /// Opens with the valid lines and keeps the damaged file beside the log.
    Skip,
}

/// Options of a store. Counts are of operations, times in milliseconds; `u64::MAX` stands for infinity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Checkpoint after so many operations. `None`: as many as there were records at the last checkpoint, at least 100.
    pub checkpoint_threshold: Option<u64>,
    /// Checkpoint at `close` if there are operations.
    pub checkpoint_on_close: bool,
    /// Schema version of the records.
    pub version: u64,
    /// Take no lock and write nothing.
    pub read_only: bool,
    /// Do not load the records: only those that are written are visible.
    pub skip_load: bool,
    /// When a `set` is acknowledged.
    pub write_mode: WriteMode,
    /// Buffered modes: sync after so many operations.
    pub group_commit_size: u64,
    /// Buffered modes: sync after so many milliseconds.
    pub group_commit_ms: u64,
    /// How durable a commit is.
    pub durability: Durability,
    /// What `open` does with an invalid line inside a log.
    pub on_damage: OnDamage,
    /// One of several writers: its id. Its write mode is immediate.
    pub agent: Option<String>,
    /// After so many operations that came and were synced one by one, space is written ahead in the log; see
    /// [`crate::log::room`].
    pub room_after: u64,
}

impl Options {
    /// True for a single writer whose writes are synced before they are acknowledged.
    pub(super) fn syncs_each(&self) -> bool {
        self.agent.is_none() && self.durability == Durability::Fsync && self.write_mode == WriteMode::Immediate
    }

    /// True for who reads beside others that write.
    pub(super) fn is_beside_writers(&self) -> bool {
        self.read_only || self.agent.is_some()
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            checkpoint_threshold: None,
            checkpoint_on_close: true,
            version: 1,
            read_only: false,
            skip_load: false,
            write_mode: WriteMode::default(),
            group_commit_size: 50,
            group_commit_ms: 100,
            durability: Durability::default(),
            on_damage: OnDamage::default(),
            agent: None,
            room_after: 64,
        }
    }
}

/// The least number of operations between two automatic checkpoints where no threshold is given.
pub(super) const LEAST_THRESHOLD: u64 = 100;
