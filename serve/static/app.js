// Follows the server: every two seconds it reads the status, and reloads the figures if another release serves.
// The URL has the whole state of the page, so links, reload and the back button work.

const POLL = 2000; // ms between two requests for the status
const byId = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const charts = {};
let shownRelease = Number(byId("charts").dataset.release);
let skew = 0; // the server's clock minus the browser's, in ms
let requests = 0; // number of requests for figures
let problem = byId("trouble").textContent; // the server's problem, from its status
let loadError = ""; // why the last request for figures failed

function age(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

function tick() {
  for (const element of document.querySelectorAll("[data-since]")) {
    element.textContent = age((Date.now() + skew - Date.parse(element.dataset.since)) / 1000);
  }
}

function showTrouble(text) {
  const line = byId("trouble");
  if (line.textContent !== text) line.textContent = text;
  line.hidden = !text;
}

// Replaces the parts of the page that differ. The charts and the focus stay as they are.
async function load() {
  const request = ++requests;
  const response = await fetch(`/figures${location.search}`);
  if (!response.ok) throw new Error((await response.json()).detail);
  const text = await response.text();
  if (request !== requests) return; // a later request replaces this one
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const element = byId(part.id);
    const busy = part.id === "period" && element.querySelector("form").contains(document.activeElement);
    if (!busy && element.innerHTML !== part.innerHTML) element.innerHTML = part.innerHTML;
    if (part.id === "charts") element.dataset.release = part.dataset.release;
  }
  shownRelease = Number(byId("charts").dataset.release);
  loadError = "";
  await draw();
}

function go(query) {
  history.pushState(null, "", query);
  loadFromUrl();
}

// Loads the figures for the URL. If that fails, the reason stays until a later request succeeds.
function loadFromUrl() {
  load().then(() => showTrouble(problem), (error) => showTrouble(loadError = error.message));
}

function showStatus(status) {
  skew = Date.parse(status.now) - Date.now();
  const run = status.last_run;
  if (run) {
    const element = byId("run");
    const isWhole = !(status.not_counted && status.not_counted.rows.length);
    element.className = run.verdict !== "complete" ? "bad" : isWhole ? "good" : "none";
    const since = Object.assign(document.createElement("span"), { textContent: age(run.age_seconds) });
    since.dataset.since = run.finished_at;
    element.replaceChildren(document.createElement("i"), ` Sync ${run.verdict}, `, since, " ago");
  }
  problem = status.problem || "";
  showTrouble(loadError || problem);
}

async function poll() {
  try {
    if (!document.hidden) {
      const response = await fetch("/api/status", { cache: "no-store" });
      const status = await response.json();
      if (!response.ok) throw new Error(status.detail);
      const pinned = ["release", "as_of"].some((name) => new URLSearchParams(location.search).has(name));
      if (!pinned && status.release !== shownRelease) {
        await load();
        const element = byId("release").closest("li");
        element.classList.remove("fresh");
        void element.offsetWidth; // restarts the animation
        element.classList.add("fresh");
      }
      showStatus(status);
    }
  } catch (error) {
    const reason = error instanceof TypeError ? "the server can’t be reached" : error.message;
    showTrouble(`${reason}; the figures are from release ${shownRelease}; trying again`);
  }
  setTimeout(poll, POLL);
}

// ---- charts ----------------------------------------------------------------------------------------------------

const LOCALE = { decimal: ",", thousands: "\u00a0", grouping: [3], minus: "−" };
const SHORT = "datum.value >= 1e6 ? format(datum.value / 1e6, ',.3~r') + ' M' : format(datum.value, ',.0f')";

function config() {
  const ink = css("--muted");
  const font = getComputedStyle(document.body).fontFamily;
  return {
    background: "transparent",
    font,
    view: { stroke: null },
    axis: {
      labelColor: ink, titleColor: ink, gridColor: css("--line"), domainColor: css("--line"), tickColor: css("--line"),
      labelFontSize: 12, title: null,
    },
    legend: { labelColor: ink, title: null, orient: "top", symbolType: "square", labelFontSize: 12, offset: 8 },
  };
}

function typeColours(names) {
  const usual = { retail: 1, b2b: 2, other: 3 };
  let next = 4;
  return names.map((name) => css(`--type-${usual[name] || 4 + (next++ - 4) % 3}`));
}

// Sums the rows by week, from Monday, if bars of one day would be narrower than 3.5 pixels; otherwise by day.
function byDayOrWeek(rows, types, width) {
  const days = rows.length ? (Date.parse(rows.at(-1)[0]) - Date.parse(rows[0][0])) / 864e5 + 1 : 1;
  const weekly = (width - 70) / days < 3.5;
  const sums = new Map();
  for (const [date, type, revenue, orders] of rows) {
    const day = Date.parse(date);
    const start = weekly ? day - ((new Date(day).getUTCDay() + 6) % 7) * 864e5 : day;
    const key = `${start} ${type}`;
    const sum = sums.get(key) || { start, end: start + (weekly ? 7 : 1) * 864e5, type, rank: types.indexOf(type), revenue: 0, orders: 0 };
    sum.revenue += revenue;
    sum.orders += orders;
    sums.set(key, sum);
  }
  return { weekly, rows: [...sums.values()] };
}

// Returns the positions of the labels, each in the middle of a bar and far enough from the next label.
// `band` is the width of a bar in pixels.
function axisLabels(rows, width) {
  if (!rows.length) return { band: 1, values: [] };
  const span = rows[0].end - rows[0].start;
  const count = (rows.at(-1).end - rows[0].start) / span;
  const band = (width - 70) / count;
  const every = Math.ceil(62 / band);
  const values = [];
  for (let index = 0; index < count; index += every) values.push(rows[0].start + (index + 0.5) * span);
  return { band, values };
}

function revenueSpec(types, weekly, rows, width) {
  const { band, values } = axisLabels(rows, width);
  const far = rows.length && rows.at(-1).end - rows[0].start > 330 * 864e5;
  const half = weekly ? 3.5 * 864e5 : 0.5 * 864e5;
  return {
    data: { name: "rows" },
    width: "container",
    height: 250,
    autosize: { type: "fit", contains: "padding", resize: true },
    mark: { type: "bar", binSpacing: Math.min(14, band * 0.24), aria: false },
    encoding: {
      x: {
        field: "start", type: "temporal", scale: { type: "utc", nice: false },
        axis: { values: { expr: JSON.stringify(values) }, labelExpr: `utcFormat(datum.value - ${half}, '${far ? "%d.%m.%y" : "%d.%m"}')`, grid: false, ticks: false, labelPadding: 6 },
        bin: "binned",
      },
      x2: { field: "end" },
      y: { field: "revenue", type: "quantitative", stack: "zero", axis: { labelExpr: SHORT, tickCount: 5, domain: false, ticks: false, labelPadding: 6 } },
      color: { field: "type", type: "nominal", scale: { domain: types, range: typeColours(types) } },
      order: { field: "rank" },
      tooltip: [
        { field: "start", type: "temporal", timeUnit: "utcyearmonthdate", format: "%d.%m.%Y", title: weekly ? "Week from" : "Day" },
        { field: "type", title: "Sales type" },
        { field: "revenue", format: "$,.2f", title: "Revenue" },
        { field: "orders", format: ",", title: "Orders" },
      ],
    },
  };
}

function barsSpec(colour, rows, width, more) {
  return {
    data: { name: "rows" },
    width: "container",
    height: 26 * rows.length,
    autosize: { type: "fit-x", contains: "padding", resize: true },
    mark: { type: "bar", color: colour, cornerRadiusEnd: 3, height: { band: 0.62 } },
    encoding: {
      y: { field: "name", type: "nominal", sort: null, axis: { labelLimit: Math.round(width * 0.42), domain: false, ticks: false, labelPadding: 8 } },
      x: { field: "revenue", type: "quantitative", axis: { labelExpr: SHORT, labelFlush: true, tickCount: Math.max(2, Math.floor(width / 130)), domain: false, ticks: false, labelPadding: 6 } },
      tooltip: [{ field: "name", title: "Name" }, { field: "revenue", format: "$,.2f", title: "Revenue" }, more],
    },
  };
}

// Draws a chart. If only its rows changed, they are replaced in the existing view, so nothing flickers.
async function showChart(id, spec, rows) {
  const shape = JSON.stringify(spec) + css("--ink");
  const current = charts[id];
  if (current && current.shape === shape) {
    const view = await current.view;
    await view.data("rows", rows).runAsync();
    return;
  }
  const options = {
    actions: false, ast: true, renderer: "canvas", defaultStyle: false, config: config(),
    formatLocale: { ...LOCALE, currency: [`${JSON.parse(byId("charts").textContent).currency}\u00a0`, ""] },
    tooltip: { disableDefaultStyle: true, theme: "custom" }, mode: "vega-lite",
  };
  const full = { ...spec, data: { name: "rows", values: rows } };
  const view = vegaEmbed(`#${id}`, full, options).then((result) => {
    if (current) current.finalize();
    charts[id].finalize = () => result.finalize();
    byId(id).dataset.drawn = "true";
    return result.view;
  });
  charts[id] = { shape, view, finalize: () => {} };
  await view;
}

function showBars(id, colour, rows, countTitle) {
  const count = { field: "count", format: ",", title: countTitle };
  return showChart(id, barsSpec(css(colour), rows, byId(id).clientWidth, count), rows);
}

// Makes equal names different with an invisible character; otherwise they would share a bar.
function uniqueNames(rows) {
  const seen = new Map();
  return rows.map(([name, revenue, count]) => {
    const text = name ?? "no name";
    const times = seen.get(text) || 0;
    seen.set(text, times + 1);
    return { name: text + "\u200b".repeat(times), revenue, count };
  });
}

// Numbers the names as in the table: long names are cut off, and many begin with the same words.
const withRank = (rows) => rows.map(([name, ...rest], index) => [`${index + 1}. ${name ?? "no name"}`, ...rest]);

async function draw() {
  const facts = JSON.parse(byId("charts").textContent);
  const colours = typeColours(facts.sales_types);
  for (const key of document.querySelectorAll("#types [data-type]")) {
    key.style.background = colours[facts.sales_types.indexOf(key.dataset.type)];
  }
  const width = byId("chart-revenue").clientWidth;
  const { weekly, rows } = byDayOrWeek(facts.revenue, facts.sales_types, width);
  byId("unit").textContent = weekly ? "summed by week" : "";
  await Promise.all([
    showChart("chart-revenue", revenueSpec(facts.sales_types, weekly, rows, width), rows),
    showBars("chart-products", "--bar", uniqueNames(withRank(facts.products)), "Quantity"),
    showBars("chart-sources", "--bar-2", uniqueNames(facts.sources), "Orders"),
  ]);
  document.documentElement.dataset.drawn = String(shownRelease);
}

// ---- events ----------------------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-period]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-period]")) return;
  event.preventDefault();
  document.activeElement.blur();
  go(`/?${new URLSearchParams(new FormData(event.target))}`);
});
addEventListener("popstate", loadFromUrl);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
let resizing = 0;
addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(draw, 200); });

setInterval(tick, 1000);
draw();
setTimeout(poll, POLL);
