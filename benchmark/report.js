// From measurements to medians, ratios and a table.

/** @typedef {import("./scenarios.js").Measurement} Measurement */
/** @typedef {import("./scenarios.js").Scenario} Scenario */

/**
 * A goal of 1.0x says "no slower"; two equally fast contenders differ by a few per cent from run to run.
 */
export const NOISE = 0.95;

/**
 * @typedef {object} Row
 * @property {string} scenario
 * @property {string} title
 * @property {string} contender
 * @property {string} version
 * @property {string} unit
 * @property {number[]} perSecond every trial
 * @property {number} median per second
 * @property {number} [flushed] median per second, the final `flush` counted in
 * @property {number} [bytes] median of the memory grown
 * @property {number} [ratio] ours against this contender, by the medians of this run
 * @property {number} [goal] what `ratio` should reach
 * @property {boolean} [met]
 */

/**
 * @param {Scenario} scenario
 * @param {Map<string, { version: string, measurements: Measurement[] }>} trials by contender
 * @returns {Row[]}
 */
export function summarise(scenario, trials) {
  /** @type {Row[]} */
  const rows = [];
  for (const [contender, { version, measurements }] of trials) {
    const perSecond = measurements.map(({ operations, seconds }) => operations / seconds);
    /** @type {Row} */
    const row = {
      scenario: scenario.name,
      title: scenario.title,
      contender,
      version,
      unit: scenario.unit,
      perSecond,
      median: median(perSecond),
    };
    const flushed = measurements.flatMap(({ operations, flushed }) => (flushed === undefined ? [] : operations / flushed));
    if (flushed.length > 0 && scenario.guarantee.mode === "async") row.flushed = median(flushed);
    const bytes = measurements.flatMap(({ bytes }) => bytes ?? []);
    if (bytes.length > 0) row.bytes = median(bytes);

    const ours = rows[0];
    if (ours !== undefined) {
      row.ratio = ours.median / row.median;
      const goal = scenario.goals.find(({ against }) => against === contender)?.times;
      if (goal !== undefined) {
        row.goal = goal;
        row.met = row.ratio >= (goal === 1 ? NOISE : goal);
      }
    }
    rows.push(row);
  }
  return rows;
}

/**
 * @param {Row[]} rows
 * @param {boolean} judged whether the run was large enough to say that a goal is met
 */
export function markdown(rows, judged) {
  const lines = [
    "| scenario | contender | median | lowest – highest | opslog-native is | goal |",
    "|---|---|---:|---:|---:|---|",
  ];
  let scenario = "";
  for (const row of rows) {
    const cells = [
      row.scenario === scenario ? "" : row.title,
      `${row.contender} ${row.version}`.trim(),
      `${count(row.median)} ${row.unit}s/s`,
      `${count(Math.min(...row.perSecond))} – ${count(Math.max(...row.perSecond))}`,
      row.ratio === undefined ? "" : `${times(row.ratio)} as fast`,
      row.goal === undefined ? "" : `${times(row.goal)}${judged ? (row.met === true ? ", met" : ", **missed**") : ""}`,
    ];
    lines.push(`| ${cells.join(" | ")} |`);
    if (row.flushed !== undefined) {
      const ours = rows.find((other) => other.scenario === row.scenario)?.flushed;
      const ratio = row.ratio === undefined || ours === undefined ? "" : `${times(ours / row.flushed)} as fast`;
      lines.push(`| | … until flushed | ${count(row.flushed)} ${row.unit}s/s | | ${ratio} | |`);
    }
    if (row.bytes !== undefined) lines.push(`| | … memory grown | ${Math.round(row.bytes / 2 ** 20)} MiB | | | |`);
    scenario = row.scenario;
  }
  return lines.join("\n");
}

/** @param {number[]} values */
function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const high = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? NaN) + high) / 2;
}

/** @param {number} value */
function count(value) {
  return Math.round(value).toLocaleString("en-US");
}

/** @param {number} ratio */
function times(ratio) {
  return `${ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(2)}x`;
}
