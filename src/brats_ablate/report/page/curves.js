"use strict";
// Learning curves: mean ± SD over folds and single runs, of any metric over epochs, steps or hours.
const learningCurves = ({ data, names, byId, option, draw, color, dash, label }) => {
  const isDice = (metric) => metric.startsWith("dice");
  const OF_EPOCHS = [["loss", "training loss"], ["lr", "learning rate"], ["patches_per_second", "throughput (patches/s)"]];
  [["dice", "mean Dice"], ...data.regions.map((r) => [`dice/${r}`, `Dice ${r}`]), ...OF_EPOCHS.filter(([key]) => data.curves.some((c) => c.training[key].some((v) => v !== null)))].forEach(([value, text]) => option(byId("curve-metric"), value, text));
  [...new Set(data.curves.map((c) => c.fold))].sort((a, b) => a - b).forEach((f) => option(byId("curve-fold"), f, f));
  [...new Set(data.curves.map((c) => c.lr))].sort((a, b) => a - b).forEach((lr) => option(byId("curve-lr"), lr, lr));
  names.forEach((name, i) => {
    const box = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "checkbox", value: name, checked: i < 4 });
    const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
    swatch.dataset.key = name;
    input.addEventListener("change", () => drawCurves());
    box.append(input, swatch, label(name));
    byId("curve-variants").append(box);
  });
  // Points [x, y] of one curve of a run, smoothed by an exponential moving average without the bias of its start.
  const series = (group, metric, axis, smoothing) => {
    let average = 0, weight = 0;
    return (group[metric] || []).map((v, i) => [group[axis][i], v]).filter(([x, v]) => x !== null && v !== null).map(([x, v]) => {
      average = smoothing * average + (1 - smoothing) * (isDice(metric) ? v / 10000 : v);
      weight = smoothing * weight + (1 - smoothing);
      return [x, average / weight];
    });
  };
  const valueAt = (points, x) => {
    const i = points.findIndex((p) => p[0] >= x);
    if (i < 0 || (i === 0 && points[0][0] > x)) return null;
    const [x1, y1] = points[i], [x0, y0] = points[i - 1] || points[i];
    return x1 === x0 ? y1 : y0 + ((y1 - y0) * (x - x0)) / (x1 - x0);
  };
  // Mean and SD over folds, each fold the mean of its runs, where all runs have a value.
  const overFolds = (runs) => {
    const folds = [...new Set(runs.map((r) => r.fold))];
    return [...new Set(runs.flatMap((r) => r.points.map((p) => p[0])))].sort((a, b) => a - b).flatMap((x) => {
      const values = runs.map((r) => [r.fold, valueAt(r.points, x)]);
      if (values.some(([, v]) => v === null)) return [];
      const average = (all) => all.reduce((s, v) => s + v, 0) / all.length;
      const means = folds.map((fold) => average(values.filter(([f]) => f === fold).map(([, v]) => v)));
      const mean = average(means);
      return [{ x, mean, sd: folds.length > 1 ? Math.sqrt(means.reduce((s, v) => s + (v - mean) ** 2, 0) / (folds.length - 1)) : null }];
    });
  };
  const faded = (hex) => `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",")},0.2)`;
  const drawCurves = () => {
    byId("curves").hidden = data.curves.length === 0;
    if (!data.curves.length) return;
    const [metric, axis, fold, lr, kind] = ["metric", "axis", "fold", "lr", "kind"].map((k) => byId(`curve-${k}`).value);
    const smoothing = +byId("curve-smoothing").value;
    const chosen = new Set([...byId("curve-variants").querySelectorAll(":checked")].map((box) => box.value));
    const runs = data.curves.filter((c) => chosen.has(c.name) && (fold === "" || c.fold === +fold) && (lr === "" || c.lr === lr));
    const ofRuns = (group) => runs.map((c) => ({ ...c, points: series(c[group], metric, axis, smoothing) })).filter((c) => c.points.length);
    const single = (c, more) => ({
      type: "scatter", mode: c.points.length < 3 ? "markers" : "lines", x: c.points.map((p) => p[0]), y: c.points.map((p) => p[1]), legendgroup: c.name, showlegend: false,
      text: `${label(c.name)}, fold ${c.fold}, lr ${c.lr}, seed ${c.seed}${c.state === "finished" ? "" : `, ${c.state}`}`, hovertemplate: "%{text}<br>%{x}: %{y:.4~g}<extra></extra>", marker: { color: color(c.name) }, ...more,
    });
    // Of runs that have ended, if there are any: one that has just started would cut the mean off.
    const mean = (all, name, more) => {
      const own = all.filter((c) => c.name === name), ended = own.filter((c) => c.state === "finished");
      const points = overFolds(ended.length ? ended : own);
      const line = { type: "scatter", mode: points.length < 3 ? "lines+markers" : "lines", x: points.map((p) => p.x), legendgroup: name, name: label(name), showlegend: false, ...more };
      const text = points.map((p) => `${label(name)}, mean of ${points.length && new Set((ended.length ? ended : own).map((c) => c.fold)).size} folds<br>${p.mean.toPrecision(4)}${p.sd === null ? "" : ` ± ${p.sd.toPrecision(2)}`}`);
      return { points, line: { ...line, y: points.map((p) => p.mean), text, hoverinfo: "text", line: { color: color(name), dash: dash(name), width: 2.5, ...more?.line } } };
    };
    const validated = ofRuns(isDice(metric) ? "dice" : "training"), interim = isDice(metric) ? ofRuns("interim") : [];
    const traces = [];
    const inLegend = new Set();
    const legend = (key) => !inLegend.has(key) && Boolean(inLegend.add(key));
    for (const name of [...new Set([...validated, ...interim].map((c) => c.name))]) {
      const several = kind !== "runs" && new Set(validated.concat(interim).filter((c) => c.name === name).map((c) => c.fold)).size > 1;
      if (kind !== "mean" || !several) {
        const thin = several ? { opacity: 0.4, line: { color: color(name), dash: dash(name), width: 1 } } : { opacity: 0.85, line: { color: color(name), dash: dash(name), width: 1.5 } };
        validated.filter((c) => c.name === name).forEach((c) => traces.push(single(c, { ...thin, name: label(name), showlegend: !several && legend(name) })));
        if (!several) interim.filter((c) => c.name === name).forEach((c) => traces.push(single(c, { ...thin, mode: "lines", line: { ...thin.line, dash: "dot" }, name: `${label(name)}, interim`, showlegend: legend(`${name}, interim`) })));
      }
      if (!several) continue;
      const { points, line } = mean(validated, name);
      if (points.some((p) => p.sd !== null)) {
        const edge = { type: "scatter", mode: "lines", x: line.x, line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: name };
        traces.push({ ...edge, y: points.map((p) => p.mean - p.sd) }, { ...edge, y: points.map((p) => p.mean + p.sd), fill: "tonexty", fillcolor: faded(color(name)) });
      }
      if (points.length) traces.push({ ...line, showlegend: legend(name) });
      const between = mean(interim, name, { line: { dash: "dot", width: 2 }, name: `${label(name)}, interim` });
      if (between.points.length) traces.push({ ...between.line, showlegend: legend(`${name}, interim`) });
    }
    const last = Math.max(0, ...traces.flatMap((t) => t.x));
    draw("curve-plot", traces, { margin: { l: 60, r: 15, t: 60, b: 45 }, xaxis: { title: { text: byId("curve-axis").selectedOptions[0].text }, rangemode: "tozero", dtick: axis === "epoch" && last <= 12 ? 1 : undefined }, yaxis: { title: { text: byId("curve-metric").selectedOptions[0].text }, exponentformat: "e" } });
    const dotted = interim.length ? " Dotted: interim validation in one pass, not comparable with full validation." : "";
    byId("curve-words").textContent = runs.length ? `${runs.length} of ${data.curves.length} runs.${dotted}` : "No run matches: choose a variant, or another fold or learning rate.";
  };
  ["metric", "axis", "fold", "lr", "kind", "smoothing"].forEach((k) => byId(`curve-${k}`).addEventListener("input", drawCurves));
  return drawCurves;
};
