// The search page: the query is in the address, its results are in the grid.

import { Grid, make, webAddress } from "/static/grid.js";
import { watchImageQueries } from "/static/image_query.js";
import { DEFAULTS, fromAddress, hasFilters, search, toAddress } from "/static/query.js";
import { watchTheme } from "/static/theme.js";

const PAGE = 40;
// Milliseconds after which a response counts as slow.
const SLOW = 200;
// The API's limits on one response and on paging.
const MAX_RESULTS = 1000;
const MAX_OFFSET = 5000;

const $ = (id) => document.getElementById(id);
const text = $("text");
const more = $("more");
const filters = ["min_size", "license", "deduplicate", "safe"];

let query = fromAddress(location.search);
let health = null;
let next = 0; // offset of the next page, null after the last one
let asking = null; // AbortController of the request in flight
let took = 0;
let waiting = 0; // timer for a slow response
const uploads = new Map(); // uploaded images, for the browser's back button

const grid = new Grid($("results"), () => {
  say();
  // Removed cards leave room for more.
  if (!asking) fill();
});

// Searching.

function ask(question) {
  query = { ...query, question };
  remember();
  begin();
}

function change(values) {
  query = { ...query, ...values };
  remember();
  begin();
}

function remember() {
  let state = null;
  if (query.question?.upload) {
    const key = `${Date.now()}-${uploads.size}`;
    uploads.set(key, query.question);
    state = { upload: key };
  }
  history.pushState(state, "", toAddress(query));
}

async function begin() {
  asking?.abort();
  asking = null;
  reflect();
  if (!query.question) return;
  next = 0;
  busy(true);
  say("Searching …");
  await load();
}

// Most responses are fast: old results stay until then, and only slow ones show grey cards.
function busy(wanted) {
  clearTimeout(waiting);
  $("results").setAttribute("aria-busy", String(wanted));
  if (wanted) waiting = setTimeout(() => grid.showBlanks(), SLOW);
}

async function load() {
  const first = next === 0;
  const mine = new AbortController();
  asking = mine;
  more.disabled = true;
  try {
    const answer = await search(query, { k: PAGE, offset: next, signal: mine.signal });
    if (first) {
      busy(false);
      grid.clear();
      scrollTo(0, 0);
    }
    grid.add(answer.results, (result) => toAddress({ ...query, question: { id: result.id } }));
    took = first ? answer.took_ms : took;
    next = answer.next_offset === null || answer.next_offset > MAX_OFFSET ? null : answer.next_offset;
    if (first) showAsked(answer.results);
    more.textContent = "More results";
  } catch (error) {
    if (error.name === "AbortError") return;
    if (first) {
      busy(false);
      grid.clear();
      next = null;
      tell("Search failed", error.message, "Try again", begin);
    } else {
      more.textContent = `${error.message} Try again`;
    }
    asking = null;
    finish();
    return;
  }
  asking = null;
  finish();
  fill();
}

function finish() {
  more.hidden = next === null;
  more.disabled = false;
  $("download").disabled = grid.seen.size === 0;
  say();
}

// Load more while the end of the list is near the window.
function fill() {
  if (next === null || asking || more.textContent !== "More results") return;
  if (more.getBoundingClientRect().top < innerHeight + 600) load();
}

// Showing.

function reflect() {
  const landing = !query.question;
  document.body.classList.toggle("landing", landing);
  text.value = query.question?.text ?? "";
  document.title = query.question?.text ? `${query.question.text} – laion search` : "laion search";
  for (const radio of document.getElementsByName("index")) radio.checked = radio.value === query.index;
  $("min_size").value = String(query.min_size);
  $("license").value = query.license;
  $("deduplicate").checked = query.deduplicate;
  $("safe").checked = query.safe;
  $("min_size").classList.toggle("on", query.min_size > 0);
  $("license").classList.toggle("on", query.license !== "any");
  $("filters-on").textContent = hasFilters(query) ? " (on)" : "";
  $("filters-on").classList.toggle("hidden", !hasFilters(query));
  $("message").hidden = true;
  $("asked").hidden = true;
  more.hidden = true;
  $("download").disabled = true;
  if (landing) {
    busy(false);
    grid.clear();
  }
  showNotice();
}

function showNotice() {
  const idle = health && !health.tagged && query.safe && query.question;
  $("notice").hidden = !idle;
  $("notice").textContent = idle ? "This index has no NSFW tags: safe mode has no effect." : "";
}

// Show the image of the query, with a button to start over.
function showAsked(results) {
  const question = query.question;
  if (question.text !== undefined) return;
  const image = make("img");
  image.alt = "";
  image.referrerPolicy = "no-referrer";
  let words = "Images like this one";
  if (question.upload) {
    image.src = URL.createObjectURL(question.upload);
    image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
    words = `Like ${question.name}`;
  } else if (question.image_url !== undefined) {
    image.src = webAddress(question.image_url) ?? "";
    words = `Like ${question.image_url}`;
  } else {
    const own = results.find((result) => String(result.id) === String(question.id));
    if (own) {
      image.src = own.picture ?? webAddress(own.url) ?? "";
      words = own.text ? `Like “${own.text}”` : words;
    }
  }
  image.addEventListener("error", () => image.remove());
  const out = make("button", "icon");
  out.type = "button";
  out.title = "Start over";
  out.innerHTML = '<svg viewBox="0 0 20 20" aria-hidden="true"><path d="m5.5 5.5 9 9m0-9-9 9"/></svg>';
  out.append(make("span", "hidden", "Start over"));
  out.addEventListener("click", () => {
    change({ question: null });
    text.focus();
  });
  $("asked").replaceChildren(...(image.src ? [image] : []), make("span", "", words), out);
  $("asked").hidden = false;
}

function say(words) {
  if (words === undefined) {
    const count = grid.shown;
    if (!query.question || asking) return;
    if (!count && next === null && $("message").hidden) sayNothing();
    const lost = grid.lostCount;
    words = count ? `${count}${next === null ? "" : "+"} results in ${Math.max(1, Math.round(took))} ms` : "";
    if (lost) words += `${words ? " · " : ""}${lost} ${lost === 1 ? "image" : "images"} could not be loaded`;
  }
  $("status").textContent = words;
}

function sayNothing() {
  if (grid.lostCount) {
    tell("No image could be loaded", "The images are no longer at their URLs, or this computer is offline.");
  } else if (hasFilters(query)) {
    const plain = { min_size: 0, license: "any", deduplicate: false };
    tell("Nothing found", "No result passes the filters.", "Remove the filters", () => change(plain));
  } else {
    tell("Nothing found", "Try another text or an image.");
  }
}

function tell(title, words, action, act) {
  const parts = [make("h2", "", title), make("p", "", words)];
  if (action) {
    const button = make("button", "go", action);
    button.type = "button";
    button.addEventListener("click", act);
    parts.push(button);
  }
  $("message").replaceChildren(...parts);
  $("message").hidden = false;
}

async function download() {
  const button = $("download");
  button.disabled = true;
  try {
    const k = Math.min(grid.seen.size, MAX_RESULTS);
    const table = await search(query, { k, offset: 0, format: "parquet" });
    const link = make("a");
    link.href = URL.createObjectURL(table);
    link.download = "results.parquet";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    say(`The list could not be downloaded: ${error.message}`);
  }
  button.disabled = false;
}

// Events.

const imageQueries = watchImageQueries({
  panel: $("image-query"), opener: $("open-image-query"), file: $("file"), address: $("address"),
  url: $("url"), overlay: $("dropping"), ask, refuse: (words) => {
    if (!query.question) $("rows").textContent = words;
    else say(words);
  },
});
watchTheme($("theme"));

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (!words) return;
  text.blur(); // hides the keyboard of a phone
  ask({ text: words });
});
$("results").addEventListener("click", (event) => {
  const link = event.target.closest("a[data-id]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  ask({ id: link.dataset.id });
});
for (const radio of document.getElementsByName("index")) {
  radio.addEventListener("change", () => change({ index: radio.value }));
}
for (const name of filters) {
  $(name).addEventListener("change", (event) => {
    const control = event.target;
    const value = control.type === "checkbox" ? control.checked : control.value;
    change({ [name]: name === "min_size" ? Number(value) : value });
  });
}
$("download").addEventListener("click", download);
$("open-filters").addEventListener("click", (event) => {
  const open = $("filters").classList.toggle("open");
  event.currentTarget.setAttribute("aria-expanded", String(open));
});
more.addEventListener("click", load);
addEventListener("scroll", fill, { passive: true });
addEventListener("resize", fill, { passive: true });
addEventListener("popstate", (event) => {
  query = fromAddress(location.search);
  const upload = uploads.get(event.state?.upload);
  if (upload) query.question = upload;
  begin();
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]):not([type=radio]), select, textarea");
  // Also in an empty box: it has the focus at first, and shows the key as a hint.
  const free = !typing || (event.target === text && !text.value);
  if (event.key === "/" && free && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    text.focus();
    text.select();
  } else if (event.key === "Escape") {
    if (imageQueries.isOpen()) {
      imageQueries.close();
      $("open-image-query").focus();
    } else if (event.target === text) {
      text.blur();
    }
  } else if (event.key === "ArrowDown" && event.target === text) {
    const first = $("results").querySelector(".card > a");
    if (first) {
      event.preventDefault();
      first.focus();
    }
  }
});

async function start() {
  begin();
  if (!query.question) text.focus();
  try {
    health = await (await fetch("/api/health")).json();
  } catch {
    return; // the first search will show the error
  }
  const count = health.rows.toLocaleString("en");
  $("rows").textContent = `${count} ${health.rows === 1 ? "image" : "images"} with captions`;
  document.querySelector(".segments").hidden = health.indices.length < 2;
  if (health.indices.length === 1 && DEFAULTS.index !== health.indices[0]) {
    DEFAULTS.index = query.index = health.indices[0];
    begin();
  }
  showNotice();
}

start();
