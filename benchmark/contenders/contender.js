// What a contender offers to the scenarios. A rival is one file beside this one, exporting `open`, `version` and
// nothing else, and its name in `contenders` of the scenarios that it takes part in (scenarios.js).

/**
 * The guarantee that a scenario asks for.
 * @typedef {object} Guarantee
 * @property {"immediate" | "group" | "async"} mode whether a `set` resolves when it is stored or when it is buffered
 * @property {"fsync" | "os"} durability what "stored" means: on stable storage, or with the operating system
 * @property {string} [agent] as one of several writers of one directory: its id
 * @property {boolean} [defaults] as a program that gives no options: each contender's own defaults, whatever they are
 */

/**
 * @typedef {object} Handle
 * @property {(id: string, record: object) => Promise<unknown> | void} set
 * @property {(id: string) => unknown} get
 * @property {(entries: readonly [id: string, record: object][]) => Promise<void> | void} batch all or nothing
 * @property {() => Promise<void> | void} flush hands everything buffered to the operating system
 * @property {() => Promise<void> | void} checkpoint leaves the store as a closed program would: compact, quick to open
 * @property {() => Promise<void> | void} close without a checkpoint, unless by default
 * @property {() => Promise<void>} [refresh] of contenders that have several writers: reads what the others wrote
 * @property {Scans} [scans] of contenders that keep the records in memory
 */

/**
 * @typedef {object} Scans
 * @property {() => unknown[]} all
 * @property {() => unknown[]} entries
 * @property {(predicate: (record: any) => boolean) => unknown[]} filter
 */

/**
 * @typedef {object} Contender
 * @property {string} version
 * @property {(dir: string, guarantee: Guarantee) => Promise<Handle> | Handle} open creates or loads the store in `dir`
 */

export {};
