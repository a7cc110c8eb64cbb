// Opens pages in headless Chromium and tells as JSON what happened:
// node visit.cjs CHROMIUM full:PAGE brief:PAGE... Each page is opened at 1280 and at 390 pixels, in
// full also in the dark and printed; the parts that are there are used.

const fs = require("node:fs");
const { chromium } = require("playwright-core");

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const AXE = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const LOOKS = {
  light: { viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  dark: { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: "light" },
};

async function open(browser, path, look, told) {
  const page = await browser.newPage(LOOKS[look]);
  page.on("pageerror", (error) => told.errors.push(`${look}: ${error.message}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) told.errors.push(`${look}: ${message.text()}`);
  });
  page.on("dialog", async (dialog) => { told.errors.push(`${look}: dialog ${dialog.message()}`); await dialog.dismiss(); });
  page.on("request", (request) => {
    if (!/^(file|data):/.test(request.url())) told.requests.push(request.url());
  });
  await page.goto(`file://${path}`);
  return page;
}

async function findFlaws(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => axe.run({ exclude: [["figure.map svg g"]] }, { resultTypes: ["violations"] }));
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary.slice(0, 200)}`).join(" | ")}`);
}

async function openCell(page, isFull) {
  const cell = page.locator("table.matrix td button, button.link[data-kind]").first();
  if (!(await cell.count())) return null;
  const wanted = Number(await cell.getAttribute("data-count"));
  await cell.click();
  const found = await page.evaluate(() => ({
    isOpen: document.getElementById("images").open,
    shown: document.querySelectorAll("#images li").length,
    tiles: document.querySelectorAll("#images li .tile").length,
    focusInside: document.getElementById("images").contains(document.activeElement),
  }));
  const flaws = isFull ? await findFlaws(page) : [];
  await page.keyboard.press("Escape");
  const isClosed = await page.evaluate(() => !document.getElementById("images").open);
  return { wanted, ...found, isClosed, flaws };
}

async function walkMatrix(page) {
  const first = page.locator("table.matrix td button").first();
  if (!(await first.count())) return null;
  await first.focus();
  const place = () => page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  const before = await place();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowRight");
  const after = await place();
  await page.keyboard.press("Enter");
  const isOpen = await page.evaluate(() => document.getElementById("images").open);
  await page.keyboard.press("Escape");
  const stops = await page.evaluate(() => document.querySelectorAll('table.matrix button[tabindex="0"]').length);
  return { moved: before !== after, isOpen, stops };
}

async function hoverMap(page) {
  const dot = page.locator("figure.map svg circle[fill-opacity]").first();
  if (!(await dot.count())) return null;
  await dot.hover({ force: true });
  const tip = page.locator("figure.map .tip");
  const found = { isShown: await tip.isVisible(), text: await tip.textContent(), tiles: await tip.locator(".tile").count() };
  await page.locator("figure.map input[value=right]").check();
  found.crosses = await page.locator("figure.map svg g path").count();
  await page.mouse.move(1, 1); // a pointer that leaves must not hide what a key shows
  await page.locator("figure.map svg").focus();
  await page.keyboard.press("ArrowRight");
  found.byKey = await tip.isVisible();
  return found;
}

async function hoverChart(page) {
  const chart = page.locator("figure[data-chart] svg").first();
  if (!(await chart.count())) return null;
  await chart.scrollIntoViewIfNeeded();
  const box = await chart.boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 3);
  const charts = await page.evaluate(() => [...document.querySelectorAll("figure[data-chart]")]
    .filter((figure) => !figure.closest("details:not([open])"))
    .map((figure) => ({ key: figure.dataset.chart, label: figure.querySelector("svg")?.getAttribute("aria-label") ?? "",
      words: figure.querySelectorAll("svg text").length })));
  return { tip: await page.locator("figure[data-chart] .tip:visible").count(), charts };
}

async function sortClasses(page) {
  const read = () => page.evaluate(() => [...document.querySelectorAll("table.classes tbody tr")].map((row) => Number(row.cells[3].dataset.value)));
  const title = page.locator("table.classes th button", { hasText: "F1" });
  if (!(await title.count())) return null;
  await title.click();
  const up = await read();
  await title.click();
  const down = await read();
  const state = await page.locator("table.classes th").nth(3).getAttribute("aria-sort");
  return { up, down, state };
}

async function openFolds(page) {
  const folds = page.locator("main details > summary");
  for (const fold of await folds.all()) {
    if (await fold.isVisible()) await fold.click();
  }
  return page.evaluate(() => ({
    count: document.querySelectorAll("main details").length,
    open: document.querySelectorAll("main details[open]").length,
    undrawn: [...document.querySelectorAll("figure[data-chart]")].filter((figure) => !figure.querySelector("svg")).length,
  }));
}

async function use(page, told, isFull) {
  told.tables = await page.locator("main table").count();
  told.sections = await page.evaluate(() => [...document.querySelectorAll("main h2")].map((title) => title.textContent));
  told.text = await page.evaluate(() => document.body.innerText);
  told.chart = await hoverChart(page);
  told.cell = await openCell(page, isFull);
  told.matrix = await walkMatrix(page);
  told.map = await hoverMap(page);
  told.sorted = await sortClasses(page);
  if (isFull) {
    told.pdf = (await page.pdf({ format: "A4" })).length;
    told.cut = await page.evaluate(() => document.querySelectorAll("[data-cut]").length);
  }
  told.folds = await openFolds(page);
}

async function visit(browser, path, isFull, shots) {
  const told = { errors: [], requests: [], flaws: [] };
  for (const look of isFull || shots ? Object.keys(LOOKS) : ["light", "phone"]) {
    const page = await open(browser, path, look, told);
    if (shots) await page.screenshot({ path: `${shots}-${look}.png`, fullPage: true });
    if (look === "phone") told.width = await page.evaluate(() => document.documentElement.scrollWidth);
    else told.flaws.push(...(await findFlaws(page)).map((text) => `${look}: ${text}`));
    if (look === "light") await use(page, told, isFull);
    await page.close();
  }
  return told;
}

(async () => {
  const [executablePath, ...words] = process.argv.slice(2);
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  const told = {};
  for (const word of words) {
    const [, kind, path] = word.match(/^(full|brief):(.*)$/);
    const shots = process.env.SHOTS ? `${process.env.SHOTS}/${path.split("/").slice(-2)[0]}` : "";
    told[path] = await visit(browser, path, kind === "full", shots);
  }
  await browser.close();
  process.stdout.write(JSON.stringify(told));
})().catch((error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
