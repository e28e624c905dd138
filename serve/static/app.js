// Follows the server: asks every two seconds which release serves, and loads the figures again when it changed.
// The address holds the state of the page, so links, reload and the back button all work.

const POLL = 2000;
const byId = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const charts = {};
let shown = Number(byId("charts").dataset.release);
let skew = 0; // the server's clock minus ours, in ms
let asked = 0;
let problem = byId("trouble").textContent; // what the server has to say of what it serves
let refused = ""; // why the figures asked for last did not come

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

function trouble(text) {
  const place = byId("trouble");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
}

// Puts the parts that differ in place and leaves the charts and the focus where they are.
async function load() {
  const mine = ++asked;
  const response = await fetch(`/figures${location.search}`);
  if (!response.ok) throw new Error((await response.json()).detail);
  const text = await response.text();
  if (mine !== asked) return; // a later question is on its way
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const part of fresh.querySelectorAll("[data-part]")) {
    const place = byId(part.id);
    const busy = part.id === "period" && place.querySelector("form").contains(document.activeElement);
    if (!busy && place.innerHTML !== part.innerHTML) place.innerHTML = part.innerHTML;
    if (part.id === "charts") place.dataset.release = part.dataset.release;
  }
  shown = Number(byId("charts").dataset.release);
  refused = "";
  await draw();
}

function go(query) {
  history.pushState(null, "", query);
  follow();
}

// Loads what the address asks for; what is refused stays told until something else is asked.
function follow() {
  load().then(() => trouble(problem), (error) => trouble(refused = error.message));
}

function tell(status) {
  skew = Date.parse(status.now) - Date.now();
  const run = status.last_run;
  if (run) {
    const place = byId("run");
    place.className = run.verdict === "complete" ? "good" : "bad";
    const since = Object.assign(document.createElement("span"), { textContent: age(run.age_seconds) });
    since.dataset.since = run.finished_at;
    place.replaceChildren(document.createElement("i"), ` Sync ${run.verdict}, `, since, " ago");
  }
  problem = status.problem || "";
  trouble(refused || problem);
}

async function poll() {
  try {
    if (!document.hidden) {
      const response = await fetch("/api/status", { cache: "no-store" });
      const status = await response.json();
      if (!response.ok) throw new Error(status.detail);
      const pinned = ["release", "as_of"].some((name) => new URLSearchParams(location.search).has(name));
      if (!pinned && status.release !== shown) {
        await load();
        const place = byId("release").closest("li");
        place.classList.remove("fresh");
        void place.offsetWidth; // starts the animation again
        place.classList.add("fresh");
      }
      tell(status);
    }
  } catch (error) {
    const reason = error instanceof TypeError ? "the server can’t be reached" : error.message;
    trouble(`${reason}; these are the figures of release ${shown}, trying again`);
  }
  setTimeout(poll, POLL);
}

// ---- charts ----------------------------------------------------------------------------------------------------

const LOCALE = { decimal: ",", thousands: "\u00a0", grouping: [3], currency: ["₴\u00a0", ""], minus: "−" };
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

// Bars of three pixels say little: a long period on a narrow screen is shown by week, from Monday.
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

// Which bars get a label, in the middle of the bar, so that none touches the next; `band` is a bar's width.
function labelled(rows, width) {
  if (!rows.length) return { band: 1, values: [] };
  const span = rows[0].end - rows[0].start;
  const count = (rows.at(-1).end - rows[0].start) / span;
  const band = (width - 70) / count;
  const every = Math.ceil(62 / band);
  const values = [];
  for (let place = 0; place < count; place += every) values.push(rows[0].start + (place + 0.5) * span);
  return { band, values };
}

function revenueSpec(types, weekly, rows, width) {
  const { band, values } = labelled(rows, width);
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

// A view is kept while its shape stays the same, and only its rows are exchanged: nothing flickers.
async function show(id, spec, rows) {
  const shape = JSON.stringify(spec) + css("--ink");
  const held = charts[id];
  if (held && held.shape === shape) {
    const view = await held.view;
    await view.data("rows", rows).runAsync();
    return;
  }
  const options = {
    actions: false, ast: true, renderer: "canvas", defaultStyle: false, config: config(), formatLocale: LOCALE,
    tooltip: { disableDefaultStyle: true, theme: "custom" }, mode: "vega-lite",
  };
  const full = { ...spec, data: { name: "rows", values: rows } };
  const view = vegaEmbed(`#${id}`, full, options).then((result) => {
    if (held) held.finalize();
    charts[id].finalize = () => result.finalize();
    byId(id).dataset.drawn = "true";
    return result.view;
  });
  charts[id] = { shape, view, finalize: () => {} };
  await view;
}

function showBars(id, colour, rows, counted) {
  const count = { field: "count", format: ",", title: counted };
  return show(id, barsSpec(css(colour), rows, byId(id).clientWidth, count), rows);
}

// Two names that are equal would share a bar; an invisible mark keeps them apart.
function named(rows) {
  const seen = new Map();
  return rows.map(([name, revenue, count]) => {
    const text = name ?? "no name";
    const times = seen.get(text) || 0;
    seen.set(text, times + 1);
    return { name: text + "\u200b".repeat(times), revenue, count };
  });
}

// Long names are cut, and many begin alike; the number leads to the table's row.
const ranked = (rows) => rows.map(([name, ...rest], place) => [`${place + 1}. ${name ?? "no name"}`, ...rest]);

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
    show("chart-revenue", revenueSpec(facts.sales_types, weekly, rows, width), rows),
    showBars("chart-products", "--bar", named(ranked(facts.products)), "Quantity"),
    showBars("chart-sources", "--bar-2", named(facts.sources), "Orders"),
  ]);
  document.documentElement.dataset.drawn = String(shown);
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
addEventListener("popstate", follow);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
let resizing = 0;
addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(draw, 200); });

setInterval(tick, 1000);
draw();
setTimeout(poll, POLL);
