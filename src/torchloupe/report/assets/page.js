// What the page does: charts, tiles, sorting, the matrix, the map, and following a running training.

const facts = JSON.parse(document.getElementById("facts").textContent);
const SPLITS = ["train", "val", "test"];

function drawCharts(root = document) {
  for (const figure of root.querySelectorAll("figure[data-chart]")) {
    const spec = facts.charts[figure.dataset.chart];
    const isFolded = figure.closest("details:not([open])");
    if (spec && !isFolded && figure.drawn !== spec) {
      figure.drawn = spec;
      drawChart(figure, spec);
    }
  }
}

function className(label) {
  if (label === null) return "?";
  return Array.isArray(label) ? label.map((k) => facts.classes[k]).join(", ") || "none" : facts.classes[label];
}

function tileOf(image) {
  const place = facts.images.tile[image];
  if (place === null) return null;
  const name = facts.images.id[image];
  const tile = make("span", { class: "tile", role: "img", "aria-label": `image ${name}` });
  tile.style.setProperty("--c", place % facts.sprite.columns);
  tile.style.setProperty("--r", Math.floor(place / facts.sprite.columns));
  return tile;
}

function describeImage(image) {
  const { id, label, prediction, confidence, right, split } = facts.images;
  const lines = [make("div", {}, make("bdi", {}, id[image]))];
  lines.push(make("div", {}, "label: ", make("bdi", {}, className(label[image]))));
  if (prediction[image] !== null) {
    const said = make("div", right[image] ? {} : { class: "wrong" }, right[image] ? "right: " : "model: ",
      make("bdi", {}, className(prediction[image])));
    const unsure = facts.threshold !== null && confidence[image] < facts.threshold ? ", unsure" : "";
    if (confidence[image] !== null) said.append(` (${format(confidence[image], "%")}${unsure})`);
    lines.push(said);
  }
  lines.push(make("div", { class: "pale" }, SPLITS[split[image]]));
  return lines;
}

function fillTiles(list, images) {
  for (const image of images) {
    const item = make("li");
    const tile = tileOf(image);
    if (tile) item.append(tile);
    item.append(...describeImage(image));
    list.append(item);
  }
}

const AT_ONCE = 120;

function openImages(title, images, total) {
  const dialog = document.getElementById("images");
  dialog.querySelector("h2").textContent = title;
  const more = dialog.querySelector(".more");
  const list = dialog.querySelector("ul");
  list.replaceChildren();
  let shown = 0;
  const add = () => {
    fillTiles(list, images.slice(shown, shown + AT_ONCE));
    shown = Math.min(images.length, shown + AT_ONCE);
    more.hidden = shown >= images.length;
    const left = total > images.length ? `; the page holds ${images.length} of them` : "";
    dialog.querySelector(".count").textContent = `${shown.toLocaleString("en")} of ${total.toLocaleString("en")} images${left}`;
  };
  more.onclick = add;
  add();
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function has(label, k) {
  return Array.isArray(label) ? label.includes(k) : label === k;
}

function openCell(button) {
  const [row, column, kind] = [Number(button.dataset.row), Number(button.dataset.column), button.dataset.kind];
  const { label, prediction, evaluated, confidence } = facts.images;
  const wanted = {
    cell: (k) => has(label[k], row) && has(prediction[k], column),
    missed: (k) => has(label[k], row) && !has(prediction[k], row),
    extra: (k) => !has(label[k], row) && has(prediction[k], row),
  }[kind];
  const images = label.map((_, k) => k).filter((k) => evaluated[k] && wanted(k));
  images.sort((a, b) => confidence[b] - confidence[a]);
  openImages(button.dataset.title, images, Number(button.dataset.count));
}

function followArrows(table) {
  const rows = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("td")].map((cell) => cell.querySelector("button")));
  const all = rows.flat().filter(Boolean);
  all.forEach((button, k) => { button.tabIndex = k === 0 ? 0 : -1; });
  table.addEventListener("keydown", (event) => {
    const move = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!move || event.target.tagName !== "BUTTON") return;
    event.preventDefault();
    let row = rows.findIndex((cells) => cells.includes(event.target));
    let column = rows[row].indexOf(event.target);
    do { row += move[0]; column += move[1]; } while (rows[row] && column in rows[row] && !rows[row][column]);
    const next = rows[row] && rows[row][column];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

function sortBy(button) {
  const title = button.closest("th");
  const table = title.closest("table");
  const isUp = title.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  title.setAttribute("aria-sort", isUp ? "descending" : "ascending");
  const column = title.cellIndex;
  const valueOf = (row) => {
    const { value } = row.cells[column].dataset;
    return value === undefined ? row.cells[column].textContent.trim() : Number(value);
  };
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const [x, y] = [valueOf(a), valueOf(b)];
    const order = typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true });
    return isUp ? -order : order;
  });
  table.tBodies[0].append(...rows);
}

function drawMap(figure) {
  const map = facts.map;
  if (!map) return;
  const holder = make("div", { class: "plot" });
  figure.querySelector(".plot").replaceWith(holder);
  figure.querySelector(".legend-holder")?.remove();
  const isByClass = () => figure.querySelector("input[value=class]").checked;
  const spec = { title: figure.querySelector("figcaption").textContent, x: { label: "t-SNE 1" }, y: { label: "t-SNE 2" } };
  const box = frame(holder, spec, range(map.x, {}), range(map.y, {}), { width: widthOf(holder, 900), height: 560, left: 44, top: 26 });
  const { svg, x, y } = box;
  const links = draw(svg, "g", { stroke: "var(--pale)", "stroke-width": 1.5 });
  for (const [a, b] of map.links) draw(links, "line", { x1: x(map.x[a]), y1: y(map.y[a]), x2: x(map.x[b]), y2: y(map.y[b]) });
  const points = draw(svg, "g");
  const legend = make("div", { class: "legend-holder" });
  figure.append(legend);
  const paint = () => {
    points.replaceChildren();
    map.image.forEach((image, k) => {
      const label = facts.images.label[image];
      const isRight = facts.images.right[image];
      const first = Array.isArray(label) ? label[0] ?? 0 : label;
      const colour = isByClass() ? colourOf(first) : isRight ? "var(--s0)" : "var(--s5)";
      const [px, py] = [x(map.x[k]), y(map.y[k])];
      if (isRight || isByClass()) draw(points, "circle", { cx: px, cy: py, r: 3.2, fill: colour, "fill-opacity": 0.75 });
      else draw(points, "path", { d: `M${px - 4} ${py - 4}l8 8m0-8l-8 8`, stroke: colour, "stroke-width": 2 });
    });
    legend.replaceChildren();
    const used = [...new Set(map.image.map((image) => facts.images.label[image]).map((label) => (Array.isArray(label) ? label[0] ?? 0 : label)))].sort((a, b) => a - b);
    addLegend(legend, isByClass() ? used.slice(0, 24).map((k) => [facts.classes[k], colourOf(k)]) : [["right", "var(--s0)"], ["wrong (a cross)", "var(--s5)"]]);
    if (isByClass() && used.length > 24) legend.append(make("p", { class: "pale" }, `and ${used.length - 24} more classes`));
  };
  const ring = draw(svg, "circle", { r: 7, fill: "none", stroke: "var(--ink)", "stroke-width": 2, visibility: "hidden" });
  const tip = addTip(holder);
  let at = -1;
  const show = (k) => {
    at = k;
    ring.setAttribute("cx", x(map.x[k]));
    ring.setAttribute("cy", y(map.y[k]));
    ring.setAttribute("visibility", "visible");
    const tile = tileOf(map.image[k]);
    tip.replaceChildren(...(tile ? [tile] : []), ...describeImage(map.image[k]));
    placeTip(holder, tip, box, x(map.x[k]), y(map.y[k]));
  };
  const nearest = (px, py, pick) => map.x.reduce((best, _, k) => {
    const distance = (x(map.x[k]) - px) ** 2 + (y(map.y[k]) - py) ** 2;
    return pick(k) && distance < best[1] ? [k, distance] : best;
  }, [-1, Infinity]);
  let isByKey = false; // then a page that scrolls under a resting pointer hides nothing
  svg.addEventListener("pointermove", (event) => {
    if (isByKey && !event.movementX && !event.movementY) return;
    isByKey = false;
    const bounds = svg.getBoundingClientRect();
    const scale = box.width / bounds.width;
    const [k, distance] = nearest((event.clientX - bounds.left) * scale, (event.clientY - bounds.top) * scale, () => true);
    if (k >= 0 && distance < 400) show(k);
    else hide();
  });
  const hide = () => { tip.hidden = true; ring.setAttribute("visibility", "hidden"); };
  svg.addEventListener("pointerleave", () => { if (!isByKey) hide(); });
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" && at >= 0) openImages(facts.images.id[map.image[at]], [map.image[at]], 1);
    if (!move) return;
    event.preventDefault();
    isByKey = true;
    if (at < 0) { show(0); return; }
    const [px, py] = [x(map.x[at]), y(map.y[at])];
    const ahead = (k) => k !== at && (x(map.x[k]) - px) * move[0] + (y(map.y[k]) - py) * move[1] > 0.5;
    const [k] = nearest(px, py, ahead);
    show(k >= 0 ? k : at); // at the edge the one that is there
  });
  svg.addEventListener("click", () => {
    if (at >= 0 && !tip.hidden) openImages(facts.images.id[map.image[at]], [map.image[at]], 1);
  });
  for (const input of figure.querySelectorAll("input")) input.onchange = paint;
  paint();
}

function followRun() {
  const state = document.getElementById("state");
  const say = (text) => { state.querySelector(".words").textContent = text; };
  let failures = 0;
  const ask = async () => {
    try {
      const answer = await fetch("facts.json", { cache: "no-store" });
      const found = await answer.json();
      failures = 0;
      if (found.is_complete) { location.reload(); return; }
      facts.charts = { ...facts.charts, ...found.charts };
      drawCharts();
      say(found.words);
      state.querySelector("progress").value = found.fraction;
      if (found.has_ended) return;
    } catch {
      failures += 1;
      say("the server of this page has ended; what is shown is the last that it said");
      if (failures > 3) return;
    }
    setTimeout(ask, 1000);
  };
  ask();
}

// Printing draws the whole sprite once for each box. Before it boxes get a picture of their own.
function cutOnPrint(kind) {
  const first = document.querySelector(`.${kind}`);
  if (!first) return;
  const sheet = new Image();
  sheet.src = getComputedStyle(first).backgroundImage.slice(5, -2);
  addEventListener("beforeprint", () => {
    if (!sheet.complete || !sheet.naturalWidth) return;
    for (const box of document.querySelectorAll(`.${kind}`)) {
      if (box.dataset.cut || !box.getClientRects().length) continue;
      const style = getComputedStyle(box);
      const [across, down] = style.backgroundSize.split(" ").map(parseFloat);
      const width = sheet.naturalWidth / Math.round(across / parseFloat(style.width));
      const height = sheet.naturalHeight / Math.round(down / parseFloat(style.height));
      const canvas = Object.assign(make("canvas", {}), { width, height });
      const [column, row] = ["--c", "--r"].map((name) => Number(style.getPropertyValue(name)));
      canvas.getContext("2d").drawImage(sheet, column * width, row * height, width, height, 0, 0, width, height);
      Object.assign(box.style, { backgroundImage: `url(${canvas.toDataURL()})`, backgroundSize: "100% 100%", backgroundPosition: "0 0" });
      box.dataset.cut = "true";
    }
  });
}
cutOnPrint("tile");
cutOnPrint("shot");

drawCharts();
for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", () => drawCharts(fold));
for (const table of document.querySelectorAll("table.matrix")) followArrows(table);
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.kind) openCell(button);
  else if (button.closest("th") && button.closest("table.sortable")) sortBy(button);
  else if (button.classList.contains("close")) button.closest("dialog").close();
});
for (const figure of document.querySelectorAll("figure.map")) drawMap(figure);

let drawnWidth = innerWidth;
let waiting = 0;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    if (innerWidth === drawnWidth) return;
    drawnWidth = innerWidth;
    for (const figure of document.querySelectorAll("figure[data-chart]")) figure.drawn = null;
    drawCharts();
    for (const figure of document.querySelectorAll("figure.map")) drawMap(figure);
  }, 200);
});
if (facts.is_live) followRun();
