/**
 * opslog-native: an embedded, event-sourced document store. See index.d.ts for the API.
 */
export { LamportClock } from "./lib/clock.js";
export { applyDelta, createDelta, isDeltaSmaller } from "./lib/delta.js";
export { FsBackend } from "./lib/fs-backend.js";
export { acquireLock, releaseLock } from "./lib/lock.js";
export { streamSnapshotFile } from "./lib/snapshot-file.js";
export { Store } from "./lib/store.js";
export { validateArchiveSegment, validateManifest, validateOp, validateSnapshot } from "./lib/validate.js";
