/** All scenarios by name, in the order in which they run. */
import { scenarios as agents } from "./agentdb-agents.js";
import { scenarios as disk } from "./agentdb-disk.js";
import { scenarios as memory } from "./agentdb-memory.js";
import { scenarios as killed } from "./killed.js";
import { scenarios as failures } from "./s3-failures.js";
import { scenarios as s3 } from "./s3.js";

/** @type {Record<string, import("./context.js").Scenario>} */
export const scenarios = { ...memory, ...disk, ...agents, ...killed, ...s3, ...failures };
