// From measurements to medians, ratios and tables.

/** @typedef {import("./scenarios.js").Measurement} Measurement */
/** @typedef {import("./scenarios.js").Scenario} Scenario */
/** @typedef {import("./scenarios.js").Metric} Metric */
/** @typedef {import("./scenarios.js").Goal} Goal */

/**
 * A goal of 1.0x says "no slower"; two equally fast contenders differ by a few per cent from run to run.
 */
export const NOISE = 0.95;

/**
 * One metric of one contender.
 * @typedef {object} Row
 * @property {string} scenario
 * @property {string} metric
 * @property {string} title
 * @property {string} contender
 * @property {string} version
 * @property {string} unit
 * @property {number} size
 * @property {number[]} values every trial
 * @property {number} median
 * @property {number} [ratio] how many times as good ours is, by the medians of this run; not for ours
 * @property {Verdict[]} verdicts of the goals against this contender; for ours, of the absolute ones
 */

/** @typedef {{ goal: string, met: boolean }} Verdict */

/**
 * @param {Scenario} scenario
 * @param {number} size
 * @param {Map<string, { version: string, measurements: Measurement[] }>} trials by contender, ours first
 * @returns {Row[]}
 */
export function summarise(scenario, size, trials) {
  return scenario.metrics.flatMap((metric) => {
    /** @type {Row[]} */
    const rows = [];
    for (const [contender, { version, measurements }] of trials) {
      const values = measurements.map((measurement) => /** @type {number} */ (measurement[metric.name]));
      const own = median(values);
      const ours = rows[0]?.median;
      const title = scenario.title(count(size));
      rows.push({
        scenario: scenario.name,
        metric: metric.name,
        title: metric.title === undefined ? title : `${title}: ${metric.title}`,
        contender,
        version,
        unit: metric.unit,
        size,
        values,
        median: own,
        ...(ours === undefined ? {} : { ratio: advantage(metric, ours, own) }),
        verdicts: metric.goals
          .filter((goal) => ("against" in goal ? goal.against === contender : ours === undefined))
          .map((goal) => judge(metric, goal, ours ?? own, own)),
      });
    }
    return rows;
  });
}

/**
 * How many times as good `ours` is as `theirs`.
 * @param {Pick<Metric, "better">} metric
 * @param {number} ours
 * @param {number} theirs
 */
export function advantage({ better }, ours, theirs) {
  return better === "more" ? ours / theirs : theirs / ours;
}

/**
 * @param {Pick<Metric, "better" | "unit">} metric
 * @param {Goal} goal
 * @param {number} ours
 * @param {number} theirs
 * @returns {Verdict}
 */
export function judge(metric, goal, ours, theirs) {
  if ("times" in goal) {
    const least = goal.times === 1 ? NOISE : goal.times;
    return { goal: times(goal.times), met: advantage(metric, ours, theirs) >= least };
  }
  if ("within" in goal) return { goal: `within ${times(goal.within)}`, met: advantage(metric, theirs, ours) <= goal.within };
  if ("plus" in goal) return { goal: `at most ${amount(goal.plus, metric.unit)} more`, met: ours - theirs <= goal.plus };
  return { goal: `at most ${amount(goal.atMost, metric.unit)}`, met: ours <= goal.atMost };
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
  let last = "";
  for (const row of rows) {
    const key = `${row.scenario} ${row.metric}`;
    const goals = row.verdicts.map(({ goal, met }) => (judged ? `${goal}: ${met ? "met" : "**missed**"}` : goal));
    const cells = [
      key === last ? "" : row.title,
      `${row.contender} ${row.version}`.trim(),
      amount(row.median, row.unit),
      `${figure(Math.min(...row.values))} – ${figure(Math.max(...row.values))}`,
      row.ratio === undefined ? "" : `${times(row.ratio)} as good`,
      goals.join(", "),
    ];
    lines.push(`| ${cells.join(" | ")} |`);
    last = key;
  }
  return lines.join("\n");
}

/** @param {number[]} values */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const high = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? NaN) + high) / 2;
}

/** @param {number} value */
export function count(value) {
  return Math.round(value).toLocaleString("en-US");
}

/** @param {number} value */
function figure(value) {
  return value >= 100 ? count(value) : String(Number(value.toPrecision(3)));
}

/**
 * @param {number} value
 * @param {string} unit
 */
function amount(value, unit) {
  return unit === "x" ? times(value) : `${figure(value)} ${unit}`;
}

/** @param {number} ratio */
export function times(ratio) {
  return `${ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(2)}x`;
}
