/**
 * opslog-native: an embedded, event-sourced document store. See index.d.ts for the API.
 */
export { Store } from "./lib/store.js";
