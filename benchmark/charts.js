// Results as SVG, drawn by Vega-Lite without a browser.

import { rival } from "./rivals.js";

/** @typedef {import("./report.js").Row} Row */

/** Not rivals: nobody is faster than they are at what they leave out. */
const LIMITS = ["floor", "raw", "raw-awaited", "empty"];

/**
 * How many times as good ours is, by scenario and rival, on a logarithmic scale.
 * @param {Row[]} rows
 * @param {string} subtitle
 */
export async function ratioChart(rows, subtitle) {
  const values = rows
    .filter(({ ratio, contender }) => ratio !== undefined && !LIMITS.includes(contender))
    .map(({ title, contender, ratio }) => ({ scenario: title.replaceAll("`", "").replaceAll('"', ""), rival: contender, ratio }));
  const y = { field: "scenario", type: "nominal", sort: null, title: null, axis: { labelLimit: 480, grid: true } };
  const x = {
    field: "ratio",
    type: "quantitative",
    scale: { type: "log" },
    title: "times as fast or small as the rival (1 = equal, logarithmic)",
    axis: { labelExpr: "format(datum.value, '~g') + 'x'", values: [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000] },
  };
  return await render({
    title: { text: "opslog-native against its rivals", subtitle, anchor: "start" },
    data: { values },
    width: 520,
    height: { step: 20 },
    layer: [
      { mark: { type: "rule", color: "#333" }, encoding: { x: { datum: 1, type: "quantitative" } } },
      {
        transform: [{ filter: "datum.rival === 'upstream'" }],
        mark: { type: "rule", strokeWidth: 3, opacity: 0.35 },
        encoding: { y, x, x2: { datum: 1 }, color: { field: "rival", type: "nominal" } },
      },
      {
        mark: { type: "point", filled: true, size: 70, opacity: 1 },
        encoding: { y, x, color: { field: "rival", type: "nominal", title: null, sort: null } },
      },
    ],
  });
}

/**
 * One panel for each metric over the number of records, both axes logarithmic.
 * @param {Row[]} rows
 * @param {string} subtitle
 */
export async function growthChart(rows, subtitle) {
  const metrics = [...new Set(rows.map(({ metric }) => metric))];
  const panels = metrics.map((metric) => {
    const chosen = rows.filter((row) => row.metric === metric);
    const title = chosen[0]?.title.replace(/^[^:]*: /, "").replaceAll("`", "") ?? metric;
    return {
      title,
      width: 250,
      height: 180,
      data: { values: chosen.map(({ size, contender, median }) => ({ size, contender, median })) },
      mark: { type: "line", point: true },
      encoding: {
        x: { field: "size", type: "quantitative", scale: { type: "log" }, title: "records", axis: { format: "~s", values: [1e4, 1e5, 1e6, 5e6] } },
        y: { field: "median", type: "quantitative", scale: { type: "log" }, title: chosen[0]?.unit, axis: { format: "~g", tickCount: 5 } },
        color: { field: "contender", type: "nominal", title: null, sort: null },
      },
    };
  });
  return await render({ title: { text: "Cost by number of records", subtitle, anchor: "start" }, columns: 3, concat: panels });
}

/** @param {object} specification */
async function render(specification) {
  const { module: vega } = await rival("vega");
  const { module: lite } = await rival("vega-lite");
  const { spec } = lite.compile({ background: "white", padding: 10, ...specification });
  /** @type {string} */
  const svg = await new vega.View(vega.parse(spec), { renderer: "none" }).toSVG();
  return `${svg}\n`;
}
