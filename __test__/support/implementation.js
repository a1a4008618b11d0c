/**
 * The implementation under test: this package, or upstream when `OPSLOG_IMPL=upstream` (to check the tests themselves).
 * And who keeps its files, by `OPSLOG_BACKEND`:
 *
 * | value | the option `backend` of every `open` that gives none |
 * |---|---|
 * | `native` (default) | none |
 * | `plain` | an unmodified `FsBackend` |
 * | `subclass` | a subclass of `FsBackend`, one object for all stores |
 * | `memory` | a JavaScript object that keeps everything in memory and answers late |
 *
 * Tests of deliberate differences fail on upstream; that is expected.
 */
import * as upstream from "@backloghq/opslog";
import { MemoryBackend } from "./memory-backend.js";

/** Whether the tests run against upstream 0.8.1 instead of this package. */
export const isUpstream = process.env.OPSLOG_IMPL === "upstream";

/** Who keeps the files. @type {"native" | "plain" | "subclass" | "memory"} */
export const backendKind = /** @type {any} */ (process.env.OPSLOG_BACKEND ?? "native");

/** True where a store is files in a directory. */
export const hasFiles = backendKind !== "memory";

/** True where the engine itself reads and writes them: what is about its own writer, its syncs and its clean-up. */
export const isNative = backendKind === "native" || backendKind === "plain";

const implementation = isUpstream ? upstream : await import("../../index.js");

/** Everything overridden, nothing changed; private members show whether `this` is the object itself. */
class Subclass extends implementation.FsBackend {
  #calls = 0;
  get calls() {
    return this.#calls;
  }
  async writeManifest(manifest) {
    this.#calls++;
    await new Promise((resolve) => setImmediate(resolve));
    await super.writeManifest(manifest);
  }
  async appendOps(path, ops) {
    this.#calls++;
    // The directory must still be this store's after a wait.
    if (this.#calls % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
    await super.appendOps(path, ops);
  }
  async readOps(path) {
    this.#calls++;
    return super.readOps(path);
  }
}

let made = 0;
const shared = new Subclass();

/** The backend for one `open`. */
const BACKENDS = {
  native: () => undefined,
  plain: () => new implementation.FsBackend(),
  subclass: () => shared,
  memory: () => new MemoryBackend({ seed: ++made }),
};

/**
 * The options of `open` with the backend under test, where they are options and name none.
 *
 * @param {any} options as they were given
 * @returns {any} the same, or with a backend
 */
export function withBackend(options) {
  const given = typeof options === "object" && options !== null && options.backend !== undefined;
  const invalid = options !== undefined && (typeof options !== "object" || options === null);
  const backend = given || invalid ? undefined : BACKENDS[backendKind]();
  return backend === undefined ? options : { ...options, backend };
}

/** The store under test. */
export const Store =
  backendKind === "native"
    ? implementation.Store
    : class extends implementation.Store {
        async open(dir, options) {
          return super.open(dir, withBackend(options));
        }
      };

/** Upstream 0.8.1: the oracle, the rival and the second reader. It opens what is kept in memory as well. */
export const UpstreamStore = hasFiles
  ? upstream.Store
  : class extends upstream.Store {
      async open(dir, options) {
        return super.open(dir, withBackend(options));
      }
    };
