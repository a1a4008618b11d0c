/**
 * Several agents on one store in memory, in an order of steps that a seed decides; checked against a naive model.
 *
 * Each record has one agent that writes it ("own" records), or everybody writes it ("shared"), or it is written once
 * and archived by anybody. The model keeps, for each own record, the values that it may have: one, unless a call was
 * cut off by a kill.
 */
import { Store, UpstreamStore } from "../support/implementation.js";
import { MemoryFiles, Scheduler, Session, randomSource } from "./memory-files.js";

const SEGMENT = "2026-Q1";
const STEPS_AT_MOST = 60_000;

/** Lets everything run that waits for no backend. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** What an agent's calls came to. */
class Model {
  /** Own records: the values that each may have, as texts; `undefined` for none. @type {Map<string, Set<string | undefined>>} */
  own = new Map();
  /** What undo would take back, the last first. @type {{ id: string, before: Set<string | undefined> | undefined, shared?: string }[]} */
  undoable = [];
  /** Values of shared records that nobody may find at the end: their writer, or who saw them, wrote over them. */
  overwritten = new Set();
  /** Ids that are in the store or in the archive. */
  archivable = new Set();
  /** Ids of operations that were undone: nobody is told of it. */
  undone = new Set();

  wrote(id, text, certain) {
    const before = this.own.get(id);
    if (certain) this.undoable.push({ id, before });
    this.own.set(id, new Set([...(certain ? [] : (before ?? [undefined])), text]));
  }

  undid(certain) {
    const last = certain ? this.undoable.pop() : this.undoable.at(-1);
    if (last === undefined) return !certain;
    this.undone.add(last.id);
    const now = this.own.get(last.id) ?? [];
    this.own.set(last.id, new Set([...(certain ? [] : now), ...(last.before ?? [undefined])]));
    return true;
  }
}

/**
 * Runs one schedule.
 *
 * @param {number} seed
 * @param {object} [how]
 * @param {number} [how.agents]
 * @param {number} [how.calls] calls of each agent
 * @param {number} [how.kills] one turn in so many kills somebody; 0: nobody is killed
 * @param {number} [how.failing] one method in so many fails; 0: none does
 * @returns {Promise<{ problems: string[], trace: () => string, turns: number }>}
 */
export async function simulate(seed, { agents = 2 + (seed % 3), calls = 12, kills = 0, failing = 0 } = {}) {
  const random = randomSource(seed);
  const files = new MemoryFiles();
  const scheduler = new Scheduler(random);
  /** @type {string[]} */
  const trace = [];
  /** @type {string[]} */
  const problems = [];
  const names = ["a", "b", "c", "d"].slice(0, agents);
  const models = new Map(names.map((name) => [name, new Model()]));
  /** @type {Map<string, Session>} */
  const live = new Map();
  /** @type {Map<string, any>} */
  const open = new Map();
  const time = new VirtualTime(random);
  let running = 0;
  let counter = 0;

  const start = (name, left) => {
    const session = new Session(files, scheduler, name);
    session.trace = trace;
    session.failing = failing;
    live.set(name, session);
    const driver = new Driver({ session, model: /** @type {Model} */ (models.get(name)), random, problems, next: () => ++counter });
    running++;
    void driver.run(left).then(
      (store) => {
        if (session.dead) return;
        open.set(name, store);
        running--;
      },
      (error) => {
        if (session.dead) return;
        problems.push(`${name}: ${error.stack}`);
        running--;
      },
    );
    return driver;
  };
  /** @type {Map<string, Driver>} */
  const drivers = new Map(names.map((name) => [name, start(name, calls)]));
  try {
    while (running > 0) {
      await settled();
      if (running === 0) break;
      if (kills > 0 && random(kills) === 0) {
        const name = names[random(names.length)];
        const session = /** @type {Session} */ (live.get(name));
        if (!open.has(name)) {
          session.log("KILLED");
          session.kill();
          running--;
          const driver = /** @type {Driver} */ (drivers.get(name));
          driver.cutOff();
          drivers.set(name, start(name, driver.left));
          continue;
        }
      }
      // A pause is over when nobody else can go on, or sooner.
      if (random(20) === 0 && time.pass()) continue;
      if (!scheduler.step() && !time.pass()) {
        problems.push("nobody can go on");
        break;
      }
      if (scheduler.turns > STEPS_AT_MOST) {
        problems.push("too many turns");
        break;
      }
    }
    if (problems.length === 0) await check();
  } finally {
    time.restore();
  }
  return { problems, trace: () => trace.join("\n"), turns: scheduler.turns };

  /** Drives everything to its end, for a single caller. */
  async function finish(promise) {
    let over = false;
    const end = promise.finally(() => {
      over = true;
    });
    end.catch(() => {});
    for (let turn = 0; !over && turn < STEPS_AT_MOST; turn++) {
      await settled();
      if (!over && !scheduler.step()) time.pass();
    }
    if (!over) throw new Error("does not end");
    return end;
  }

  async function check() {
    for (const session of live.values()) session.failing = 0;
    /** @type {[string, Map<string, any>][]} */
    const seen = [];
    const told = new Map();
    for (const [name, store] of open) {
      await finish(/** @type {Driver} */ (drivers.get(name)).tail(store));
      told.set(name, /** @type {Driver} */ (drivers.get(name)).told);
    }
    for (const [name, store] of open) seen.push([`agent ${name}`, new Map(store.entries())]);
    const observer = new Session(files, scheduler, "observer");
    observer.trace = trace;
    const reader = new Store();
    await finish(reader.open("reader", { readOnly: true, backend: observer.backend }));
    seen.push(["reader", new Map(reader.entries())]);
    await finish(reader.close());
    const upstream = new UpstreamStore();
    await finish(upstream.open("upstream", { agentId: "zz", backend: copyOf(files, scheduler, trace).backend, checkpointOnClose: false }));
    seen.push(["upstream", new Map(upstream.entries())]);
    const fresh = new Store();
    await finish(fresh.open("fresh", { agentId: "zzz", backend: observer.backend }));
    seen.push(["fresh agent", new Map(fresh.entries())]);
    const archived = new Set();
    for (const path of files.segments.keys()) for (const id of files.segments.get(path)?.keys() ?? []) archived.add(id);
    await finish(fresh.close());
    const after = new Store();
    await finish(after.open("after", { readOnly: true, backend: observer.backend }));
    seen.push(["after a checkpoint", new Map(after.entries())]);
    const texts = seen.map(([, entries]) => JSON.stringify([...entries].sort(([a], [b]) => (a < b ? -1 : 1))));
    texts.forEach((text, i) => {
      if (text !== texts.at(-1)) problems.push(`${seen[i][0]} sees ${text}, ${seen.at(-1)?.[0]} ${texts.at(-1)}`);
    });
    const [, entries] = seen[seen.length - 1];
    for (const [name, model] of models) {
      for (const [id, values] of model.own) {
        const found = entries.has(id) ? JSON.stringify(entries.get(id)) : undefined;
        if (!values.has(found)) problems.push(`${name}'s ${id} is ${found}, not ${[...values].join(" or ")}`);
      }
      for (const id of model.archivable) {
        if (!entries.has(id) && !archived.has(id)) problems.push(`${name}'s ${id} is neither in the store nor archived`);
        if (entries.has(id) && archived.has(id) && kills === 0 && failing === 0) problems.push(`${id} is archived and in the store`);
      }
      for (const text of model.overwritten) {
        const found = JSON.stringify(entries.get("shared"));
        if (text === found) problems.push(`shared is ${found} again, which ${name} wrote over`);
      }
    }
    for (const [name, ops] of told) {
      const twice = ops.filter((text, i) => ops.indexOf(text) !== i);
      if (twice.length > 0) problems.push(`${name} was told twice: ${twice[0]}`);
    }
    for (const name of open.keys()) for (const problem of drivers.get(name)?.untold(entries, new Set([...models.values()].flatMap(({ undone }) => [...undone]))) ?? []) problems.push(problem);
  }
}

/** A copy of the files that somebody may open and change. */
function copyOf(files, scheduler, trace) {
  const copy = new MemoryFiles();
  for (let n = files.name(); n > 0; n--) copy.name();
  copy.manifest = files.manifest;
  copy.snapshots = new Map(files.snapshots);
  copy.logs = new Map([...files.logs].map(([path, log]) => [path, [...log]]));
  const session = new Session(copy, scheduler, "copy");
  session.trace = trace;
  return session;
}

/** A close that fails may have closed the store all the same. */
function isOpen(store) {
  try {
    store.count();
    return true;
  } catch {
    return false;
  }
}

/** One agent's calls, one after the other or a few at once. */
class Driver {
  left = 0;
  /** @type {{ kind: string, id?: string, text?: string, ids?: string[], saw?: string }[]} */
  #pending = [];
  /** @type {string[]} */
  told = [];
  /** Values of each id that this agent has seen or was told. @type {Map<string, Set<string | undefined>>} */
  #known = new Map();

  constructor({ session, model, random, problems, next }) {
    Object.assign(this, { session, model, random, problems, next });
  }

  /** Calls whose end nobody has heard of. */
  cutOff() {
    for (const call of this.#pending) {
      if (call.kind === "set") this.model.wrote(call.id, call.text, false);
      else if (call.kind === "batch") call.ids?.forEach((id) => this.model.wrote(id, call.text, false));
    }
    // Each of these may have been taken back.
    const undos = this.#pending.filter(({ kind }) => kind === "undo").length;
    for (const { id, before, arch, shared } of undos > 0 ? this.model.undoable.slice(-undos) : []) {
      this.model.own.set(id, new Set([...(this.model.own.get(id) ?? []), ...(before ?? [undefined])]));
      this.model.undone.add(id);
      this.model.archivable.delete(arch);
      for (const saw of shared ?? []) this.model.overwritten.delete(saw);
    }
    // What undo would take back now is known again after the next write.
    if (this.#pending.length > 0) this.model.undoable = [];
    this.#pending = [];
  }

  async run(calls) {
    const { session, random } = this;
    this.left = calls;
    const store = new Store();
    this.store = store;
    // A new session may undo what an earlier one has written: the model says what that is.
    const options = { agentId: session.name, backend: session.backend, checkpointThreshold: 3 + random(12), checkpointOnClose: random(2) === 0 };
    for (;;) {
      try {
        await store.open("simulated", options);
        break;
      } catch (error) {
        if (!session.failing) throw error;
      }
    }
    this.#seen(store);
    while (this.left > 0) {
      this.left--;
      if (random(12) === 0) {
        try {
          session.log("close()");
          await store.close();
        } catch (error) {
          if (!session.failing) throw error;
          if (isOpen(store)) continue;
        }
        return this.run(this.left);
      }
      const group = Array.from({ length: random(3) === 0 ? 1 + random(3) : 1 }, () => this.#call(store));
      await Promise.all(group.map(({ promise }) => promise));
      for (const { end } of group) end();
      this.#pending = [];
    }
    return store;
  }

  #seen(store) {
    this.#known = new Map(store.entries().map(([id, value]) => [id, new Set([JSON.stringify(value)])]));
    this.told = [];
  }

  async tail(store) {
    const found = await store.tail();
    for (const operation of found) {
      if (operation.agent === this.session.name && operation.clock !== undefined) {
        this.problems.push(`${this.session.name} was told its own ${JSON.stringify(operation)}`);
      }
      this.told.push(JSON.stringify(operation));
      const values = this.#known.get(operation.id) ?? new Set();
      this.#known.set(operation.id, values.add(operation.op === "set" ? JSON.stringify(operation.data) : undefined));
    }
    this.session.log(`told ${found.map(({ id, agent, clock }) => `${id}@${agent}${clock}`).join(" ")}`);
  }

  /** What others wrote must have been told, with the value that stands. */
  untold(entries, undone) {
    const own = `${this.session.name}-`;
    return [...entries]
      .filter(([id, value]) => id !== "shared" && !id.startsWith(own) && !undone.has(id) && !this.#known.get(id)?.has(JSON.stringify(value)))
      .map(([id, value]) => `${this.session.name} was told ${[...(this.#known.get(id) ?? [])].join(" and ")} for ${id}, which is ${JSON.stringify(value)}`);
  }

  /** One call: `promise` settles with it, `end` enters into the model what it came to. */
  #call(store) {
    const { session, model, random, problems } = this;
    const n = this.next();
    const text = JSON.stringify({ n });
    const note = (what) => session.log(what);
    const attempt = (call, make, end) => {
      this.#pending.push(call);
      note(`call ${call.kind} ${call.id ?? call.ids ?? ""} ${text}`);
      let outcome;
      const promise = Promise.resolve()
        .then(make)
        .then(
          (value) => {
            outcome = { value };
            note(`done ${call.kind} ${call.id ?? call.ids ?? ""} ${JSON.stringify(value)}`);
          },
          (error) => {
            outcome = { error };
            // Somebody may have seen it meanwhile.
            for (const id of call.ids ?? [call.id]) model.undone.add(id);
            note(`rejected ${call.kind} ${call.id ?? call.ids ?? ""} ${error.message}`);
            if (!session.failing && !/Compaction lock held/.test(error.message)) problems.push(`${session.name} ${call.kind}: ${error.stack}`);
          },
        );
      return { promise, end: () => end(outcome) };
    };
    switch (random(14)) {
      case 0:
        return attempt({ kind: "compact" }, () => store.compact(), () => {});
      case 1:
        return attempt({ kind: "refresh" }, () => this.tail(store), () => {});
      case 2: {
        const call = { kind: "archive" };
        return attempt(call, () => store.archive((_value, id) => id.includes("-arch-"), SEGMENT), () => {});
      }
      case 3: {
        const id = `${session.name}-arch-${n}`;
        return attempt({ kind: "arch", id }, () => store.set(id, { n }), ({ error }) => {
          if (error) return;
          model.archivable.add(id);
          model.undoable.push({ id: "-", before: undefined, arch: id });
        });
      }
      case 4:
      case 5:
      case 6:
        if (model.undoable.length <= this.#pending.length) return attempt({ kind: "flush" }, () => store.flush(), () => {});
        return attempt({ kind: "undo" }, () => store.undo(), ({ error, value }) => {
          if (error) return;
          if (value === false) {
            model.undoable = [];
          } else {
            const { arch, shared } = model.undoable.at(-1) ?? {};
            if (!model.undid(true)) problems.push(`${session.name} undid something that nobody had done`);
            if (arch !== undefined) model.archivable.delete(arch);
            if (shared !== undefined) {
              for (const saw of shared) model.overwritten.delete(saw);
            }
          }
        });
      case 7: {
        const ids = [`${session.name}-${random(4)}`, `${session.name}-x${random(3)}`];
        return attempt({ kind: "batch", ids, text }, () => store.batch(() => ids.forEach((id) => store.set(id, { n }))), ({ error }) => {
          if (!error) ids.forEach((id) => model.wrote(id, text, true));
        });
      }
      case 8: {
        let saw;
        return attempt(
          { kind: "shared" },
          () => {
            saw = JSON.stringify(store.get("shared"));
            return store.set("shared", { n });
          },
          ({ error }) => {
            if (error) return;
            if (saw !== undefined) model.overwritten.add(saw);
            model.undoable.push({ id: "-", before: undefined, shared: [saw] });
          },
        );
      }
      default: {
        const id = `${session.name}-${random(4)}`;
        return attempt({ kind: "set", id, text }, () => store.set(id, { n }), ({ error }) => {
          if (error) return;
          model.wrote(id, text, true);
        });
      }
    }
  }
}

/** Timers of the stores: they end when the simulation says so. */
class VirtualTime {
  #timers = [];
  #now = 0;
  #setTimeout = globalThis.setTimeout;
  #clearTimeout = globalThis.clearTimeout;
  #performanceNow = performance.now;
  #mathRandom = Math.random;

  constructor(random) {
    Math.random = () => random(1000) / 1000;
    globalThis.setTimeout = /** @type {any} */ (
      (run, ms = 0, ...args) => {
        const timer = { at: this.#now + ms, run: () => run(...args), unref: () => timer, ref: () => timer };
        this.#timers.push(timer);
        return timer;
      }
    );
    globalThis.clearTimeout = /** @type {any} */ (
      (timer) => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      }
    );
    performance.now = () => this.#now;
  }

  /** Lets the next timer end; false if there is none. */
  pass() {
    const next = this.#timers.reduce((first, timer) => (first === undefined || timer.at < first.at ? timer : first), undefined);
    if (next === undefined) return false;
    this.#timers = this.#timers.filter((timer) => timer !== next);
    this.#now = Math.max(this.#now, next.at);
    next.run();
    return true;
  }

  restore() {
    globalThis.setTimeout = this.#setTimeout;
    globalThis.clearTimeout = this.#clearTimeout;
    performance.now = this.#performanceNow;
    Math.random = this.#mathRandom;
  }
}
