// A limit, not a rival: one thread that appends a line to a file and syncs it. It keeps no state and reads nothing.

import { fdatasyncSync } from "node:fs";

import { rawFile } from "../raw-file.js";

export const version = "";

/** @type {import("./contender.js").Contender["open"]} */
export const open = (dir, { durability }) => rawFile(dir, durability === "fsync" ? fdatasyncSync : () => {});
