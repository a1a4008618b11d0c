/**
 * A store's files in memory, shared by the backends of several sessions, and a scheduler that decides whose turn it is.
 *
 * Every method of a session's backend waits for its turn, does its work at once, and waits for another turn before it
 * answers. So whatever two sessions can do to each other between two of their steps, some seed does.
 */

/** @param {number} seed @returns {(n: number) => number} integers below `n`; the same ones for the same seed */
export function randomSource(seed) {
  let state = (seed * 2654435761 + 1013904223) >>> 0;
  return (n) => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

/** What is stored, as text: nobody shares an object with it. */
export class MemoryFiles {
  /** @type {string | null} */
  manifest = null;
  manifestVersion = 0;
  /** @type {Map<string, string>} */
  snapshots = new Map();
  /** @type {Map<string, string[]>} */
  logs = new Map();
  /** @type {Map<string, Map<string, string>>} */
  segments = new Map();
  /** @type {object | undefined} */
  compactor;
  #number = 0;

  name() {
    return ++this.#number;
  }
}

/** The methods of `StorageBackend` on shared files: each does its work at once. `session` holds what locks are taken. */
export const METHODS = {
  initialize() {},
  shutdown() {},
  readManifest: (files) => files.manifest && JSON.parse(files.manifest),
  writeManifest(files, _session, manifest) {
    files.manifest = JSON.stringify(manifest);
    files.manifestVersion++;
  },
  writeSnapshot(files, _session, records, version) {
    const path = `snapshots/snap-${files.name()}.jsonl`;
    files.snapshots.set(path, JSON.stringify({ version, records: [...records] }));
    return path;
  },
  loadSnapshot(files, _session, path) {
    const text = files.snapshots.get(path);
    if (text === undefined) throw Object.assign(new Error(`no such snapshot: ${path}`), { code: "ENOENT" });
    const { version, records } = JSON.parse(text);
    return { version, records: new Map(records) };
  },
  appendOps(files, _session, path, operations) {
    const log = files.logs.get(path) ?? [];
    files.logs.set(path, log);
    log.push(...operations.map((operation) => JSON.stringify(operation)));
  },
  readOps: (files, _session, path) => (files.logs.get(path) ?? []).map((text) => JSON.parse(text)),
  truncateLastOp: (files, _session, path) => files.logs.get(path)?.pop() !== undefined,
  createOpsFile(files) {
    const path = `ops/ops-${files.name()}.jsonl`;
    files.logs.set(path, []);
    return path;
  },
  createAgentOpsFile(files, _session, agent) {
    const path = `ops/agent-${agent}-${files.name()}.jsonl`;
    files.logs.set(path, []);
    return path;
  },
  listOpsFiles: (files) => [...files.logs.keys()],
  writeArchiveSegment(files, _session, period, records) {
    const path = `archive/archive-${period}.json`;
    const segment = files.segments.get(path) ?? new Map();
    files.segments.set(path, segment);
    for (const [id, value] of records) segment.set(id, JSON.stringify(value));
    return path;
  },
  loadArchiveSegment: (files, _session, path) =>
    new Map([...(files.segments.get(path) ?? [])].map(([id, text]) => [id, JSON.parse(text)])),
  listArchiveSegments: (files) => [...files.segments.keys()],
  acquireLock: () => ({}),
  releaseLock() {},
  acquireCompactionLock(files, session) {
    if (files.compactor !== undefined) throw new Error("Compaction lock held by another agent");
    files.compactor = session;
    return { name: session.name };
  },
  releaseCompactionLock(files, session) {
    if (files.compactor === session) files.compactor = undefined;
  },
  getManifestVersion: (files) => (files.manifest === null ? null : String(files.manifestVersion)),
};

/** Runs one pending method at a time, which one says the seed. */
export class Scheduler {
  /** @type {{ session: Session, run: () => void }[]} */
  pending = [];
  turns = 0;

  /** @param {(n: number) => number} random */
  constructor(random) {
    this.random = random;
  }

  /** Runs one of the pending steps; false if there is none. */
  step() {
    this.pending = this.pending.filter(({ session }) => !session.dead);
    if (this.pending.length === 0) return false;
    this.turns++;
    const [{ run }] = this.pending.splice(this.random(this.pending.length), 1);
    run();
    return true;
  }
}

/** One process: its backend works until it is killed. From then on nothing of it settles, and its lock is free. */
export class Session {
  dead = false;
  /** One call in so many fails; 0: none does. */
  failing = 0;
  failures = 0;
  /** @type {string[]} */
  trace = [];

  /**
   * @param {MemoryFiles} files
   * @param {Scheduler} scheduler
   * @param {string} name
   */
  constructor(files, scheduler, name) {
    this.files = files;
    this.scheduler = scheduler;
    this.name = name;
    this.backend = Object.fromEntries(
      Object.keys(METHODS).map((method) => [method, (...args) => this.#call(method, args)]),
    );
  }

  /** @param {() => void} run */
  #turn(run) {
    this.scheduler.pending.push({ session: this, run });
  }

  #call(method, args) {
    const { random } = this.scheduler;
    return new Promise((resolve, reject) => {
      this.#turn(() => {
        // Locks are given back, whatever happens: a backend that cannot do that blocks everybody, and says so.
        const fails = this.failing > 0 && !method.startsWith("release") && random(this.failing) === 0;
        const how = fails ? random(3) : 3;
        if (fails) this.failures++;
        this.log(`${method}${fails ? ` FAILS ${how}` : ""} ${JSON.stringify(args)?.slice(0, 300)}`);
        let end;
        try {
          const halved = how === 1 && method === "appendOps" ? [args[0], args[1].slice(0, args[1].length >> 1)] : args;
          const result = how === 0 ? undefined : METHODS[method](this.files, this, ...halved);
          if (method === "acquireCompactionLock" && fails && how > 0) METHODS.releaseCompactionLock(this.files, this);
          end = fails ? () => reject(new Error(`${method} failed (${how})`)) : () => resolve(result);
        } catch (error) {
          end = () => reject(error);
        }
        this.#turn(end);
      });
    });
  }

  /** @param {string} text */
  log(text) {
    this.trace.push(`${this.scheduler.turns} ${this.name}: ${text}`);
  }

  kill() {
    this.dead = true;
    if (this.files.compactor === this) this.files.compactor = undefined;
  }
}
