// The record that every scenario stores: a task of a tracker, of an exact size as JSON text.

/** @typedef {{ id: number, title: string, status: string, priority: number, assignee: string, tags: string[], created: string, updated: string, revision: number, notes: string }} Task */

const STATUS = ["open", "active", "blocked", "done"];
const PEOPLE = ["ada", "grace", "edsger", "barbara", "tony"];

/**
 * @param {number} index tells records apart
 * @param {number} revision tells versions of one record apart: status, priority, `updated` and `revision` change
 * @param {number} size of the JSON text in bytes. Default: 250.
 * @returns {Task}
 */
export function task(index, revision = 0, size = 250) {
  const day = 86_400_000;
  const record = {
    id: index,
    title: `Task number ${index}`,
    status: STATUS[(index + revision) % STATUS.length] ?? "open",
    priority: (index * 7 + revision) % 10,
    assignee: PEOPLE[index % PEOPLE.length] ?? "ada",
    tags: ["backend", `sprint-${index % 20}`],
    created: new Date(1_700_000_000_000 + (index % 500) * day).toISOString(),
    updated: new Date(1_750_000_000_000 + ((index + revision * 3) % 300) * day).toISOString(),
    revision,
    notes: "",
  };
  record.notes = "n".repeat(Math.max(0, size - JSON.stringify(record).length));
  return record;
}

/** @param {number} index */
export function taskId(index) {
  return `task-${String(index).padStart(8, "0")}`;
}
