// Imported for its effect: moves the process to a new folder, which is removed when it ends. The examples write to
// folders like "./data", and must not leave them in yours.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const before = process.cwd();
const directory = mkdtempSync(join(tmpdir(), "opslog-example-"));
process.chdir(directory);
process.on("exit", () => {
  // some systems do not remove the folder that a process is in
  process.chdir(before);
  rmSync(directory, { recursive: true, force: true });
});
