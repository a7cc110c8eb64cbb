"use strict";
// Charts as SVG, drawn from the data in the page. Each has axes with units, and shows its values
// on hover, on focus with the arrow keys, and as a table.

const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(parent, tag, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== "") element.textContent = text;
  parent.append(element);
  return element;
}

function colourOf(number) {
  return number < 8 ? `var(--s${number})` : `hsl(${(number * 137.5) % 360} 55% 50%)`;
}

function format(value, unit) {
  if (value === null || value === undefined) return "-";
  if (unit === "%") {
    const text = (100 * value).toFixed(1);
    return value < 1 && text === "100.0" ? "99.9\u00a0%" : `${text}\u00a0%`;
  }
  if (unit === "B") {
    const power = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(value, 1)) / 3)));
    return `${Number((value / 1000 ** power).toPrecision(3))} ${["B", "kB", "MB", "GB", "TB"][power]}`;
  }
  const size = Math.abs(value);
  const plain = size !== 0 && (size < 1e-3 || size >= 1e7)
    ? value.toExponential(2)
    : Number(value.toPrecision(size >= 1000 ? 6 : 4)).toLocaleString("en");
  return unit ? `${plain} ${unit}` : plain;
}

function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) || 10);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) found.push(k * step);
  return found;
}

function range(values, { from, to, room = 0.05 }) {
  const known = values.filter((value) => value !== null && value !== undefined);
  let low = from ?? Math.min(...known);
  let high = to ?? Math.max(...known);
  if (!known.length && (from === undefined || to === undefined)) [low, high] = [0, 1];
  if (high <= low) [low, high] = [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
  const extra = (high - low) * room;
  return [from ?? low - extra, to ?? high + extra];
}

// The width of a chart in pixels, so that its letters have one size on every screen.
function widthOf(holder, most) {
  return Math.max(240, Math.min(most, holder.clientWidth || most));
}

// A frame with both axes; x and y turn values into places.
function frame(holder, spec, xs, ys, size) {
  const { width, height, left = 58, right = 14, top = 10, bottom = 40 } = size;
  const svg = draw(holder, "svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, role: "img", tabindex: "0", "aria-label": spec.title,
  });
  const x = (value) => left + ((value - xs[0]) / (xs[1] - xs[0])) * (width - left - right);
  const y = (value) => height - bottom - ((value - ys[0]) / (ys[1] - ys[0])) * (height - top - bottom);
  const sound = (unit) => (value) => unit !== "%" || (value > -1e-9 && value < 1 + 1e-9); // no 110 %
  for (const value of ticks(...xs, size.xTicks || 6).filter(sound(spec.x.unit))) {
    draw(svg, "line", { class: "axis", x1: x(value), x2: x(value), y1: top, y2: height - bottom });
    draw(svg, "text", { x: x(value), y: height - bottom + 16, "text-anchor": "middle" }, format(value, spec.x.unit));
  }
  for (const value of size.yTicks === 0 ? [] : ticks(...ys, size.yTicks || 5).filter(sound(spec.y.unit))) {
    draw(svg, "line", { class: "axis", x1: left, x2: width - right, y1: y(value), y2: y(value) });
    draw(svg, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value, spec.y.unit));
  }
  draw(svg, "text", { x: width - right, y: height - 5, "text-anchor": "end" }, spec.x.label);
  if (spec.y.label && !spec.title.includes(spec.y.label)) draw(svg, "text", { x: 2, y: 11 }, spec.y.label);
  return { svg, x, y, left, right, top, bottom, width, height };
}

function addTip(holder) {
  const tip = make("div", { class: "tip" });
  tip.hidden = true;
  holder.append(tip);
  return tip;
}

// Places the tip beside a point of the SVG, inside the holder.
function placeTip(holder, tip, box, px, py) {
  tip.hidden = false;
  const scale = box.svg.clientWidth / box.width;
  const isRight = px * scale > holder.clientWidth / 2;
  tip.style.left = isRight ? "auto" : `${px * scale + 14}px`;
  tip.style.right = isRight ? `${holder.clientWidth - px * scale + 14}px` : "auto";
  tip.style.top = `${Math.max(0, py * scale - 10)}px`;
}

function addLegend(figure, names) {
  const list = make("ul", { class: "legend" });
  for (const [name, colour] of names) {
    const mark = make("i");
    mark.style.background = colour;
    list.append(make("li", {}, mark, make("bdi", {}, name)));
  }
  figure.append(list);
}

// The numbers of a chart as a table that is made when it is opened.
function addValues(figure, head, rows) {
  const table = make("details", { class: "values" }, make("summary", {}, "values"));
  table.addEventListener("toggle", () => {
    if (!table.open || table.querySelector("table")) return;
    const body = make("tbody");
    for (const row of rows()) {
      body.append(make("tr", {}, ...row.map((cell) => make("td", { class: "n" }, make("bdi", {}, cell)))));
    }
    const titles = head.map((title) => make("th", { scope: "col", class: "n" }, make("bdi", {}, title)));
    table.append(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "values of the chart" },
      make("table", {}, make("thead", {}, make("tr", {}, ...titles)), body)));
  });
  figure.append(table);
}

function drawLines(figure, holder, spec) {
  const small = spec.small;
  const xs = range(spec.series.flatMap((line) => line.x), { from: spec.x.from, to: spec.x.to, room: 0 });
  const ys = range(spec.series.flatMap((line) => line.y), { from: spec.y.from, to: spec.y.to });
  const box = frame(holder, spec, xs, ys, small
    ? { width: widthOf(holder, 400), height: 150, left: 52, bottom: 34, top: 10, xTicks: 3, yTicks: 3 }
    : { width: widthOf(holder, 620), height: 290, top: 26 });
  const { svg, x, y } = box;
  if (spec.diagonal) draw(svg, "line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: "cursor" });
  for (const [number, line] of spec.series.entries()) {
    const colour = colourOf(line.colour ?? number);
    let path = "";
    let isOpen = false;
    line.x.forEach((at, k) => {
      const value = line.y[k];
      if (value === null) { isOpen = false; return; }
      path += `${isOpen ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      isOpen = true;
    });
    if (!line.dots) draw(svg, "path", { d: path, fill: "none", stroke: colour, "stroke-width": 2, "stroke-linejoin": "round" });
    if (line.dots || line.x.length < 40) {
      line.x.forEach((at, k) => {
        if (line.y[k] === null) return;
        if (line.low) draw(svg, "line", { x1: x(at), x2: x(at), y1: y(line.low[k]), y2: y(line.high[k]), stroke: colour, "stroke-width": 1.5 });
        draw(svg, "circle", { cx: x(at), cy: y(line.y[k]), r: line.dots ? 4 : 2.5, fill: colour });
      });
    }
  }
  for (const mark of spec.marks || []) {
    draw(svg, "line", { class: "cursor", x1: x(mark.x), x2: x(mark.x), y1: box.top, y2: box.height - box.bottom });
    draw(svg, "text", { x: x(mark.x) + (x(mark.x) > box.width * 0.8 ? -4 : 4), y: box.top + 12, "text-anchor": x(mark.x) > box.width * 0.8 ? "end" : "start" }, mark.label);
  }
  const cursor = draw(svg, "line", { class: "cursor", y1: box.top, y2: box.height - box.bottom, visibility: "hidden" });
  const tip = addTip(holder);
  const places = [...new Set(spec.series.flatMap((line) => line.x))].sort((a, b) => a - b);
  let place = -1;
  const showAt = (index) => {
    if (!places.length) return;
    place = Math.max(0, Math.min(places.length - 1, index));
    const at = places[place];
    tip.replaceChildren(make("b", {}, `${spec.x.label} ${format(at, spec.x.unit)}`));
    for (const line of spec.series) {
      const k = line.x.reduce((best, value, n) => (line.y[n] !== null && (best < 0 || Math.abs(value - at) < Math.abs(line.x[best] - at)) ? n : best), -1);
      if (k < 0) continue;
      const note = line.notes ? ` (${line.notes[k]})` : "";
      tip.append(make("div", {}, make("bdi", {}, line.name), `: ${format(line.y[k], spec.y.unit)}${note}`));
    }
    for (const name of ["x1", "x2"]) cursor.setAttribute(name, x(at));
    cursor.setAttribute("visibility", "visible");
    placeTip(holder, tip, box, x(at), box.top + 20);
  };
  const hide = () => { tip.hidden = true; cursor.setAttribute("visibility", "hidden"); };
  svg.addEventListener("pointermove", (event) => {
    const bounds = svg.getBoundingClientRect();
    const at = ((event.clientX - bounds.left) / bounds.width) * box.width;
    showAt(places.reduce((best, value, k) => (Math.abs(x(value) - at) < Math.abs(x(places[best]) - at) ? k : best), 0));
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); showAt(place + step); }
  });
  if (!small && spec.series.length > 1) addLegend(figure, spec.series.map((line, k) => [line.name, colourOf(line.colour ?? k)]));
  if (!small) {
    addValues(figure, ["series", spec.x.label, spec.y.label || "value"], () => spec.series.flatMap((line) =>
      line.x.map((at, k) => [line.name, format(at, spec.x.unit), format(line.y[k], spec.y.unit)])));
  }
}

function labelOf(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

function spellRow(row) {
  return row.group ? `${row.group}: ${row.name}` : row.name;
}

function textOf(row, spec) {
  if (row.parts) return row.parts.map((part, k) => `${spec.names[k]} ${format(part)}`).join(", ");
  const [value, low, high] = [row.value, row.low, row.high].map((number) => format(number, spec.x.unit));
  return `${value} (95 % interval ${low} to ${high}), ${row.count.toLocaleString("en")} images`;
}

// Rows of bars (parts side by side), or of a dot with its interval below its name.
function drawRows(figure, holder, spec) {
  const isBars = spec.kind === "bars";
  const width = widthOf(holder, 720);
  const left = isBars ? Math.min(170, width * 0.32) : 12;
  const values = spec.rows.flatMap((row) => (isBars ? [row.parts.reduce((a, b) => a + b, 0)] : [row.low, row.high]));
  const xs = isBars ? range(values, { from: 0 }) : range(values, { to: Math.min(1, Math.max(...values) + 0.02) });
  if (!isBars && xs[0] < 0) xs[0] = 0;
  const step = isBars ? 22 : 40;
  const height = spec.rows.length * step + 56;
  const box = frame(holder, spec, xs, [0, 1], { width, height, left, yTicks: 0, top: 8, right: 24, xTicks: width < 420 ? 3 : 6 });
  const { svg, x } = box;
  const tip = addTip(holder);
  const shows = spec.rows.map((row, number) => {
    const middle = box.top + step * (number + (isBars ? 0.5 : 0.7));
    const group = draw(svg, "g");
    draw(group, "rect", { x: 0, y: box.top + step * number, width, height: step, fill: "transparent" });
    const label = isBars
      ? draw(group, "text", { x: left - 8, y: middle + 4, "text-anchor": "end" })
      : draw(group, "text", { x: left, y: middle - 11 });
    label.style.unicodeBidi = "isolate";
    label.textContent = labelOf(spellRow(row), Math.floor((isBars ? left : width) / 7.5));
    if (isBars) {
      let from = 0;
      row.parts.forEach((part, k) => {
        if (part) draw(group, "rect", { x: x(from), y: middle - 7, width: Math.max(1, x(from + part) - x(from)), height: 14, fill: colourOf(k) });
        from += part;
      });
    } else {
      draw(group, "line", { x1: x(row.low), x2: x(row.high), y1: middle, y2: middle, stroke: "var(--s0)", "stroke-width": 2 });
      draw(group, "circle", { cx: x(row.value), cy: middle, r: 5, fill: "var(--s0)" });
    }
    const show = () => {
      tip.replaceChildren(make("b", {}, make("bdi", {}, spellRow(row))), make("div", {}, textOf(row, spec)));
      placeTip(holder, tip, box, x(isBars ? 0 : row.value), middle);
    };
    group.addEventListener("pointerenter", show);
    group.addEventListener("pointerleave", () => { tip.hidden = true; });
    return show;
  });
  if (!isBars && spec.line !== undefined) {
    draw(svg, "line", { class: "cursor", x1: x(spec.line), x2: x(spec.line), y1: box.top, y2: height - box.bottom });
  }
  let place = -1;
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    place = Math.max(0, Math.min(spec.rows.length - 1, place + move));
    shows[place]();
  });
  svg.addEventListener("blur", () => { tip.hidden = true; });
  if (isBars) addLegend(figure, spec.names.map((name, k) => [name, colourOf(k)]));
  addValues(figure, ["", "values"], () => spec.rows.map((row) => [spellRow(row), textOf(row, spec)]));
}

// Parallel coordinates: an axis for each setting and one for the result, a line for each trial.
function drawParallel(figure, holder, spec) {
  const width = widthOf(holder, 1100);
  const [height, top, bottom, left, right] = [340, 34, 26, 16, 64];
  const svg = draw(holder, "svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, role: "img", tabindex: "0", "aria-label": spec.title,
  });
  const last = spec.axes.length - 1;
  const x = (k) => left + (k / last) * (width - left - right);
  const y = (place) => height - bottom - place * (height - top - bottom);
  const lines = spec.lines.map((line) => draw(svg, "path", {
    d: line.at.map((place, k) => `${k ? "L" : "M"}${x(k).toFixed(1)} ${y(place).toFixed(1)}`).join(""),
    fill: "none", stroke: "var(--s0)", "stroke-width": 1.5, "stroke-opacity": 0.12 + 0.8 * line.shade ** 2,
    "stroke-dasharray": line.isCut ? "4 4" : "none",
  }));
  const room = Math.max(4, Math.floor((width - left - right) / last / 7.5));
  spec.axes.forEach((axis, k) => {
    draw(svg, "line", { x1: x(k), x2: x(k), y1: top, y2: height - bottom, stroke: "var(--ink)" });
    draw(svg, "text", { x: x(k), y: k % 2 ? 12 : 26, "text-anchor": k === last ? "end" : k ? "middle" : "start" }, labelOf(axis.label, 2 * room));
    for (const [place, text] of axis.marks) {
      const halo = { "paint-order": "stroke", stroke: "var(--paper)", "stroke-width": 4 }; // lines cross it
      const mark = draw(svg, "text", { x: x(k) + 5, y: y(place) + (place > 0.5 ? 12 : -4), ...halo }, labelOf(text, room));
      mark.style.unicodeBidi = "isolate";
    }
  });
  const box = { svg, width, height };
  const tip = addTip(holder);
  let at = -1;
  const hide = () => {
    if (at >= 0) { lines[at].setAttribute("stroke", "var(--s0)"); lines[at].setAttribute("stroke-width", 1.5); }
    at = -1;
    tip.hidden = true;
  };
  const show = (k, px) => {
    hide();
    at = Math.max(0, Math.min(lines.length - 1, k));
    lines[at].setAttribute("stroke", "var(--s1)");
    lines[at].setAttribute("stroke-width", 3);
    const line = spec.lines[at];
    tip.replaceChildren(make("b", {}, line.isCut ? `${line.name}, cut short` : line.name),
      ...spec.axes.map((axis, n) => make("div", {}, `${axis.label}: `, make("bdi", {}, line.texts[n]))));
    placeTip(holder, tip, box, px, top);
  };
  svg.addEventListener("pointermove", (event) => {
    const bounds = svg.getBoundingClientRect();
    const scale = width / bounds.width;
    const [px, py] = [(event.clientX - bounds.left) * scale, (event.clientY - bounds.top) * scale];
    const step = Math.max(0, Math.min(last - 1, Math.floor(((px - left) / (width - left - right)) * last)));
    const share = Math.max(0, Math.min(1, (px - x(step)) / (x(step + 1) - x(step))));
    const away = spec.lines.map((line) => Math.abs(y(line.at[step] * (1 - share) + line.at[step + 1] * share) - py));
    const nearest = away.indexOf(Math.min(...away));
    if (nearest >= 0 && away[nearest] < 30) show(nearest, px);
    else hide();
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    show(at < 0 ? 0 : at + move, x(last));
  });
  addValues(figure, ["trial", ...spec.axes.map((axis) => axis.label)], () => spec.lines.map((line) => [line.name, ...line.texts]));
}

function drawChart(figure, spec) {
  for (const old of figure.querySelectorAll(".plot, .legend, .values")) old.remove();
  const holder = make("div", { class: "plot" });
  figure.append(holder);
  ({ lines: drawLines, parallel: drawParallel }[spec.kind] || drawRows)(figure, holder, spec);
}
