// In the place of `opslog-native/binding`: a program that keeps the addon where it likes. With `process.dlopen`, as bundlers
// look into `require`.
import { dirname, join } from "node:path";

const addon = { exports: {} };
process.dlopen(addon, join(dirname(process.argv[1] ?? ""), "kept/engine.node"));
export default addon.exports;
