"use strict";
// Unpack the data and plotly.js, draw the figures, and redraw them when a control or the theme changes.
(async () => {
  const byId = (id) => document.getElementById(id);
  const COLORS = { // one hue per variant, contrast of at least 3:1 on either page
    light: ["#0072b2", "#c4500a", "#008060", "#b5508a", "#a07000", "#2b93c9", "#7a4b9e", "#666666", "#9c1c1c", "#5b7f00", "#00808a", "#1f2d7a"],
    dark: ["#4aa8ee", "#ff9147", "#34cf9f", "#ec9cc8", "#ecb73a", "#8fd3fa", "#c39be6", "#b0b0b0", "#ff7b74", "#a8cf4a", "#44d0dd", "#93a4ff"],
  };
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const coarse = matchMedia("(pointer: coarse)").matches;

  const unpack = async (id) => {
    const bytes = Uint8Array.from(atob(byId(id).textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };

  let data;
  try {
    data = JSON.parse(await unpack("data"));
    const script = document.createElement("script");
    script.textContent = await unpack("plotly");
    document.head.append(script);
  } catch (error) {
    byId("trouble").textContent = `The figures could not be unpacked (${error.message}); use a browser of 2023 or later. The tables are complete.`;
    byId("trouble").hidden = false;
    return;
  }

  const names = [...new Set(data.curves.map((c) => c.name))];
  const titles = Object.fromEntries(data.tables.flatMap((t) => t.columns.map((c) => [c.key, c.title])).reverse()); // the first table's title wins
  const keys = [...new Set([...names, ...Object.keys(data.cases.dice), ...Object.keys(titles)])];
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const hue = (i) => (isDark() ? COLORS.dark : COLORS.light)[i % COLORS.light.length];
  const color = (key) => hue(keys.indexOf(key));
  const dash = (key) => DASHES[Math.floor(keys.indexOf(key) / COLORS.light.length) % DASHES.length];
  const label = (key) => (titles[key] && ![titles[key], `${titles[key]}, evaluated`].includes(key) ? `${titles[key]} (${key})` : key);
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const signed = (v, digits = 4) => (v > 0 ? "+" : "") + v.toFixed(digits);

  // Names on the y-axis; the figure is as tall as they need, and narrow figures break them in two lines.
  const broken = (title, narrow) => {
    const places = [...title.matchAll(/[ _+]/g)].map((m) => m.index + 1);
    if (!narrow || title.length < 14 || !places.length) return title;
    const at = places.reduce((p, q) => (Math.abs(q - title.length / 2) < Math.abs(p - title.length / 2) ? q : p));
    return `${title.slice(0, at)}<br>${title.slice(at)}`;
  };
  const byName = (id, names, perName) => {
    const narrow = byId(id).clientWidth < 480;
    const texts = names.map((name) => broken(name, narrow));
    const longest = Math.max(...texts.flatMap((text) => text.split("<br>")).map((line) => line.length));
    byId(id).style.height = `${75 + perName * Math.max(2, names.length)}px`;
    return {
      margin: { l: 20 + 7 * longest, r: 15, t: 10, b: 45 },
      yaxis: { tickvals: names.map((_, i) => i), ticktext: texts, range: [names.length - 0.5, -0.5], zeroline: false },
    };
  };

  const draw = (id, traces, layout) => {
    const axis = { gridcolor: variable("--line"), zerolinecolor: variable("--faint"), linecolor: variable("--line") };
    const whole = {
      paper_bgcolor: variable("--page"), plot_bgcolor: variable("--page"),
      font: { color: variable("--text"), family: "system-ui, sans-serif", size: 12 },
      margin: { l: 60, r: 15, t: 15, b: 45 }, dragmode: coarse ? false : "zoom", hovermode: "closest",
      legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, width: root.dataset.printing ? byId(id).clientWidth : undefined, ...layout,
    };
    whole.xaxis = { ...axis, ...layout.xaxis };
    whole.yaxis = { ...axis, ...layout.yaxis };
    const config = { responsive: true, displaylogo: false, displayModeBar: coarse ? false : "hover" };
    // Remove plotly.js's offer to upload a figure: the scores of patients stay in this file.
    return Plotly.react(byId(id), traces, whole, { ...config, showSendToCloud: false, plotlyServerURL: "", modeBarButtonsToRemove: ["select2d", "lasso2d"] });
  };

  // ---- per table: forest plots of differences and effects; Dice of every fold
  const drawForest = (id, rows, floor) => {
    if (!byId(id)) return;
    const tint = { better: variable("--good"), worse: variable("--bad") };
    const ends = rows.flatMap((r) => [r.difference, r.low ?? r.difference, r.high ?? r.difference]);
    const [low, high] = [Math.min(0, ...ends), Math.max(0, ...ends)]; // zero is always visible
    const range = [low - 0.05 * (high - low || 1), high + 0.05 * (high - low || 1)];
    const interval = (r) => (r.low === null ? "" : ` [${signed(r.low)}, ${signed(r.high)}]`);
    const p = (r) => (r.p === null ? "" : `, p ${r.p < 0.001 ? "<0.001" : r.p.toFixed(3)}`);
    draw(id, [{
      type: "scatter", mode: "markers", x: rows.map((r) => r.difference), y: rows.map((_, i) => i),
      error_x: { type: "data", symmetric: false, array: rows.map((r) => (r.high ?? r.difference) - r.difference), arrayminus: rows.map((r) => r.difference - (r.low ?? r.difference)), color: variable("--faint"), thickness: 1.5 },
      marker: { size: 10, color: rows.map((r) => tint[r.verdict] || variable("--faint")), symbol: rows.map((r) => (tint[r.verdict] ? "circle" : "circle-open")) },
      text: rows.map((r) => `${r.title}${r.baseline ? ` vs ${r.baseline}` : ""}<br>${signed(r.difference)}${interval(r)}${p(r)}<br>${r.words}`), hoverinfo: "text",
    }], {
      showlegend: false,
      ...byName(id, rows.map((r) => r.title), 38),
      xaxis: { zeroline: true, zerolinewidth: 2, range, tickformat: "+.4~f", labelalias: { "+0": "0" }, nticks: 6 },
      shapes: floor ? [{ type: "rect", xref: "x", yref: "paper", x0: -floor, x1: floor, y0: 0, y1: 1, fillcolor: variable("--faint"), opacity: 0.15, line: { width: 0 } }] : [],
    });
  };
  const drawDots = (table) => {
    const id = `dots-${table.name}`;
    if (!byId(id)) return;
    const folds = Math.max(...table.columns.map((c) => c.folds.length));
    const place = (i, fold) => i + (fold - (folds - 1) / 2) * (0.6 / folds);
    const ofFold = (scores, fold, name, more) => ({
      type: "scatter", x: scores.map((of) => of?.[fold] ?? null), y: scores.map((_, i) => place(i, fold)), showlegend: false, hoverinfo: "text",
      text: scores.map((of, i) => `${table.columns[i].title}, ${name}: ${of?.[fold]?.toFixed(4)}`), ...more,
    });
    const numbers = [...Array(folds).keys()];
    const paper = numbers.map((fold) => ofFold(table.columns.map((c) => c.paper), fold, `fold ${fold}, paper`, { mode: "markers", marker: { size: 9, symbol: "line-ns-open", color: variable("--faint"), line: { width: 2 } } }));
    const ours = numbers.map((fold) => ofFold(table.columns.map((c) => c.folds), fold, `fold ${fold}`, { mode: "lines+markers", line: { color: variable("--faint"), width: 0.75 }, marker: { size: 9, color: table.columns.map((c) => color(c.key)) } }));
    draw(id, [...paper, ...ours], { ...byName(id, table.columns.map((c) => c.title), 40), xaxis: { tickformat: ".3f", nticks: 6, zeroline: false } });
  };
  const drawTable = (table) => {
    drawForest(`forest-${table.name}`, table.forest, table.noise);
    drawForest(`effects-${table.name}`, table.effects, null);
    drawDots(table);
  };

  // ---- per table: Dice by number of training cases
  const drawSizes = (table) => {
    if (!byId(`sizes-${table.name}`)) return;
    const curves = table.sizes.map((c) => ({
      type: "scatter", mode: "lines+markers", name: c.title, x: c.cases, y: c.dice, line: { color: color(c.key), dash: dash(c.key), width: 2 }, marker: { size: 8 },
      error_y: { type: "data", symmetric: false, array: c.dice.map((v, i) => (c.high[i] ?? v) - v), arrayminus: c.dice.map((v, i) => v - (c.low[i] ?? v)), thickness: 1.5 },
      text: c.fractions.map((f, i) => `${c.title}, data.fraction=${f}<br>${Math.round(c.cases[i])} cases: ${c.dice[i].toFixed(4)}${c.low[i] === null ? "" : ` [${c.low[i].toFixed(4)}, ${c.high[i].toFixed(4)}]`}`), hoverinfo: "text",
    }));
    const sizes = [...new Set(curves.flatMap((c) => c.x).map(Math.round))];
    draw(`sizes-${table.name}`, curves, { showlegend: true, margin: { l: 60, r: 15, t: 30 + 10 * curves.length, b: 45 }, xaxis: { title: { text: "training cases" }, type: "log", tickvals: sizes, ticktext: sizes.map(String) }, yaxis: { title: { text: "mean Dice" } } });
  };

  const option = (select, value, text) => select.add(new Option(text, value));
  const drawCurves = learningCurves({ data, names, byId, option, draw, color, dash, label });

  // ---- case-level comparison
  const withCases = Object.keys(data.cases.dice);
  [["", "mean of the regions"], ...data.regions.map((r, i) => [i, r])].forEach(([value, text]) => option(byId("case-region"), value, text));
  withCases.forEach((key) => ["a", "b"].forEach((side) => option(byId(`case-${side}`), key, label(key))));
  const pair = data.pairs.find(([a, b]) => withCases.includes(a) && withCases.includes(b)) || withCases;
  if (withCases.length) { byId("case-a").value = pair[0]; byId("case-b").value = pair[1] || pair[0]; }
  const fill = (section, rows, tag) => section.replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr");
    line.append(...row.map((text, i) => { const cell = document.createElement(i ? tag : "th"); cell.textContent = text; if (!i || tag === "th") cell.scope = tag === "td" ? "row" : "col"; return cell; }));
    return line;
  }));
  const drawCases = () => {
    const [a, b, region] = ["a", "b", "region"].map((k) => byId(`case-${k}`).value);
    byId("cases").hidden = withCases.length === 0;
    if (!withCases.length) return;
    const value = (key, i) => {
      const all = data.cases.dice[key].map((values) => values[i]);
      if (all.includes(null)) return null;
      return (region === "" ? data.averaged.reduce((s, r) => s + all[r], 0) / data.averaged.length : all[+region]) / 10000;
    };
    const rows = data.cases.ids.map((id, i) => ({ id, a: value(a, i), b: value(b, i), voxels: data.cases.voxels[i] })).filter((r) => r.a !== null && r.b !== null);
    rows.sort((p, q) => Math.abs(q.b - q.a) - Math.abs(p.b - p.a));
    const changed = rows.slice(0, 12);
    const up = rows.filter((r) => r.b > r.a).length, down = rows.filter((r) => r.b < r.a).length;
    byId("case-words").textContent = withCases.length === 1 ? `Only ${label(a)} has been trained: there is no second variant to compare it with.` : rows.length
      ? `${rows.length} cases in both: ${up} higher in ${label(b)}, ${down} lower, ${rows.length - up - down} equal.`
      : "These two have no common cases.";
    const dots = (chosen, more) => ({ type: "scatter", mode: "markers", x: chosen.map((r) => r.a), y: chosen.map((r) => r.b), text: chosen.map((r) => `${r.id}<br>${r.a.toFixed(4)} → ${r.b.toFixed(4)}${r.voxels === null ? "" : `<br>reference ${data.sized_region} ${r.voxels} voxels`}`), hoverinfo: "text", ...more });
    const ends = rows.flatMap((r) => [r.a, r.b]);
    const range = [Math.min(1, ...ends) - 0.02, Math.max(0, ...ends) + 0.02];
    draw("case-plot", [
      { type: "scatter", mode: "lines", x: [0, 1], y: [0, 1], line: { color: variable("--faint"), width: 1, dash: "dot" }, hoverinfo: "skip", showlegend: false },
      dots(rows.slice(12), { name: "cases", marker: { size: 6, color: hue(0), opacity: 0.6 } }),
      dots(changed, { name: "changed most", marker: { size: 10, color: hue(1), symbol: "diamond" } }),
    ], { margin: { l: 60, r: 15, t: 40, b: 45 }, xaxis: { title: { text: `Dice, ${label(a)}` }, range }, yaxis: { title: { text: `Dice, ${label(b)}` }, range } });
    fill(byId("case-table").tHead, [["case", titles[a] || a, titles[b] || b, "Δ", `${data.sized_region} voxels`]], "th");
    fill(byId("case-table").tBodies[0], changed.map((r) => [r.id, r.a.toFixed(4), r.b.toFixed(4), signed(r.b - r.a), r.voxels === null ? "–" : String(r.voxels)]), "td");
    const shown = changed.flatMap((r) => [a, b].filter((key, i, both) => both.indexOf(key) === i).map((key) => [r.id, key, (data.pictures[key] || {})[r.id]])).filter(([, , uri]) => uri);
    byId("case-pictures").replaceChildren(...shown.map(([id, key, uri]) => {
      const figure = document.createElement("figure");
      const image = Object.assign(document.createElement("img"), { src: uri, alt: `${id} as segmented by ${label(key)}` });
      const caption = document.createElement("figcaption");
      caption.textContent = `${id}, ${label(key)}`;
      figure.append(image, caption);
      return figure;
    }));
  };
  ["a", "b", "region"].forEach((k) => byId(`case-${k}`).addEventListener("change", drawCases));

  // ---- reliability diagrams, one per region
  const drawCalibration = () => {
    if (!data.calibration.length) return;
    const where = byId("calibration-voxels").value;
    data.regions.forEach((region, i) => {
      const lines = data.calibration.map((column) => {
        const bins = column.voxels[where][region];
        const filled = bins.counts.map((n, k) => k).filter((k) => bins.counts[k] > 0);
        return {
          type: "scatter", mode: "lines+markers", name: `${label(column.key)}, ECE ${bins.ece === null ? "–" : bins.ece.toFixed(4)}`,
          x: filled.map((k) => bins.confidence[k]), y: filled.map((k) => bins.frequency[k]),
          line: { color: color(column.key), dash: dash(column.key), width: 2 }, marker: { color: color(column.key), size: 7 },
          text: filled.map((k) => `${label(column.key)}<br>probability ${bins.confidence[k].toFixed(3)}, observed ${bins.frequency[k].toFixed(3)}<br>${bins.counts[k].toLocaleString("en")} voxels`), hoverinfo: "text",
        };
      });
      const perfect = { type: "scatter", mode: "lines", x: [0, 1], y: [0, 1], line: { color: variable("--faint"), width: 1, dash: "dot" }, hoverinfo: "skip", showlegend: false };
      draw(`calibration-${i}`, [perfect, ...lines], {
        margin: { l: 60, r: 15, t: 30 + 20 * lines.length, b: 45 }, legend: { orientation: "v", x: 0, y: 1.02, yanchor: "bottom" },
        xaxis: { title: { text: `mean predicted probability, ${region}` }, range: [-0.02, 1.02], zeroline: false },
        yaxis: { title: { text: "observed frequency" }, range: [-0.02, 1.02], zeroline: false },
      });
    });
  };
  if (data.calibration.length) byId("calibration-voxels").addEventListener("change", drawCalibration);

  // ---- theme, print
  const drawAll = () => {
    byId("theme").textContent = isDark() ? "Light" : "Dark";
    byId("theme").setAttribute("aria-pressed", String(isDark()));
    document.querySelectorAll(".swatch").forEach((swatch) => { swatch.style.background = color(swatch.dataset.key); });
    data.tables.forEach(drawTable);
    data.tables.forEach(drawSizes);
    drawCurves();
    drawCases();
    drawCalibration();
  };
  byId("theme").addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; drawAll(); });
  dark.addEventListener("change", drawAll);
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    root.dataset.printing = "yes"; // as wide as paper
    document.querySelectorAll("details").forEach((d) => { d.open = true; });
    drawAll();
  });
  addEventListener("afterprint", () => { delete root.dataset.printing; if (before) root.dataset.theme = before; else delete root.dataset.theme; drawAll(); });
  drawAll();
  root.dataset.drawn = "yes";
})();
