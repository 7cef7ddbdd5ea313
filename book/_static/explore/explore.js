// The explore page: weighs the parts of a trained model's scores anew. Data: globalThis.EXPLORE, by report/explore.py.
"use strict";

(() => {
  const root = document.getElementById("explore");
  const data = globalThis.EXPLORE;
  if (!root || !data) return;

  const PARTS = ["id", "modality", "price"];
  const NAMES = { id: "ID", modality: "Modality", price: "Price" };
  const CAUSES = {
    id: "it goes with an item of the session (ID)",
    modality: "its attributes please this customer (modality)",
    popularity: "it is popular",
    repeat: "it was in the session before",
  };
  const SHORT = { id: "goes together", modality: "attributes", popularity: "popular", repeat: "again" };
  const money = (item) => data.items.price[item].toFixed(2);
  const title = (item) => data.items.title[item];

  // ------------------------------------------------------------------ data

  function unpacked(text, Kind) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Kind(bytes.buffer); // little-endian, as every browser's machine
  }

  const item = unpacked(data.item, Uint16Array);
  const parts = unpacked(data.parts, Int16Array);
  const met = unpacked(data.met, Uint8Array);
  const often = unpacked(data.often, Uint8Array);
  const like = unpacked(data.like, Uint8Array);
  const counts = unpacked(data.hits, Uint16Array);
  const cases = data.chosen.reduce((sum, one) => sum + one, 0).toLocaleString("en");
  let offset = 0;
  for (const session of data.sessions) {
    session.start = offset;
    offset += session.size;
  }

  // Ties go to the larger plain sum, then to the smaller number: report/explore.py, band().
  function ranking(session, weights) {
    const rows = [];
    for (let row = session.start; row < session.start + session.size; row++) {
      const score = PARTS.reduce((sum, _, k) => sum + weights[k] * data.step[k] * parts[3 * row + k], 0);
      rows.push({ row, item: item[row], score, plain: parts[3 * row] + parts[3 * row + 1] + parts[3 * row + 2] });
    }
    rows.sort((a, b) => b.score - a.score || b.plain - a.plain || a.item - b.item);
    return rows.slice(0, data.top);
  }

  // ---------------------------------------------------------- explanations
  // The two templates of evaluation/explanations.py; tests/browser compares the texts.

  const words = (text) => new Set((text.toLowerCase().match(/\p{L}{3,}/gu) || []).filter((w) => !data.stop.includes(w)));

  function together(session, found) {
    if (!met[found.row]) return null;
    const count = often[found.row];
    const cited = title(session.items[met[found.row] - 1]);
    const times = count === 1 ? "once" : `${count} times`;
    return `“${title(found.item)}” was chosen together with “${cited}” of this session ${times}.`;
  }

  function resembles(session, found) {
    const name = `“${title(found.item)}”`;
    if (session.items.includes(found.item)) return `${name} is in this session already.`;
    const other = session.items[like[found.row] - 1];
    const shared = [];
    const brand = data.items.brands[data.items.brand[other]];
    if (brand && data.items.brand[other] === data.items.brand[found.item]) shared.push(`the brand ${brand}`);
    const [one, two] = [other, found.item].map((i) => data.items.paths[data.items.path[i]]);
    const path = [];
    for (let level = 0; level < Math.min(one.length, two.length) && one[level] === two[level]; level++) path.push(one[level]);
    if (path.length) shared.push(`the category ${path.join(" > ")}`);
    const own = words(title(found.item));
    const common = [...words(title(other))].filter((word) => own.has(word)).sort();
    if (common.length) shared.push(`the words ${common.join(", ")}`);
    if (!shared.length) return `${name} resembles this session in content, but shares no attribute that has a name.`;
    return `${name} resembles “${title(other)}” of this session: ${shared.join("; ")}.`;
  }

  // --------------------------------------------------------------- drawing

  const SVG = "http://www.w3.org/2000/svg";
  const sheet = data.sprites;

  function make(kind, attributes = {}, ...children) {
    const node = document.createElement(kind);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  function draw(kind, attributes, ...children) {
    const node = document.createElementNS(SVG, kind);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  const PATTERNS = {
    striped: [11, [["rect", { x: 0, width: 4, height: 11 }]]],
    dotted: [12.5, [["circle", { cx: 6.25, cy: 6.25, r: 3.4 }]]],
    checked: [28, [["rect", { width: 14, height: 14 }], ["rect", { x: 14, y: 14, width: 14, height: 14 }]]],
    wavy: [25, [["path", { d: "M0 6Q6 0 12.5 6T25 6V11Q19 17 12.5 11T0 11Z" }]]],
    starred: [17, [["path", { d: "M8.5 4L13 8.5L8.5 13L4 8.5Z" }]]],
  };
  const defs = draw("defs", {});
  const patterns = new Set();

  function accent(colour) {
    const rgb = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    const light = (rgb[0] + rgb[1] + rgb[2]) / 3 > 150;
    return `rgb(${rgb.map((c) => Math.round(light ? c * 0.62 : c + (255 - c) * 0.58)).join(" ")})`;
  }

  function pattern(name, colour) {
    const id = `explore-${name}-${colour.slice(1)}`;
    if (!patterns.has(id)) {
      const [size, forms] = PATTERNS[name];
      const drawn = forms.map(([kind, attributes]) => draw(kind, { ...attributes, fill: accent(colour) }));
      defs.append(draw("pattern", { id, width: size, height: size, patternUnits: "userSpaceOnUse" }, ...drawn));
      patterns.add(id);
    }
    return `url(#${id})`;
  }

  function badge(brand) {
    const corners = [3, 4, 5, 6, 8, 0][Math.floor(brand / 4)];
    const ink = ["#1c2026", "#b02e2e", "#245494", "#2a764a"][brand % 4];
    const [x, y, r] = [86.5, 86.5, 7.2];
    const disc = draw("circle", { cx: x, cy: y, r: 10.4, fill: "#fcfcfa", stroke: ink });
    if (!corners) return [disc, draw("circle", { cx: x, cy: y, r: 5, fill: ink })];
    const turn = (n) => ((n + (corners % 2 ? 0 : 0.5)) / corners) * 2 * Math.PI;
    const points = Array.from({ length: corners }, (_, n) => [x + r * Math.sin(turn(n)), y - r * Math.cos(turn(n))]);
    return [disc, draw("polygon", { points: points.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" "), fill: ink })];
  }

  function sprite(number) {
    const codes = data.items.picture[number];
    const svg = draw("svg", { viewBox: `0 0 ${sheet.size} ${sheet.size}`, class: "sprite", "aria-hidden": "true" });
    if (!codes) {
      const style = { x: 50, "text-anchor": "middle", "font-size": 17, fill: "#52606d" };
      svg.append(draw("text", { ...style, y: 46 }, "no"), draw("text", { ...style, y: 66 }, "picture"));
      return svg;
    }
    const [kind, colour, motif, brand] = codes;
    const base = colour < 0 ? sheet.unknown : sheet.colours[colour];
    const name = sheet.patterns[motif];
    for (const [what, d] of kind < 0 ? sheet.neutral : sheet.shapes[kind]) {
      if (what === "line") svg.append(draw("path", { d, fill: "none", stroke: "#1e2228", "stroke-width": sheet.stroke + 1.4 }));
      if (what === "line") svg.append(draw("path", { d, fill: "none", stroke: base, "stroke-width": sheet.stroke }));
      if (what === "hole") svg.append(draw("path", { d, fill: "var(--tile)" }));
      if (what !== "fill") continue;
      svg.append(draw("path", { d, fill: base, stroke: "#1e2228", "stroke-opacity": 0.55 }));
      if (PATTERNS[name]) svg.append(draw("path", { d, fill: pattern(name, base) }));
    }
    if (brand >= 0) svg.append(...badge(brand));
    return svg;
  }

  // ------------------------------------------------------------------ page

  // The model's own weights add up to 100 on the sliders; only their ratio matters.
  const own = data.weights.map((weight) => Math.round(100 * weight));
  const PRESETS = { "as DIMO weighs them": own, "ID only": [100, 0, 0], "modality only": [0, 100, 0], "price only": [0, 0, 100] };
  const state = { session: 0, weights: [...own], chosen: 0 };

  const select = make("select", { id: "explore-session" });
  for (const cause of data.causes) {
    const group = make("optgroup", { label: `Chosen because ${CAUSES[cause]}` });
    data.sessions.forEach((session, number) => {
      if (data.causes[session.cause] !== cause) return;
      const label = `${session.case}: ${title(session.items.at(-1))}, … (${session.items.length} items)`;
      group.append(make("option", { value: number }, label));
    });
    select.append(group);
  }
  const order = [...select.options].map((option) => Number(option.value));
  state.session = order[0];
  const step = (by) => {
    state.session = order[(order.indexOf(state.session) + by + order.length) % order.length];
    select.value = state.session;
    state.chosen = 0;
    show();
  };
  const button = (label, act, attributes = {}) => {
    const node = make("button", { type: "button", ...attributes }, label);
    node.addEventListener("click", act);
    return node;
  };
  select.addEventListener("change", () => {
    state.session = Number(select.value);
    state.chosen = 0;
    show();
  });

  const path = make("ol", { class: "path", "aria-label": "The session, and what was chosen next" });
  const cause = make("div", { class: "cause" });
  const sliders = PARTS.map((part, k) => {
    const input = make("input", { type: "range", id: `explore-${part}`, min: 0, max: 100, step: 1, value: state.weights[k] });
    const output = make("output", { for: input.id });
    input.addEventListener("input", () => {
      state.weights[k] = Number(input.value);
      state.chosen = 0;
      show();
    });
    return { input, output, row: make("div", { class: "slider", "data-part": part }, make("label", { for: input.id }, NAMES[part]), input, output) };
  });
  const presets = Object.entries(PRESETS).map(([label, weights]) => [
    weights,
    button(label, () => {
      state.weights = [...weights];
      state.chosen = 0;
      show();
    }),
  ]);
  const verdict = make("p", { class: "muted", "aria-live": "polite", id: "explore-verdict" });
  const list = make("ol", { class: "ranking" });
  const hits = make("div", { class: "hits" });
  const hitsNote = make("p", { class: "muted" },
    `All ${cases} test sessions by the true cause of their choice: how often it is among the first ${data.top}, weights rounded to fiftieths.`);

  function panel(heading, ...children) {
    return make("section", { class: "panel" }, ...(heading ? [make("h2", {}, heading)] : []), ...children);
  }

  function showSession(session) {
    const tile = (number, extra, name) =>
      make("li", extra, sprite(number), title(number), make("small", {}, name || `price ${money(number)}`));
    path.replaceChildren(
      ...session.items.map((number) => tile(number, {})),
      tile(session.target, { class: "next" }, `chosen next, price ${money(session.target)}`),
    );
    const name = data.causes[session.cause];
    const bar = make("div", { class: "posterior", "aria-hidden": "true" });
    session.posterior.forEach((share, k) => bar.append(make("i", { "data-cause": data.causes[k], style: `width:${100 * share}%` })));
    const inferred = session.posterior.map((share, k) => `${SHORT[data.causes[k]]} ${Math.round(100 * share)} %`).join(", ");
    cause.replaceChildren(
      make("p", {}, "True cause of the choice: ", make("strong", { "data-cause": name }, CAUSES[name]), "."),
      bar,
      make("p", { class: "muted" }, `At best one could infer: ${inferred}.`),
    );
  }

  function showRanking(session, found) {
    const largest = Math.max(...found.flatMap((one) => PARTS.map((_, k) => Math.abs(state.weights[k] * data.step[k] * parts[3 * one.row + k]))), 1e-9);
    const focused = list.contains(document.activeElement);
    list.replaceChildren(
      ...found.map((one, place) => {
        const shares = make("span", { class: "shares" });
        const said = [];
        PARTS.forEach((part, k) => {
          const value = state.weights[k] * data.step[k] * parts[3 * one.row + k];
          if (!state.weights[k]) return;
          shares.append(make("i", { "data-part": part, class: value < 0 ? "less" : null, style: `width:${(100 * Math.abs(value)) / largest}%` }));
          said.push(`${NAMES[part]} ${(value / 100).toFixed(2)}`);
        });
        shares.title = said.join(", ");
        const name = make("span", { class: "name" }, title(one.item), make("small", {}, `price ${money(one.item)}`));
        const node = button("", () => {
          state.chosen = place;
          show();
          list.querySelectorAll("button")[place].focus();
        }, { "aria-expanded": String(place === state.chosen), "aria-controls": "explore-why" });
        node.append(make("span", { class: "place" }, String(place + 1)), sprite(one.item), name, shares);
        return make("li", { class: one.item === session.target ? "is-target" : null, "data-item": one.item }, node, place === state.chosen ? why(session, one) : null);
      }),
    );
    if (focused) list.querySelectorAll("button")[state.chosen].focus();
    const place = found.findIndex((one) => one.item === session.target) + 1;
    verdict.textContent = place
      ? `The true choice stands at place ${place} of ${data.catalogue.toLocaleString("en")} items.`
      : `The true choice, “${title(session.target)}”, is not among the first ${data.top} of ${data.catalogue.toLocaleString("en")} items.`;
  }

  function why(session, one) {
    const first = together(session, one);
    const line = (part, heading, text, ruled) =>
      make("div", { "data-part": part, class: ruled ? "ruled" : null },
        make("p", {}, make("b", {}, heading), ruled ? make("span", { class: "badge-rule" }, "DIMO’s rule says this") : null),
        make("p", { class: "text" }, text));
    return make("div", { class: "why", id: "explore-why" },
      line("id", "Chosen together", first || "None of the session’s items has it among its most frequent companions.", first !== null),
      line("modality", "Resembles", resembles(session, one), first === null),
    );
  }

  function showHits() {
    // The nearest point of the grid of weights, in its order: report/explore.py, grid().
    const total = state.weights.reduce((sum, weight) => sum + weight, 0);
    const at = state.weights.map((weight) => Math.round((data.grid * weight) / total));
    const first = at[0], second = Math.min(at[1], data.grid - first);
    const point = first * (data.grid + 1) - (first * (first - 1)) / 2 + second;
    hits.replaceChildren();
    data.causes.forEach((name, k) => {
      const [hit, all] = [counts[data.causes.length * point + k], data.chosen[k]];
      const bar = make("span", { class: "bar", "data-part": name, "aria-hidden": "true" }, make("i", { style: `width:${(100 * hit) / all}%` }));
      hits.append(make("span", {}, SHORT[name]), bar, make("span", { class: "count", "data-cause": name }, `${hit} of ${all}`));
    });
  }

  function show() {
    const session = data.sessions[state.session];
    if (!state.weights.some(Boolean)) {
      verdict.textContent = "Nothing has weight: all items are equal. Move a slider.";
      list.replaceChildren();
      hits.replaceChildren();
    } else {
      const found = ranking(session, state.weights);
      showRanking(session, found);
      showHits();
    }
    showSession(session);
    sliders.forEach(({ input, output }, k) => {
      input.value = state.weights[k];
      output.textContent = state.weights[k];
    });
    for (const [weights, node] of presets) {
      node.setAttribute("aria-pressed", String(weights.every((weight, k) => weight === state.weights[k])));
    }
  }

  const points = (value) => (100 * value).toFixed(2);
  const model = data.model;
  const origin = make("p", { class: "muted" },
    `The model: run ${model.record}, trained again; MRR@20 ${points(model.mrr)} on all ${cases} test sessions, ${points(model.published)} in the record.`);

  root.replaceChildren(
    draw("svg", { width: 0, height: 0, style: "position:absolute", "aria-hidden": "true" }, defs),
    panel(null,
      make("div", { class: "pick" }, make("label", { for: select.id }, "Session"), select,
        button("‹", () => step(-1), { "aria-label": "Previous session" }), button("›", () => step(1), { "aria-label": "Next session" })),
      path, cause),
    make("div", { class: "columns" },
      panel(null,
        make("fieldset", {}, make("legend", {}, "What counts"), ...sliders.map(({ row }) => row)),
        make("div", { class: "presets" }, ...presets.map(([, node]) => node))),
      panel("Whom it pleases", hits, hitsNote),
      panel("Recommended next, and why", verdict, list)),
    origin,
  );
  select.value = state.session;
  show();
})();
