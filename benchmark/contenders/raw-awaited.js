// A limit, not a rival: as `raw`, but the sync is awaited, so that the event loop is free meanwhile.

import { fdatasync } from "node:fs";
import { promisify } from "node:util";

import { rawFile } from "../raw-file.js";

export const version = "";

const sync = promisify(fdatasync);

/** @type {import("./contender.js").Contender["open"]} */
export const open = (dir) => rawFile(dir, sync);
