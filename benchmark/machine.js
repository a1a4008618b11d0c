// What the figures were measured on.

import { readFileSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem, type } from "node:os";

/** @typedef {{ cpu: string, cores: number, memory: string, system: string, node: string, fileSystem: string }} Machine */

/**
 * @param {string} dir where the stores are written
 * @returns {Machine}
 */
export function describeMachine(dir) {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    system: `${type()} ${release().split(".", 2).join(".")} ${process.arch}`,
    node: process.version,
    fileSystem: fileSystemOf(dir),
  };
}

/**
 * The type of the file system that holds `dir`, as /proc/mounts names it. Matters most of all: on tmpfs a sync is free.
 * @param {string} dir
 */
function fileSystemOf(dir) {
  let mounts;
  try {
    mounts = readFileSync("/proc/mounts", "utf8");
  } catch {
    return "unknown";
  }
  let best = { point: "", kind: "unknown" };
  for (const line of mounts.split("\n")) {
    const [, point = "", kind = ""] = line.split(" ");
    const holds = dir === point || dir.startsWith(point.endsWith("/") ? point : `${point}/`);
    if (point !== "" && holds && point.length >= best.point.length) best = { point, kind };
  }
  return best.kind;
}
