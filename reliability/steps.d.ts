/** One step of a workload (`workloads.js`). A type of its own file: JSDoc cannot say that it contains itself. */
export type Step =
  | ["set", string, unknown]
  | ["delete", string]
  | ["batch", Step[]]
  | ["undo"]
  | ["compact"]
  | ["flush"]
  | ["sync"]
  /** A prefix of ids, and a segment. */
  | ["archive", string, string]
  | ["close"]
  | ["open"]
  /** Calls that are made without awaiting in between. */
  | ["together", Step[]]
  /** Milliseconds. */
  | ["pause", number]
  /** A step of an agent's store. */
  | ["as", string, Step];
