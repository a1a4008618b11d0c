/** How values and operations are shown to people. */
import { plain, visible } from "./terminal.js";

/** @typedef {import("../index.js").Operation<any>} Operation */
/** @typedef {import("./terminal.js").Paint} Paint */

/**
 * JSON with colours.
 * @param {string} json
 * @param {Paint} paint
 */
export function paintJson(json, paint) {
  return visible(json).replaceAll(
    /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d[\d.eE+-]*/g,
    (token, text, colon) => {
      if (colon !== undefined) return paint.blue(text) + colon;
      return text === undefined ? paint.yellow(token) : paint.green(token);
    },
  );
}

/**
 * A time as it stands in the store, for people.
 * @param {string} ts
 */
export function time(ts) {
  const isTime = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(ts);
  return isTime ? ts.replace("T", " ").replace("Z", "") : plain(ts);
}

/**
 * Who made an operation, and when.
 * @param {Operation} operation
 * @param {Paint} paint
 */
export function headOf({ ts, op, id, prev, agent, clock }, paint) {
  const verb = op === "delete" ? paint.red("delete") : prev === null ? paint.green("create") : paint.yellow("update");
  const who = agent === undefined ? "" : ` ${paint.cyan(`by ${plain(agent)}${clock === undefined ? "" : ` at ${clock}`}`)}`;
  return `${paint.dim(time(ts))} ${verb} ${paint.bold(plain(id))}${who}`;
}
